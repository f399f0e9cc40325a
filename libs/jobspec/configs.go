package jobspec

import (
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// WithConfigs returns the variables of a run with configs below them. The job's own variables hide the outer ones (of the
// organisation and the user), those of the job hide these, and variables of a task hide all.
func WithConfigs(outer, job, vars value.Vars) value.Vars {
	if len(outer)+len(job) == 0 {
		return vars
	}
	out := value.Merged(outer, job, vars)
	lasting := func(configs value.Vars, above ...value.Vars) map[string]any {
		left := value.Merged(configs)
		for _, layer := range above {
			for name := range layer {
				delete(left, name)
			}
		}
		return left
	}
	out[template.OuterConfigs], out[template.JobConfigs] = lasting(outer, job, vars), lasting(job, vars)
	return out
}
