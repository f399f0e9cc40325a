package jobspec

// Actions of error rules.
const (
	ActionRetryTask   = "RETRY_TASK"
	ActionRetryJob    = "RETRY_JOB"
	ActionSuspendJob  = "SUSPEND_JOB"
	ActionHardFailure = "HARD_FAILURE"
)

// ErrorRule turns a failure of a task into an error code and an action. All conditions that are set must hold.
type ErrorRule struct {
	// JobType, Task and Platform it is for; empty or "*": all.
	JobType  string `json:"job_type,omitempty"`
	Task     string `json:"task,omitempty"`
	Platform string `json:"platform,omitempty"`
	// Command is text that the script contains.
	Command string `json:"command,omitempty"`
	// Regex matches in the message of the failure, which ends with the last lines of the log.
	Regex string `json:"regex,omitempty"`
	// ExitCode is a code or a range, as a key of on_exit_code.
	ExitCode string `json:"exit_code,omitempty"`
	// ErrorCode that the failure gets; Message replaces its text; DisplayCode is put before it.
	ErrorCode   string `json:"error_code"`
	Message     string `json:"message,omitempty"`
	DisplayCode string `json:"display_code,omitempty"`
	// Action is one of the Action constants above, or empty.
	Action string `json:"action,omitempty"`
	// Retry bounds RETRY_TASK and RETRY_JOB; 0: the budget of the task or job.
	Retry int `json:"retry,omitempty"`
}

// Failure is what rules are matched with.
type Failure struct {
	JobType  string
	Task     string
	Platform string
	Script   []string
	ExitCode int
	Message  string
}
