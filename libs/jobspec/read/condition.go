package read

import (
	"strings"
	"unicode"

	"github.com/formicary/formicary/libs/jobspec/condition"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// Moment is what conditions can know in a rendering.
type Moment struct {
	Conditions *condition.Set
	// Facts are set once a task is about to start.
	Facts *condition.Facts
	// Deciding says that the rendering is that of Definition.Decide: what decides about the task must be known now, the
	// rest (secrets, items) may still be missing.
	Deciding bool
	// Item says that one item of a fan-out is rendered: the list that it stands in does not matter any more.
	Item bool
	// Asked notes that an expression steers the plan.
	Asked bool
	// Refs are the tasks that the expressions of the task name.
	Refs []TaskRef
}

// TaskRef is a task that an expression or a fan-out names.
type TaskRef struct {
	Name string
	At   *source.Node
}

// Condition reads skip_if or except: a CEL expression or a template that renders true. What is not known counts as no.
func (r *Reader) Condition(n *source.Node, field string) bool {
	holds, _ := r.Holds(n, field)
	return holds
}

// Holds reads a condition. known is false when only a later moment can tell.
func (r *Reader) Holds(n *source.Node, field string) (holds, known bool) {
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
	r.Moment.Asked = true
	if r.Checking {
		return false, false
	}
	// Before a task is about to start, a variable that is not set may be the output of another one. For the whole job
	// there is no later moment.
	waits := r.Later && r.Moment.Facts == nil && !ofLaunch(field)
	activation, state := c.Uses.Activation(r.Machine.Scope, r.Moment.Facts, waits)
	switch state {
	case condition.Waits:
		return false, false
	case condition.Large:
		r.Fault(n, source.CodeCondition, "the condition asks for a value that is too large", "texts of up to 64 KiB, lists and mappings of up to 1 MiB")
		return false, true
	case condition.Ready:
	}
	holds, err := c.Holds(activation)
	if err != nil {
		r.Fault(n, source.CodeCondition, err.Error(), "an expression that is true or false for all values")
	}
	return holds, true
}

// ofLaunch says that a condition is asked once for the whole job, at its launch.
func ofLaunch(field string) bool { return field == "skip_if" || field == "notify."+NotifyExcept }

// templateHolds reads a template that renders true.
func (r *Reader) templateHolds(n *source.Node) (holds, known bool) {
	if r.Checking && n.Templated && isExpression(n.Text) {
		r.Warn(n.Line, n.Column, source.CodeCondition, "the template renders an expression, which is not read as one: it holds only where it renders true",
			"a CEL expression without a template, such as vars.n == 5, or a template that renders true, such as {{eq .n 5}}")
	}
	s, ok := r.Scalar(n)
	switch {
	case !ok:
		return false, true
	case !s.Known:
		return false, false
	}
	if v, ok := s.Value.(bool); ok {
		return v, true
	}
	for word := range strings.FieldsSeq(value.Text(s.Value)) {
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
func (r *Reader) expression(n *source.Node, field string) *condition.Condition {
	c, err := r.Moment.Conditions.Get(n.Text, r.Items)
	if err != nil {
		r.Fault(n, source.CodeCondition, "conditions cannot be read here", "a template that renders true")
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
			r.Fault(n, source.CodeCondition, "no task has run when "+field+" is asked", "params, vars or job")
		}
	}
	if len(c.Issues) > 0 || ofLaunch(field) && (c.Uses.AllTasks || len(c.Uses.Tasks) > 0) {
		return nil
	}
	for _, name := range value.SortedKeys(c.Uses.Tasks) {
		line, column := r.inside(n, c.Uses.Tasks[name].At)
		r.Moment.Refs = append(r.Moment.Refs, TaskRef{Name: name, At: &source.Node{Kind: source.Scalar, Line: line, Column: column, Text: name}})
	}
	return c
}

func (r *Reader) faultInside(n *source.Node, at int, message, expected string) {
	if r.Collector.Full() {
		return
	}
	line, column := r.inside(n, at)
	r.Add(line, column, source.CodeCondition, message, expected)
}

// inside finds the place in the rendered text of a character of a scalar, whatever way the scalar is written in: it
// walks both texts and looks for each character of the scalar that is no space.
func (r *Reader) inside(n *source.Node, at int) (line, column int) {
	text := r.Shape.Text
	from := r.Shape.Offset(n.Line, n.Column)
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
	return r.Shape.Place(from + min(i, len(raw)))
}

// NotifyExcept is the condition under which nobody is told.
const NotifyExcept = "except"
