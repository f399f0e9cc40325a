package jobspec

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
}

// Secret is a secret that a task names.
type Secret struct {
	Name string `json:"name"`
	// Env is the variable, or File the path in the attempt's directory, that it is delivered in.
	Env  string `json:"env,omitempty"`
	File string `json:"file,omitempty"`
}
