package condition

import (
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// Facts are what conditions (when, skip_if) can ask about.
type Facts struct {
	// Vars as templates see them: params.x and vars.x.
	Vars value.Vars
	// Tasks that have ended: tasks.build.exit_code. Names that are no identifiers are written tasks["a-b"].
	Tasks map[string]TaskFact
	// Lookups, if set, notes what is looked at of both.
	Lookups *template.Lookups
}

// TaskFact is how a task ended.
type TaskFact struct {
	State        string            `json:"state"`
	ExitCode     int               `json:"exit_code"`
	FailureClass string            `json:"failure_class"`
	Message      string            `json:"message"`
	Outputs      map[string]string `json:"outputs"`
	Result       string            `json:"result"`
}
