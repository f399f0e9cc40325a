// Package plan is what one run of a job does, as plain data: the tasks with their edges, limits and executable parts, and
// the pure questions that services ask of them. Package jobspec makes it of a definition; it is stored with the run and
// never changed by a later edit of the definition.
//
// plan.go has the Plan, its Tasks and their Specs, options.go what containers and pods are told. Beside them stand what a
// task is decided by (Decision, FanOut, Fork, Approval), what follows from its end (Route, Key, RetryOn, Backoff) and who
// hears of it (Audience). Values of any kind keep their digits when they are decoded: decode.go.
package plan
