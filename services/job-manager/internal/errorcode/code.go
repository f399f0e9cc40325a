package errorcode

// The codes that are built in. Definitions may fail with others of the form ERR_*, and rules may give others.
const (
	// JobExecute is a job that failed without a more precise code.
	JobExecute = "ERR_JOB_EXECUTE"
	// JobLaunch is a run whose definition cannot be rendered, or is gone.
	JobLaunch = "ERR_JOB_LAUNCH"
	// JobSchedule is a job that cannot be placed.
	JobSchedule = "ERR_JOB_SCHEDULE"
	// JobCancelled is a job that a person or its parent cancelled.
	JobCancelled = "ERR_JOB_CANCELLED"
	// JobTimeout is a job that ran longer than its timeout.
	JobTimeout = "ERR_JOB_TIMEOUT"
	// RunLost is a run that supervisor knows nothing of any more.
	RunLost = "ERR_RUN_LOST"
	// QuotaExceeded is a limit of the organisation.
	QuotaExceeded = "ERR_QUOTA_EXCEEDED"
	// FilteredJob is a job whose skip_if holds.
	FilteredJob = "ERR_FILTERED_JOB"
	// Validation is a definition or a request that is not valid.
	Validation = "ERR_VALIDATION"
	// Fatal is a job that the target FATAL ended.
	Fatal = "ERR_FATAL"
	// RestartJob, PauseJob and RestartTask are what the targets of the same names ask for.
	RestartJob  = "ERR_RESTART_JOB"
	PauseJob    = "ERR_PAUSE_JOB"
	RestartTask = "ERR_RESTART_TASK"
	// ManualApprovalRequired is a task that waits for a person, ManualRejection one that a person rejected.
	ManualApprovalRequired = "ERR_MANUAL_APPROVAL_REQUIRED"
	ManualRejection        = "ERR_MANUAL_REJECTION"
	// TaskExecute is a task that failed without a more precise code.
	TaskExecute = "ERR_TASK_EXECUTE"
	// TaskTimeout and TaskTimedOut are a task that ran longer than its timeout.
	TaskTimeout  = "ERR_TASK_TIMEOUT"
	TaskTimedOut = "ERR_TASK_TIMED_OUT"
	// InvalidNextTask is a route that leads to no task.
	InvalidNextTask = "ERR_INVALID_NEXT_TASK"
	// AntsUnavailable is a task that no ant takes, AntResources one that no ant has room for, AntExecutionFailed one
	// whose ant could not execute it.
	AntsUnavailable    = "ERR_ANTS_UNAVAILABLE"
	AntResources       = "ERR_ANT_RESOURCES"
	AntExecutionFailed = "ERR_ANT_EXECUTION_FAILED"
	// ContainerNotFound and ContainerStoppedFailed are faults of containers.
	ContainerNotFound      = "ERR_CONTAINER_NOT_FOUND"
	ContainerStoppedFailed = "ERR_CONTAINER_STOPPED_FAILED"
	// MarshalingFailed is a message that cannot be written or read.
	MarshalingFailed = "ERR_MARSHALING_FAILED"
)
