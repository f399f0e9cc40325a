package plan

import "slices"

// RetryOn says which failures of a task are tried again.
type RetryOn struct {
	// Codes are keys as in on_exit_code whose failures use up retry; empty with Any: every code.
	Codes []string `json:"codes,omitempty"`
	// Any says that user failures use up retry whatever their code.
	Any bool `json:"any,omitempty"`
	// Timeout, OOM and Infra are the budgets of these classes. A lost attempt (infra) has 3 when nothing is said.
	Timeout Budget `json:"timeout"`
	OOM     Budget `json:"oom"`
	Infra   Budget `json:"infra"`
}

// Budget is how often a class of failures is tried again.
type Budget struct {
	// Shared says that it uses up retry; else Own is its own number.
	Shared bool `json:"shared,omitempty"`
	Own    int  `json:"own,omitempty"`
}

// DefaultInfra is how many lost attempts of a task are replaced when retry_on says nothing.
const DefaultInfra = 3

// Output is a value that a task promises to give.
type Output struct {
	Name string `json:"name"`
	// Type is a type of parameters.
	Type     string `json:"type"`
	Required bool   `json:"required,omitempty"`
	// Enum lists the texts that it may be; empty: any.
	Enum []string `json:"enum,omitempty"`
}

// Secret is a secret that a task names.
type Secret struct {
	Name string `json:"name"`
	// Env is the variable that it is delivered in.
	Env string `json:"env,omitempty"`
	// File is the path of the file that it is delivered in, below a directory of the attempt that is none of its working
	// directory; FileEnv is the variable that says where the file is.
	File    string `json:"file,omitempty"`
	FileEnv string `json:"file_env,omitempty"`
}

// Classes of failures.
const (
	ClassUser    = "user"
	ClassTimeout = "timeout"
	ClassOOM     = "oom"
	ClassInfra   = "infra"
)

// Budget returns how often failures of a class are tried again. shared says that they use up Retry together with the
// other shared ones; else the class counts for itself. A class without a budget has 0.
func (t *Task) Budget(class string, exitCode int) (n int, shared bool) {
	var b Budget
	switch {
	case t.RetryOn == nil && class == ClassInfra:
		b.Own = DefaultInfra
	case class == ClassUser:
		b.Shared = t.RetryOn == nil || t.RetryOn.code(exitCode)
	case t.RetryOn == nil:
		b.Shared = class == ClassTimeout || class == ClassOOM
	case class == ClassTimeout:
		b = t.RetryOn.Timeout
	case class == ClassOOM:
		b = t.RetryOn.OOM
	case class == ClassInfra:
		b = t.RetryOn.Infra
	}
	if b.Shared {
		return t.Retry, true
	}
	return b.Own, false
}

// code reports whether a user failure with this code is tried again.
func (r *RetryOn) code(exitCode int) bool {
	if r.Any {
		return true
	}
	return slices.ContainsFunc(r.Codes, func(code string) bool { return CodeFits(code, exitCode) })
}

// CodeFits reports whether a code or a range, as a key of on_exit_code, holds an exit code.
func CodeFits(key string, exitCode int) bool {
	k, err := ParseKey(key)
	return err == nil && (k.Any || k.State == "" && k.Low <= exitCode && exitCode <= k.High)
}
