// Package engine decides the next step of a running job. It is pure: a State goes in with an event and the time, and
// what comes out is the changed State and what has to be done outside. No I/O, no clock, no dependence on map order.
//
// A State holds only the neighbourhood of what happened: the task that ended, its outgoing edges and the tasks they
// lead to. Counters stand for the rest, so a step costs the neighbourhood and never the whole job:
//
//	task.Waiting   incoming edges that are not resolved yet
//	task.Control   incoming control edges, of which task.Taken were taken
//	task.Broken    a data dependency ended without being usable
//	job.NormalOpen tasks without always_run that have not ended; at 0 the trailing clean-up starts
//	job.TasksOpen  tasks that have not ended; at 0 the job ends
//	job.Running    tasks that are DISPATCHED or RUNNING; at 0 a requested pause is reached
//
// When a step needs more than was loaded it says so in Need, the caller loads it and calls Continue: dead paths are
// followed through the graph in this way. Steps on a job that has ended change nothing.
//
// # When a task runs
//
// A task that ends resolves its outgoing edges. A control edge is taken when its route fits the outcome. A task whose
// edges are all resolved is activated: with control edges it runs when one was taken; with data edges only, when every
// dependency is usable; always_run runs whatever happened. Otherwise it is SKIPPED, which resolves its own edges as
// not taken, and so on.
//
// # When a job fails
//
// A failure that neither allow_failure nor a route handles makes the job failing: nothing new starts but handlers
// (tasks reached through the route of a failure, and what follows them) and always_run; what runs finishes, or is
// stopped with fail_fast. Cancel and the job's timeout stop what runs; always_run still gets cleanup_timeout.
package engine
