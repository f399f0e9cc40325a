// Package engine decides the next step of a running job. It is pure: a State goes in with an event and the time, and
// what comes out is the changed State and what has to be done outside. No I/O, no clock, no dependence on map order.
//
// A State holds only the neighbourhood of what happened: the task that ended, its outgoing edges and the tasks they
// lead to. Counters stand for the rest, so a step costs the neighbourhood and never the whole job:
//
//	task.Waiting   incoming edges that are not resolved yet
//	task.Control   incoming control edges, of which task.Taken were taken
//	task.Broken    a task that it depends on ended without being usable
//	task.Items     of a group: how many of its items there are, are open, failed and succeeded
//	job.NormalOpen tasks without always_run that have not ended; at 0 the trailing clean-up starts
//	job.TasksOpen  tasks that have not ended; at 0 the job ends
//	job.Running    tasks that are DISPATCHED or RUNNING; at 0 a requested pause is reached
//	job.Active     tasks that go on without a person; at 0 a job with job.Approvals only waits for people
//
// When a step needs more than was loaded, or must know something that only others know, it says so in Need; the caller
// loads or answers it and calls Continue: dead paths are followed through the graph in this way. A step that is not
// complete has changed nothing outside: it may be thrown away and repeated. Steps on a job that has ended, and events
// that come twice or too late, change nothing.
//
// # When a task runs
//
// A task that ends resolves its outgoing edges. A control edge is taken when its route fits the outcome. A task whose
// edges are all resolved is activated: with control edges it runs when one was taken; with data edges only, when every
// dependency is usable, which is completed, or failed with allow_failure; always_run runs whatever happened. Beside
// control edges `dependencies` only delay, and what `depends_on` names must be usable or SKIPPED. Otherwise the task is
// SKIPPED, which resolves its own edges as not taken, and so on. A task that completed in the run before completes again
// without running, unless one that it follows has run.
//
// What is known of a task only now, `when` among it, is asked for (Need.Decide) before it starts. Then it becomes READY
// for an ant, or it is WAITING: for approval, for the child that it submits or the children that it awaits, for a chore
// of supervisor, or, as the group of a fan-out, for its items. Items are tasks without edges that only their group
// counts: one that ends releases the next, and the last one ends the group.
//
// # When a task fails
//
// A route for its very exit code decides; else an error rule with an action; else it is tried again while the budget of
// its failure class lasts; else the route for its state applies. A route of a decision by people is that of APPROVED
// or REJECTED, else that of COMPLETED or FAILED.
//
// # When a job fails
//
// A task that fails makes the job failing, unless it has allow_failure or a route for its very code leads on to tasks: a
// branch that was foreseen. The route for the state of a failure leads to post-processing. In a failing job nothing new
// starts but that, what follows it, and always_run; what runs finishes, or is stopped with fail_fast. Where another run
// of the job follows, always_run that has not begun is left to that one, once nothing else runs and so it is certain: it
// runs once, and what it cleans up is there for the retry. Cancel and the job's timeout stop what runs; always_run still
// gets cleanup_timeout.
//
// # When a job waits
//
// A job is PAUSED when a pause is wished for and nothing runs, and MANUAL_APPROVAL_REQUIRED when nothing is active and
// something waits for approval. In both it counts against no limit of concurrency, so whatever a decision makes ready
// is held as by a pause: the job becomes PAUSED and asks to be resumed at once, which the scheduler admits when there
// is room.
package engine
