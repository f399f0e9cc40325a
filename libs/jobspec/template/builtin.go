// Package template runs the templates of definitions, in the language of text/template: compile.go makes statements of
// a text, shape.go executes them into text in which each printed value is a token, eval.go evaluates expressions with
// the variables of a moment, funcs*.go are the functions, host.go those that ask a host, guess.go decides at the upload
// what depends on values that nobody knows, taint.go follows values to where they are printed.
package template

import "strings"

// IsBuiltin names the built-in variables. Those of the claim count as 0 before it; a task that looks at them is rendered again then.
//
//	JobID            id of the request                                             launch
//	JobType          name of the job                                               always
//	JobRetry         retries and PAUSE_JOBs of the job, 0 at first                 claim
//	JobElapsedSecs   seconds since the run began                                   claim
//	JobState         what becomes of the job as it stands: see Vars.SetJob         claim
//	UserID           who submitted, may be empty                                   launch
//	OrganizationID   whose job it is, may be empty                                 launch
//	TaskType         name of the task                                              in its section
//	TaskRetry        number of the attempt, 0 for the first                        claim
//	FanOutIndex      number of the item, from 0                                    claim of an item
//	DateYear, DateMonth, DateDay, YearDay   numbers of the day (UTC) of the launch launch
//	FullDate         the same day as 2006-01-02                                    launch
//	EpochSecs        seconds since 1970 at the launch; what now and Random rest on launch
//	WorkflowVersion  number of the definition's version                            launch
//	UnescapeHTML     false unless given; values are never escaped, so it changes nothing
//	debug            false unless given; for scripts
//	log_interval     empty unless given; for scripts
//
// Besides them earlier tasks set, as outputs:
//
//	{task}.ForkedJobID       id of the job that a FORK_JOB task submitted: {{.fork.ForkedJobID}}, or
//	                         {{index . "my-fork.ForkedJobID"}} when the name is no identifier
//	{task}_result            the body of an HTTP task; of a JSON object {{.call_result.id}} is a field
//	{task}-status            how a task ended: {{index . "build-status"}}
//	{task}_ArtifactURL_{n}   a URL of the n-th artifact of a task
//	{task}_results, FanOutItemCount, FanOutSource, FanOutMode   of a fan-out
//	{item_var}_{index}_{key}  an output of an item, and its status, exit_code, error_code and error_message
//
// Until such a variable is set, the task that prints it is Late.
func IsBuiltin(name string) bool {
	switch name {
	case "JobID", "JobType", "UserID", "OrganizationID", "TaskType", "DateYear", "DateMonth", "DateDay", "YearDay",
		"FullDate", "EpochSecs", "UnescapeHTML", "debug", "log_interval", "WorkflowVersion":
		return true
	}
	return IsCounter(name)
}

// IsCounter names the built-in variables that are known at the claim only.
func IsCounter(name string) bool {
	switch name {
	case "JobRetry", "TaskRetry", "JobElapsedSecs", VarJobState, VarFanOutIndex:
		return true
	}
	return false
}

// builtinDefault is the value of a built-in variable that nobody gives.
func builtinDefault(name string) (any, bool) {
	switch name {
	case "UserID", "OrganizationID", "log_interval":
		return "", true
	case "UnescapeHTML", "debug":
		return false, true
	case VarJobState:
		return jobExecuting, true
	}
	if IsCounter(name) {
		return int64(0), true
	}
	return nil, false
}

// ArtifactTask returns the name of the task in {task}_ArtifactURL_{n}.
func ArtifactTask(name string) (task string, ok bool) {
	task, number, ok := strings.Cut(name, "_ArtifactURL_")
	if !ok || task == "" || number == "" || strings.Trim(number, "0123456789") != "" {
		return "", false
	}
	return task, true
}

// VarFanOutIndex is the number of an item of a fan-out.
const VarFanOutIndex = "FanOutIndex"
