package jobspec

import (
	"slices"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// timeVars are the built-in variables that another moment of the launch changes.
func timeVars() []string {
	return []string{"DateYear", "DateMonth", "DateDay", "YearDay", "FullDate", "EpochSecs"}
}

// Rehearse says at the submit what the launch will say: what the job needs to start, as Start does, or
// why there is no plan. err is Problems, and certain: what depends on the host or on the time of the launch is left to the
// launch, and so are variables that a task before may still set.
func (d *Definition) Rehearse(vars value.Vars) (plan.Start, error) {
	if d.static != nil && !d.conditional && !d.overridden(vars) {
		return d.Start(vars)
	}
	now := d.rehearse(vars)
	if now.plan != nil {
		return now.plan.Start(), nil
	}
	if now.uncertain {
		return plan.Start{}, nil
	}
	if now.timed {
		later := value.Merged(vars)
		for _, name := range timeVars() {
			if _, given := vars[name]; given {
				later[name] = template.Unknown{}
			}
		}
		other := d.rehearse(later)
		now.problems = slices.DeleteFunc(now.problems, func(p source.Problem) bool { return !slices.Contains(other.problems, p) })
		if other.uncertain || len(now.problems) == 0 {
			return plan.Start{}, nil
		}
	}
	return plan.Start{}, now.problems
}

// rehearsal is one rendering in which the host does nothing.
type rehearsal struct {
	plan     *plan.Plan // nil when there is none
	problems source.Problems
	// uncertain says that what the host would answer, or what is not known, decides; timed that the time was looked at.
	uncertain, timed bool
}

func (d *Definition) rehearse(vars value.Vars) rehearsal {
	c, l, h := &source.Collector{File: d.file}, &template.Lookups{}, &template.Hosting{Vague: true}
	s, sh := d.openIn(&template.Scope{Vars: vars, JobType: d.JobType, Hosting: h, Lookups: l}, c)
	r := d.reader(c, sh, s)
	r.Later = true
	out := r.whole()
	if out != nil {
		r.checkStarts(out)
	}
	_, err := c.Split()
	problems, _ := err.(source.Problems) //nolint:errorlint // split returns this very type
	got := rehearsal{problems: problems, uncertain: h.Asked || sh.Guessed || out == nil && len(problems) == 0}
	got.timed = l.All || slices.ContainsFunc(timeVars(), func(name string) bool { return l.Vars[name] })
	if out != nil && len(problems) == 0 {
		got.plan = &out.plan
	}
	return got
}
