package jobspec

import (
	"regexp"
	"slices"
	"strings"
)

// What becomes of a printed variable that is not set: undefined_variables of the job.
const (
	UndefinedStrict = "strict" // it is a fault, the default
	UndefinedEmpty  = "empty"  // it is empty text, for files of the existing system
)

// blankField finds the field before the text is read: templates are run first.
var blankField = regexp.MustCompile(`(?m)^[ \t{]*["']?undefined_variables["']?[ \t]*:[ \t]*["']?empty\b`)

// undefinedVariables reads the field. It is needed before anything is rendered.
func (r *reader) undefinedVariables(n *node) bool {
	text := r.literal(n, "undefined_variables", maxName)
	switch {
	case n.templated, text == "", strings.EqualFold(text, UndefinedStrict):
		return false
	case strings.EqualFold(text, UndefinedEmpty):
		return true
	}
	r.fault(n, CodeInvalidValue, r.show(n)+" is not known here", "strict or empty")
	return false
}

// final reads something of which nothing can be set later: what is not set is empty then, if the job says so.
func (r *reader) final(read func()) {
	before := r.settled
	r.settled = true
	read()
	r.settled = before
}

// plannedList is list for what the plan needs.
func (r *reader) plannedList(n *node) (items []item) {
	r.final(func() { items = r.list(n) })
	return items
}

// nothing says that a field is empty because its variable is not set: it counts as not given.
func (r *reader) nothing(n *node, text string) bool {
	return r.blank && n.templated && strings.TrimSpace(text) == ""
}

// hintUnset tells once of a variable that nothing in the definition gives, if the file is one of the existing system:
// there it would be printed as no value, and the task would go on.
func (l *linter) hintUnset(list *node) {
	if l.blank || !slices.ContainsFunc(l.c.list, func(p Problem) bool { return p.Code == CodeReadAs || p.Code == CodeMisspelledField }) {
		return
	}
	told := false
	scalars(list, func(n *node) {
		for _, s := range l.printed(n) {
			for _, name := range l.taint.prints[s] {
				if told || l.declared(name) || strings.Contains(l.p.text[s.from:s.to], "default") {
					continue
				}
				told = true
				line, column := l.src.at(s.from)
				l.c.add(Problem{
					Line: line, Column: column, Code: CodeUndefinedVariable, Field: name, Warning: true,
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
	if name == everything || isBuiltin(base) || l.outputs[base] || l.outputs[name] || setByEngine(name) || l.required[base] || l.all[base] {
		return true
	}
	_, given := l.job[base]
	return given || l.params[base] != nil
}
