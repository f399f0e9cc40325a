package jobspec

import (
	"strings"
	"unicode"
)

// moment is what conditions can know in a rendering.
type moment struct {
	conditions *conditions
	// facts are set once a task is about to start.
	facts *Facts
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
	at   *node
}

// condition reads skip_if or except: a CEL expression or a template that renders true. What is not known counts as no.
func (r *reader) condition(n *node, field string) bool {
	holds, _ := r.holds(n, field)
	return holds
}

// holds reads a condition. known is false when only a later moment can tell.
func (r *reader) holds(n *node, field string) (holds, known bool) {
	if n.kind != nodeScalar || n.templated {
		return r.templateHolds(n)
	}
	text := strings.TrimSpace(n.text)
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
	activation, state := c.uses.activation(r.m.scope, r.moment.facts, waits)
	switch state {
	case conditionWaits:
		return false, false
	case conditionLarge:
		r.fault(n, CodeCondition, "the condition asks for a value that is too large", "texts of up to 64 KiB, lists and mappings of up to 1 MiB")
		return false, true
	case conditionReady:
	}
	holds, err := c.holds(activation)
	if err != nil {
		r.fault(n, CodeCondition, err.Error(), "an expression that is true or false for all values")
	}
	return holds, true
}

// ofLaunch says that a condition is asked once for the whole job, at its launch.
func ofLaunch(field string) bool { return field == "skip_if" || field == "notify."+notifyExcept }

// templateHolds reads a template that renders true.
func (r *reader) templateHolds(n *node) (holds, known bool) {
	if r.checking && n.templated && isExpression(n.text) {
		r.warn(n.line, n.column, CodeCondition, "the template renders an expression, which is not read as one: it holds only where it renders true",
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
	for word := range strings.FieldsSeq(textOf(s.value)) {
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
		before, after, found := strings.Cut(rest, tokenBytes)
		b.WriteString(before)
		if !found {
			break
		}
		_, rest, _ = strings.Cut(after, string(tokenClose))
	}
	for word := range strings.FieldsSeq(b.String()) {
		if !strings.EqualFold(word, "true") && !strings.EqualFold(word, "false") {
			return true
		}
	}
	return false
}

// expression compiles a CEL expression and reports its faults at their places. It returns nil when there are some.
func (r *reader) expression(n *node, field string) *celCondition {
	c, err := r.moment.conditions.get(n.text, r.items)
	if err != nil {
		r.fault(n, CodeCondition, "conditions cannot be read here", "a template that renders true")
		return nil
	}
	const expected = "a CEL expression that is true or false"
	for _, issue := range c.issues {
		r.faultInside(n, issue.at, issue.message, expected)
	}
	if ofLaunch(field) {
		for name, use := range c.uses.tasks {
			r.faultInside(n, use.at, "the task "+quoteName(name)+" has not run when "+field+" is asked", "params, vars or job")
		}
		if c.uses.allTasks {
			r.fault(n, CodeCondition, "no task has run when "+field+" is asked", "params, vars or job")
		}
	}
	if len(c.issues) > 0 || ofLaunch(field) && (c.uses.allTasks || len(c.uses.tasks) > 0) {
		return nil
	}
	for _, name := range sortedKeys(c.uses.tasks) {
		line, column := r.inside(n, c.uses.tasks[name].at)
		r.moment.refs = append(r.moment.refs, taskRef{name: name, at: &node{kind: nodeScalar, line: line, column: column, text: name}})
	}
	return c
}

func (r *reader) faultInside(n *node, at int, message, expected string) {
	if r.c.full() {
		return
	}
	line, column := r.inside(n, at)
	r.add(line, column, CodeCondition, message, expected)
}

// inside finds the place in the rendered text of a character of a scalar, whatever way the scalar is written in: it
// walks both texts and looks for each character of the scalar that is no space.
func (r *reader) inside(n *node, at int) (line, column int) {
	text := r.shape.text
	from := r.shape.offset(n.line, n.column)
	if from >= len(text) {
		return n.line, n.column
	}
	raw := string(text[from:min(len(text), from+8*len(n.text)+1000)])
	i := 0
	switch first := raw[0]; {
	case first == '|' || first == '>':
		if i = strings.IndexByte(raw, '\n') + 1; i == 0 {
			return n.line, n.column
		}
	case n.quoted && (first == '"' || first == '\''):
		i = 1
	}
	seen := 0
	for _, want := range n.text {
		if !unicode.IsSpace(want) {
			next := strings.IndexRune(raw[i:], want)
			if next < 0 {
				return n.line, n.column
			}
			i += next
			if seen >= at {
				break
			}
			i += len(string(want))
		}
		seen++
	}
	return r.shape.place(from + min(i, len(raw)))
}
