package lint

import (
	"slices"
	"strings"

	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/template"
)

// hintUnset tells once of a variable that nothing in the definition gives, if the file is one of the existing system:
// there it would be printed as no value, and the task would go on.
func (l *linter) hintUnset(list *source.Node) {
	if l.Blank || !slices.ContainsFunc(l.Collector.List, func(p source.Problem) bool {
		return p.Code == source.CodeReadAs || p.Code == source.CodeMisspelledField
	}) {
		return
	}
	told := false
	list.EachScalar(func(n *source.Node) {
		for _, s := range l.printed(n) {
			for _, name := range l.taint.Prints[s] {
				if told || l.declared(name) || strings.Contains(l.Program.Text[s.From:s.To], "default") {
					continue
				}
				told = true
				line, column := l.Source.At(s.From)
				l.Collector.Add(source.Problem{
					Line: line, Column: column, Code: source.CodeUndefinedVariable, Field: name, Warning: true,
					Message:  "nothing in the definition gives the variable " + name + ": when it is not set, the task fails",
					Expected: "a parameter or an output that is declared, default, or undefined_variables: empty at the job",
				})
			}
		}
	})
}

// declared says that the definition gives a variable, as far as it can be seen.
func (l *linter) declared(name string) bool {
	base, _, _ := strings.Cut(name, ".")
	if name == template.Everything || template.IsBuiltin(base) || l.outputs[base] || l.outputs[name] || setByEngine(name) || l.required[base] || l.all[base] {
		return true
	}
	_, given := l.job[base]
	return given || l.params[base] != nil
}
