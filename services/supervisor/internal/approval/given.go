package approval

import (
	"maps"
	"slices"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/jobspec/param"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/value"
	"github.com/formicary/formicary/libs/storable"
)

// maxGiven bounds what the votes of a task give together, in bytes: what the outputs of a task may have.
const maxGiven = 64 << 10

// Given are the values of all votes in their order: a later vote replaces what an earlier one gave.
func (a *Approval) Given() map[string]string {
	given := map[string]string{}
	for _, v := range a.Votes {
		maps.Copy(given, v.Values)
	}
	return given
}

// checkValues refuses values that cannot be outputs of the task.
func (a *Approval) checkValues(values map[string]string) error {
	for _, name := range value.SortedKeys(values) {
		i := slices.IndexFunc(a.Takes, func(o plan.Output) bool { return o.Name == name })
		switch {
		case i < 0 && len(a.Takes) == 0:
			return errs.Invalid("VALUE_UNKNOWN", "task %s takes no values: it is not MANUAL, or declares no outputs", a.Task)
		case i < 0:
			return errs.Invalid("VALUE_UNKNOWN", "task %s takes no value %q: it declares %s", a.Task, name, a.declared())
		case !storable.Is(values[name]):
			return errs.Invalid("VALUE_INVALID", "the value %s is no text: it holds NUL, or is not UTF-8", name)
		}
		if err := param.CheckOutputs(&plan.Task{Outputs: a.Takes[i : i+1]}, values); err != nil {
			return errs.Invalid("VALUE_INVALID", "%s", err)
		}
	}
	return nil
}

// checkGiven refuses what the votes give together: too much, or, when they approve, too little.
func (a *Approval) checkGiven(approved bool) error {
	size := 0
	for _, vote := range a.Votes { // all of them are kept and shown, also what a later one replaces
		for name, v := range vote.Values {
			size += len(name) + len(v)
		}
	}
	if size > maxGiven {
		return errs.Invalid("VALUE_INVALID", "the values of all votes together have %d bytes, at most %d may be given", size, maxGiven)
	}
	if !approved {
		return nil
	}
	if err := param.CheckOutputs(&plan.Task{Outputs: a.Takes}, a.Given()); err != nil {
		return errs.Invalid("VALUE_REQUIRED", "%s: the vote that approves must give it", err)
	}
	return nil
}

// declared names the outputs that can be given.
func (a *Approval) declared() string {
	names := make([]string, len(a.Takes))
	for i := range a.Takes {
		names[i] = a.Takes[i].Name
	}
	return list(names)
}
