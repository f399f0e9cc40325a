package supervisor

import (
	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/value"
	"github.com/formicary/formicary/services/supervisor/internal/rehearse"
)

// Fake is how an attempt of a task ends in a rehearsal.
type Fake = rehearse.Fake

// Rehearsal is what became of the job.
type Rehearsal = rehearse.Result

// Rehearse plays a job through the engine without running anything: script says how attempts end, by the task and for
// items of a fan-out by their group. Time passes as fast as it is waited for. Errors are those of the plan, and jobs
// that never end.
func Rehearse(def *jobspec.Definition, vars value.Vars, script func(task, group string, attempt int) Fake) (*Rehearsal, error) {
	return rehearse.Play(def, vars, script)
}
