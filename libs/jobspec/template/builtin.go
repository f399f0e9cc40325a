// Package template runs the templates of definitions, in the language of text/template: compile.go makes statements of
// a text, shape.go executes them into text in which each printed value is a token, eval.go evaluates expressions with
// the variables of a moment, funcs*.go are the functions, host.go those that ask a host, guess.go decides at the upload
// what depends on values that nobody knows, taint.go follows values to where they are printed.
package template

import "strings"

// IsBuiltin names the built-in variables; BuiltinTable says what they are. Those of the claim count as 0 before it; a task
// that looks at them is rendered again then. Until a variable that earlier tasks set is there, the task that prints it is Late.
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
