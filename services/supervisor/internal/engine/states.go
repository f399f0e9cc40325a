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
