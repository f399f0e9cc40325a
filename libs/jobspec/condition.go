package jobspec

import (
	"strings"
	"unicode"

	"github.com/formicary/formicary/libs/jobspec/condition"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// moment is what conditions can know in a rendering.
type moment struct {
	conditions *condition.Set
	// facts are set once a task is about to start.
	facts *condition.Facts
	// deciding says that the rendering is that of Definition.Decide: what decides about the task must be known now, the
	// rest (secrets, items) may still be missing.
	deciding bool
	// item says that one item of a fan-out is rendered: the list that it stands in does not matter any more.
	item bool
	// asked notes that an expression steers the plan.
	asked bool
	// refs are the tasks that the expressions of the task name.
	refs []taskRef
}

// taskRef is a task that an expression or a fan-out names.
type taskRef struct {
	name string
	at   *source.Node
}

// condition reads skip_if or except: a CEL expression or a template that renders true. What is not known counts as no.
func (r *reader) condition(n *source.Node, field string) bool {
	holds, _ := r.holds(n, field)
	return holds
}

// holds reads a condition. known is false when only a later moment can tell.
func (r *reader) holds(n *source.Node, field string) (holds, known bool) {
	if n.Kind != source.Scalar || n.Templated {
		return r.templateHolds(n)
	}
	text := strings.TrimSpace(n.Text)
	switch {
	case text == "", strings.EqualFold(text, "false"):
		return false, true
	case strings.EqualFold(text, "true"):
		return true, true
	}
	c := r.expression(n, field)
	if c == nil {
		return false, true
	}
	r.moment.asked = true
	if r.checking {
		return false, false
	}
	// Before a task is about to start, a variable that is not set may be the output of another one. For the whole job
	// there is no later moment.
	waits := r.later && r.moment.facts == nil && !ofLaunch(field)
	activation, state := c.Uses.Activation(r.m.Scope, r.moment.facts, waits)
	switch state {
	case condition.Waits:
		return false, false
	case condition.Large:
		r.fault(n, source.CodeCondition, "the condition asks for a value that is too large", "texts of up to 64 KiB, lists and mappings of up to 1 MiB")
		return false, true
	case condition.Ready:
	}
	holds, err := c.Holds(activation)
	if err != nil {
		r.fault(n, source.CodeCondition, err.Error(), "an expression that is true or false for all values")
	}
	return holds, true
}

// ofLaunch says that a condition is asked once for the whole job, at its launch.
func ofLaunch(field string) bool { return field == "skip_if" || field == "notify."+notifyExcept }

// templateHolds reads a template that renders true.
func (r *reader) templateHolds(n *source.Node) (holds, known bool) {
	if r.checking && n.Templated && isExpression(n.Text) {
		r.warn(n.Line, n.Column, source.CodeCondition, "the template renders an expression, which is not read as one: it holds only where it renders true",
			"a CEL expression without a template, such as vars.n == 5, or a template that renders true, such as {{eq .n 5}}")
	}
	s, ok := r.scalar(n)
	switch {
	case !ok:
		return false, true
	case !s.known:
		return false, false
	}
	if v, ok := s.value.(bool); ok {
		return v, true
	}
	for word := range strings.FieldsSeq(value.Text(s.value)) {
		if strings.EqualFold(word, "true") {
			return true, true
		}
	}
	return false, true
}

// isExpression says that there is more in a text than values and the words true and false.
func isExpression(text string) bool {
	var b strings.Builder
	for rest := text; rest != ""; {
		before, after, found := strings.Cut(rest, source.TokenPrefix)
		b.WriteString(before)
		if !found {
			break
		}
		_, rest, _ = strings.Cut(after, string(source.TokenClose))
	}
	for word := range strings.FieldsSeq(b.String()) {
		if !strings.EqualFold(word, "true") && !strings.EqualFold(word, "false") {
			return true
		}
	}
	return false
}

// expression compiles a CEL expression and reports its faults at their places. It returns nil when there are some.
func (r *reader) expression(n *source.Node, field string) *condition.Condition {
	c, err := r.moment.conditions.Get(n.Text, r.items)
	if err != nil {
		r.fault(n, source.CodeCondition, "conditions cannot be read here", "a template that renders true")
		return nil
	}
	const expected = "a CEL expression that is true or false"
	for _, issue := range c.Issues {
		r.faultInside(n, issue.At, issue.Message, expected)
	}
	if ofLaunch(field) {
		for name, use := range c.Uses.Tasks {
			r.faultInside(n, use.At, "the task "+source.QuoteName(name)+" has not run when "+field+" is asked", "params, vars or job")
		}
		if c.Uses.AllTasks {
			r.fault(n, source.CodeCondition, "no task has run when "+field+" is asked", "params, vars or job")
		}
	}
	if len(c.Issues) > 0 || ofLaunch(field) && (c.Uses.AllTasks || len(c.Uses.Tasks) > 0) {
		return nil
	}
	for _, name := range value.SortedKeys(c.Uses.Tasks) {
		line, column := r.inside(n, c.Uses.Tasks[name].At)
		r.moment.refs = append(r.moment.refs, taskRef{name: name, at: &source.Node{Kind: source.Scalar, Line: line, Column: column, Text: name}})
	}
	return c
}

func (r *reader) faultInside(n *source.Node, at int, message, expected string) {
	if r.c.Full() {
		return
	}
	line, column := r.inside(n, at)
	r.add(line, column, source.CodeCondition, message, expected)
}

// inside finds the place in the rendered text of a character of a scalar, whatever way the scalar is written in: it
// walks both texts and looks for each character of the scalar that is no space.
func (r *reader) inside(n *source.Node, at int) (line, column int) {
	text := r.shape.Text
	from := r.shape.Offset(n.Line, n.Column)
	if from >= len(text) {
		return n.Line, n.Column
	}
	raw := string(text[from:min(len(text), from+8*len(n.Text)+1000)])
	i := 0
	switch first := raw[0]; {
	case first == '|' || first == '>':
		if i = strings.IndexByte(raw, '\n') + 1; i == 0 {
			return n.Line, n.Column
		}
	case n.Quoted && (first == '"' || first == '\''):
		i = 1
	}
	seen := 0
	for _, want := range n.Text {
		if !unicode.IsSpace(want) {
			next := strings.IndexRune(raw[i:], want)
			if next < 0 {
				return n.Line, n.Column
			}
			i += next
			if seen >= at {
				break
			}
			i += len(string(want))
		}
		seen++
	}
	return r.shape.Place(from + min(i, len(raw)))
}
