package jobspec

import (
	"slices"
	"strings"

	"github.com/formicary/formicary/libs/jobspec/graph"
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
		if err := d.checkSources(d.static, value.Merged(d.jobVars, vars)); err != nil {
			return plan.Start{}, err
		}
		return d.Start(vars)
	}
	now := d.rehearse(vars)
	if now.plan != nil {
		if err := d.checkSources(now.plan, value.Merged(now.plan.Vars, vars)); err != nil {
			return plan.Start{}, err
		}
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

// checkSources refuses fan-outs of the first tasks whose list is a variable that nobody has given: no task can.
func (d *Definition) checkSources(p *plan.Plan, known value.Vars) error {
	var problems source.Problems
	for i, first := range graph.Starts(p.Tasks) {
		t := &p.Tasks[i]
		if !first || d.blank || t.FanOut == nil || t.FanOut.Source == "" || len(t.FanOut.Items) > 0 {
			continue
		}
		name, _, _ := strings.Cut(t.FanOut.Source, ".")
		_, ofJob := known[t.FanOut.Source]
		if _, whole := known[name]; ofJob || whole || t.Spec.Variables[name] != nil || template.IsBuiltin(name) {
			continue
		}
		shown := " " + name
		if d.static == nil { // a template may have written it
			name, shown = "", ""
		}
		problems = append(problems, source.Problem{
			File: d.file, Code: source.CodeUndefinedVariable, Field: name,
			Message: "the variable" + shown + " with the items of the task " + source.QuoteName(t.Name) + " is not set", Expected: "a list, or JSON text of one",
		})
	}
	if len(problems) > 0 {
		return problems
	}
	return nil
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
