// Package move holds the state machines of the schema as data: which changes of state are allowed.
package move

// Move is an allowed change of state. The table `move` of the schema holds the same rows and a trigger refuses others.
type Move struct{ Entity, From, To string }

// All returns every allowed change of state.
func All() []Move {
	var all []Move
	add := func(entity, from string, to ...string) {
		for _, t := range to {
			all = append(all, Move{entity, from, t})
		}
	}
	add("execution", "READY", "EXECUTING", "PAUSED", "MANUAL_APPROVAL_REQUIRED", "COMPLETED", "FAILED", "CANCELLED")
	add("execution", "EXECUTING", "PAUSED", "MANUAL_APPROVAL_REQUIRED", "COMPLETED", "FAILED", "CANCELLED")
	add("execution", "PAUSED", "READY", "EXECUTING", "MANUAL_APPROVAL_REQUIRED", "COMPLETED", "FAILED", "CANCELLED")
	add("execution", "MANUAL_APPROVAL_REQUIRED", "EXECUTING", "PAUSED", "COMPLETED", "FAILED", "CANCELLED")
	add("task", "BLOCKED", "READY", "WAITING", "COMPLETED", "FAILED", "SKIPPED", "CANCELLED")
	add("task", "READY", "DISPATCHED", "WAITING", "COMPLETED", "SKIPPED", "CANCELLED", "FAILED")
	add("task", "DISPATCHED", "RUNNING", "READY", "WAITING", "COMPLETED", "FAILED", "SKIPPED", "CANCELLED")
	add("task", "RUNNING", "READY", "WAITING", "COMPLETED", "FAILED", "CANCELLED")
	add("task", "WAITING", "READY", "COMPLETED", "FAILED", "SKIPPED", "CANCELLED")
	add("attempt", "DISPATCHED", "RUNNING", "FAILED", "LOST", "CANCELLED")
	add("attempt", "RUNNING", "SUCCEEDED", "FAILED", "TIMED_OUT", "LOST", "CANCELLED")
	add("child", "WANTED", "SUBMITTED", "REFUSED", "CANCEL_WANTED", "ENDED")
	add("child", "SUBMITTED", "CANCEL_WANTED", "ENDED")
	add("child", "CANCEL_WANTED", "CANCELLING", "ENDED")
	add("child", "CANCELLING", "ENDED")
	add("approval", "PENDING", "APPROVED", "REJECTED", "CANCELLED")
	return all
}
