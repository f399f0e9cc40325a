package lint

import (
	"slices"
	"strings"

	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/source"
)

// never tells of values that can never be known in time: they are outputs of tasks, or of the items of a fan-out.
func (l *linter) never(all []read.Needed) {
	for _, need := range all {
		for _, s := range l.printed(need.Node) {
			for _, name := range l.taint.Prints[s] {
				base, _, _ := strings.Cut(name, ".")
				line, column := l.Source.At(s.From)
				switch {
				case slices.Contains(need.Items, base):
					l.Collector.Add(source.Problem{
						Line: line, Column: column, Code: source.CodeUndefinedVariable, Field: name,
						Message:  "the variable " + name + " is one of an item, and this is one value for all items: it can never be rendered",
						Expected: "a value that does not depend on the item",
					})
				case !need.Later && l.outputOnly(base):
					l.Collector.Add(source.Problem{
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
