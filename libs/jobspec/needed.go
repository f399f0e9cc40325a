package jobspec

import (
	"slices"
	"strings"

	"github.com/formicary/formicary/libs/jobspec/source"
)

// needed is a value that must be known when the job starts, or the task, and that a template gives.
type needed struct {
	node *source.Node
	// items are the variables of the fan-out that the field cannot depend on.
	items []string
	// later says that it may be known when the task starts.
	later bool
}

// unknownNow is asked for a value that must be known when the job starts and is not: a fault then, at the upload a
// question for the linter. byItem says that it may depend on the item of a fan-out.
func (r *reader) unknownNow(n *source.Node, byItem bool) {
	if !r.checking {
		r.undefined(n)
		return
	}
	if n.Templated {
		items := r.items
		if byItem {
			items = nil
		}
		r.needed = append(r.needed, needed{node: n, items: items})
	}
}

// never tells of values that can never be known in time: they are outputs of tasks, or of the items of a fan-out.
func (l *linter) never(all []needed) {
	for _, need := range all {
		for _, s := range l.printed(need.node) {
			for _, name := range l.taint.Prints[s] {
				base, _, _ := strings.Cut(name, ".")
				line, column := l.src.At(s.From)
				switch {
				case slices.Contains(need.items, base):
					l.c.Add(source.Problem{
						Line: line, Column: column, Code: source.CodeUndefinedVariable, Field: name,
						Message:  "the variable " + name + " is one of an item, and this is one value for all items: it can never be rendered",
						Expected: "a value that does not depend on the item",
					})
				case !need.later && l.outputOnly(base):
					l.c.Add(source.Problem{
						Line: line, Column: column, Code: source.CodeUndefinedVariable, Field: name, Warning: true,
						Message:  "the variable " + name + " is an output of a task, and this must be known when the job starts",
						Expected: "a parameter or a variable of the job; fan_out with source takes a list from an output",
					})
				}
			}
		}
	}
}

// outputOnly says that nothing but a task gives a variable.
func (l *linter) outputOnly(name string) bool {
	if _, given := l.job[name]; given || l.params[name] != nil || l.required[name] || l.all[name] {
		return false
	}
	return l.outputs[name]
}
