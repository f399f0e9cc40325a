package engine

// JobState is the state of a run.
type JobState string

// The states of a run.
const (
	JobReady     JobState = "READY"
	JobExecuting JobState = "EXECUTING"
	JobPaused    JobState = "PAUSED"
	JobApproval  JobState = "MANUAL_APPROVAL_REQUIRED"
	JobCompleted JobState = "COMPLETED"
	JobFailed    JobState = "FAILED"
	JobCancelled JobState = "CANCELLED"
	JobSkipped   JobState = "SKIPPED"
)

// TaskState is the state of a task.
type TaskState string

// The states of a task.
const (
	TaskBlocked    TaskState = "BLOCKED"
	TaskReady      TaskState = "READY"
	TaskDispatched TaskState = "DISPATCHED"
	TaskRunning    TaskState = "RUNNING"
	TaskWaiting    TaskState = "WAITING"
	TaskCompleted  TaskState = "COMPLETED"
	TaskFailed     TaskState = "FAILED"
	TaskSkipped    TaskState = "SKIPPED"
	TaskCancelled  TaskState = "CANCELLED"
)

// AttemptState is the state of an attempt.
type AttemptState string

// The states of an attempt.
const (
	AttemptDispatched AttemptState = "DISPATCHED"
	AttemptRunning    AttemptState = "RUNNING"
	AttemptSucceeded  AttemptState = "SUCCEEDED"
	AttemptFailed     AttemptState = "FAILED"
	AttemptTimedOut   AttemptState = "TIMED_OUT"
	AttemptLost       AttemptState = "LOST"
	AttemptCancelled  AttemptState = "CANCELLED"
)

// Terminal says that the run has ended.
func (s JobState) Terminal() bool {
	switch s {
	case JobCompleted, JobFailed, JobCancelled, JobSkipped:
		return true
	case JobReady, JobExecuting, JobPaused, JobApproval:
	}
	return false
}

// Terminal says that the task has ended.
func (s TaskState) Terminal() bool {
	switch s {
	case TaskCompleted, TaskFailed, TaskSkipped, TaskCancelled:
		return true
	case TaskBlocked, TaskReady, TaskDispatched, TaskRunning, TaskWaiting:
	}
	return false
}

// Gives says that the outputs of a task in this state are variables of the tasks after it.
func (s TaskState) Gives() bool { return s == TaskCompleted || s == TaskFailed || s == TaskCancelled }

// Terminal says that the attempt has ended.
func (s AttemptState) Terminal() bool { return s != AttemptDispatched && s != AttemptRunning }

// Move is an allowed change of state. The table `move` of the schema holds the same rows and a trigger refuses others.
type Move struct{ Entity, From, To string }

// Moves returns every allowed change of state.
func Moves() []Move {
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
	return all
}
