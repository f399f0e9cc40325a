package read

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// Reader reads fields of a shape's nodes with the values of one rendering. Its methods report faults and then return
// the zero value.
type Reader struct {
	Collector *source.Collector
	Program   *template.Program // nil when the text has no template
	// Declares says that actions print nothing but what the definition declares; nil: it is not known yet.
	Declares func(printed []*template.Stmt, s *template.Scope) bool
	// Hides says that a secret may be among what actions print; nil: it is not known yet.
	Hides   func(printed []*template.Stmt, s *template.Scope) bool
	Source  *source.Lines
	Shape   *template.Shape
	Machine *template.Machine
	// Checking says that variables are not known yet, at the upload: unknown values pass.
	Checking bool
	// Later says that a variable which is not set may be an output of a task that has not run yet.
	Later bool
	// Blank is undefined_variables: empty. settled says that what is read now cannot be set later.
	Blank, settled bool
	// Placing says that what is read decides the placement, which items may have of their own.
	Placing bool

	output int // bytes of text made of values

	// Of the task that is being read:
	Reads map[string]bool  // variables
	Late  bool             // something is known at the claim only
	Unset []template.Fault // variables that are not set yet
	Items []string         // variables of its items, of a fan-out

	Needed []Needed // what must be known when the job starts

	Moment Moment // of the rendering: what conditions can know
}

// Scalar is a single value of the text with its tokens replaced.
type Scalar struct {
	node *source.Node
	// Value is the own value of a token that stands alone, else text (or what plain YAML makes of it, see typed).
	Value any
	// Known is false when the value depends on what only a later rendering knows.
	Known bool
	// pure says that value is the own value of a single token.
	pure bool
}

// At returns the place of a node in the source.
func (r *Reader) At(line, column int) (int, int) {
	if line == 0 {
		return 0, 0
	}
	return r.Source.At(r.Shape.Source(line, column))
}

// Add reports a fault at a place of the rendered text.
func (r *Reader) Add(line, column int, code, message, expected string) {
	if r.Collector.Full() {
		return
	}
	line, column = r.At(line, column)
	r.Collector.Add(source.Problem{Line: line, Column: column, Code: code, Message: message, Expected: expected})
}

// Fault reports a fault at a node.
func (r *Reader) Fault(n *source.Node, code, message, expected string) {
	r.Add(n.Line, n.Column, code, message, expected)
}

// Warn reports a warning at a place of the rendered text.
func (r *Reader) Warn(line, column int, code, message, expected string) {
	line, column = r.At(line, column)
	r.Collector.Add(source.Problem{Line: line, Column: column, Code: code, Message: message, Expected: expected, Warning: true})
}

// Note is the scope's onRead while a task is read.
func (r *Reader) Note(name string, val any) {
	if template.IsCounter(name) || name == template.Everything || r.Machine.Scope.IsItem(name) || r.Machine.Scope.IsSecret(name) {
		r.Late = true
	}
	if template.IsResultName(name) {
		return
	}
	if r.Reads == nil {
		r.Reads = map[string]bool{}
	}
	r.Reads[name] = true
}

// Scalar resolves the tokens of a node that should be a single value.
func (r *Reader) Scalar(n *source.Node) (Scalar, bool) {
	switch {
	case n.Kind == source.Null:
		return Scalar{node: n, Known: true}, true
	case n.Kind != source.Scalar:
		r.Fault(n, source.CodeInvalidType, n.Kind.String()+" stands here", "a single value")
		return Scalar{}, false
	case !n.Templated:
		return Scalar{node: n, Value: n.Text, Known: true}, true
	}
	return r.Resolve(n)
}

// Resolve replaces tokens by values. What is not known stays in the text as the source wrote it.
func (r *Reader) Resolve(n *source.Node) (Scalar, bool) {
	s := Scalar{node: n, Known: true}
	var b strings.Builder
	for rest := n.Text; rest != ""; {
		before, after, found := strings.Cut(rest, source.TokenPrefix)
		b.WriteString(before)
		if !found {
			break
		}
		digits, tail, _ := strings.Cut(after, string(source.TokenClose))
		rest = tail
		id, err := strconv.Atoi(digits)
		if err != nil {
			id = -1
		}
		v, err := r.token(id)
		if err != nil {
			return Scalar{}, false
		}
		if _, ok := v.(template.Unknown); ok {
			s.Known = false
			b.WriteString(r.Shape.SourceOf(r.Program, id))
			continue
		}
		r.output += value.Size(v, template.MaxOutput)
		if !r.bounded(n) {
			return Scalar{}, false
		}
		if before == "" && rest == "" && len(digits)+len(string(source.TokenClose))+len(source.TokenPrefix) == len(n.Text) && !n.Quoted {
			s.Value, s.pure = v, true
			return s, true
		}
		b.WriteString(value.Text(v))
	}
	s.Value = b.String()
	return s, true
}

// Divides reports whether a value that is printed in a scalar holds the sign at which the field divides its text: then
// the value would decide what the text means.
func (r *Reader) Divides(n *source.Node, sign string) bool {
	for rest := n.Text; n.Templated; {
		_, after, found := strings.Cut(rest, source.TokenPrefix)
		if !found {
			break
		}
		digits, tail, _ := strings.Cut(after, string(source.TokenClose))
		rest = tail
		if id, err := strconv.Atoi(digits); err == nil {
			if v, err := r.Shape.Value(r.Machine, id); err == nil && strings.Contains(value.Text(v), sign) {
				return true
			}
		}
	}
	return false
}

func (r *Reader) bounded(n *source.Node) bool {
	if r.output > template.MaxOutput {
		r.Fault(n, source.CodeTemplateLimit, "the values make too much text", fmt.Sprintf("at most %d bytes", template.MaxOutput))
		return false
	}
	return true
}

// token evaluates a token.
func (r *Reader) token(id int) (any, error) {
	r.Machine.Scope.Empty = r.Blank && (!r.Later || r.settled)
	v, err := r.Shape.Value(r.Machine, id)
	if err == nil {
		if r.Machine.Scope.Vague() && template.HasUnknown(v) {
			v = template.Unknown{}
		}
		return v, nil
	}
	var f *template.Fault
	if errors.As(err, &f) && f.Code == source.CodeUndefinedVariable && r.Later {
		r.Unset = append(r.Unset, *f)
		r.Late = true
		return template.Unknown{}, nil
	}
	template.AddFault(r.Collector, r.Source, err)
	return nil, err
}

// Show is the text of a node for a message: as the source wrote it, so that it holds no value of a variable. At the
// upload all values are the definition's own, and what a template gives is told too.
func (r *Reader) Show(n *source.Node) string {
	written := source.QuoteName(r.Written(n))
	if !n.Templated || !r.Checking {
		return written
	}
	return written + r.given(n)
}

// given is what the templates of a node give, in brackets; empty when that is not known.
func (r *Reader) given(n *source.Node) string {
	quiet := *r
	quiet.Collector = &source.Collector{}
	s, ok := quiet.Resolve(n)
	if !ok || !s.Known {
		return ""
	}
	return " (" + source.QuoteName(value.Text(s.Value)) + ")"
}

// ShowName is show for the name of a task. A launch tells what was given too, if it is made of nothing but what the
// definition declares and does not call a secret.
func (r *Reader) ShowName(n *source.Node) string {
	shown := r.Show(n)
	if r.Checking || !n.Templated || r.Declares == nil || !r.Declares(r.Shape.Sources(n.Text), r.Machine.Scope) {
		return shown
	}
	return shown + r.given(n)
}

// ShowGiven is ShowName for a value that may be known only when the task starts: then it is made of what earlier tasks and
// items gave, and told too unless a secret is among it.
func (r *Reader) ShowGiven(n *source.Node) string {
	if !r.Moment.Deciding || r.Checking || !n.Templated || r.Hides == nil || r.Hides(r.Shape.Sources(n.Text), r.Machine.Scope) {
		return r.ShowName(n)
	}
	return r.Show(n) + r.given(n)
}

// Written is the text of a node as it stands in the source.
func (r *Reader) Written(n *source.Node) string {
	if !n.Templated {
		return n.Text
	}
	var b strings.Builder
	for rest := n.Text; rest != ""; {
		before, after, found := strings.Cut(rest, source.TokenPrefix)
		b.WriteString(before)
		if !found {
			break
		}
		digits, tail, _ := strings.Cut(after, string(source.TokenClose))
		id, err := strconv.Atoi(digits)
		if err == nil {
			b.WriteString(r.Shape.SourceOf(r.Program, id))
		}
		rest = tail
	}
	return b.String()
}

// needs reports a field that must be known now and is not; it returns whether the value can be used.
func (r *Reader) needs(s Scalar) bool {
	if s.Known {
		return true
	}
	r.UnknownNow(s.node, r.Placing)
	return false
}

// undefined reports the variables that made a value unknown.
func (r *Reader) undefined(n *source.Node) {
	if len(r.Unset) > 0 {
		template.AddFault(r.Collector, r.Source, &r.Unset[len(r.Unset)-1])
		return
	}
	r.Fault(n, source.CodeUndefinedVariable, "the value is not known when the job starts", "a value that does not depend on a task")
}

// Text reads text. known is false when it depends on what is not known.
func (r *Reader) Text(n *source.Node) (text string, known bool) {
	s, ok := r.Scalar(n)
	if !ok {
		return "", false
	}
	switch s.Value.(type) {
	case []any, map[string]any:
		r.Fault(n, source.CodeInvalidType, "the template's value is a list or a mapping", "text")
		return "", false
	}
	return value.Text(s.Value), s.Known
}

// Literal reads text that must be known before anything is rendered.
func (r *Reader) Literal(n *source.Node, field string, longest int) string {
	if n.Templated {
		r.Fault(n, source.CodeInvalidValue, field+" is a template", "a value written out: it is needed before the job is rendered")
		return ""
	}
	text, _ := r.Text(n)
	if len(text) > longest {
		r.Fault(n, source.CodeInvalidValue, fmt.Sprintf("%s has %d characters", field, len(text)), fmt.Sprintf("at most %d", longest))
	}
	return text
}

// Planned reads text that must be known when the job starts.
func (r *Reader) Planned(n *source.Node) (string, bool) {
	var s Scalar
	var ok bool
	r.Final(func() { s, ok = r.Scalar(n) })
	if !ok {
		return "", false
	}
	switch s.Value.(type) {
	case []any, map[string]any:
		r.Fault(n, source.CodeInvalidType, "the template's value is a list or a mapping", "text")
		return "", false
	}
	return value.Text(s.Value), r.needs(s)
}

// Flag reads a switch.
func (r *Reader) Flag(n *source.Node) bool {
	text, ok := r.Planned(n)
	if !ok {
		return false
	}
	return r.Switched(n, text)
}

// Switched is what a text says as a switch.
func (r *Reader) Switched(n *source.Node, text string) bool {
	on, ok := SwitchOf(text)
	if !ok {
		r.Fault(n, source.CodeInvalidValue, r.Show(n)+" is no switch", "true or false")
	}
	return on
}

// SwitchOf says what a text says as a switch; ok is false when it is none.
func SwitchOf(text string) (on, ok bool) {
	switch strings.ToLower(text) {
	case "true", "yes", "on":
		return true, true
	case "false", "no", "off", "":
		return false, true
	}
	return false, false
}

// Integer reads a whole number within bounds; known is false when there is none.
func (r *Reader) Integer(n *source.Node, low, high int) (val int, known bool) {
	text, ok := r.Planned(n)
	if !ok {
		return low, false
	}
	if r.Nothing(n, text) {
		return low, false
	}
	i, err := strconv.Atoi(text)
	if err != nil || i < low || i > high {
		r.Fault(n, source.CodeInvalidValue, r.Show(n)+" is out of bounds or no whole number", fmt.Sprintf("%d to %d", low, high))
		return low, false
	}
	return i, true
}

// Item is one text of a list, with its place.
type Item struct {
	Node  *source.Node
	Text  string
	Known bool
}

// List reads text or a list of texts. A template's value may be a list of texts too.
func (r *Reader) List(n *source.Node) []Item {
	if n.Kind == source.Null {
		return nil
	}
	if n.Kind == source.List {
		out := make([]Item, 0, len(n.Items))
		for _, child := range n.Items {
			if child.Kind == source.Map {
				r.Fault(child, source.CodeInvalidType, "a mapping stands where text is expected", "text; in quotes when it holds a colon and a space")
				continue
			}
			if text, known := r.Text(child); text != "" || known {
				out = append(out, Item{child, text, known})
			}
		}
		return out
	}
	if n.Kind == source.Map {
		r.Fault(n, source.CodeInvalidType, "a mapping stands here", "text or a list of texts")
		return nil
	}
	s, ok := r.Scalar(n)
	if !ok {
		return nil
	}
	if values, ok := s.Value.([]any); ok {
		out := make([]Item, 0, len(values))
		for _, v := range values {
			switch v.(type) {
			case []any, map[string]any:
				r.Fault(n, source.CodeInvalidType, "the template's value holds a list or a mapping", "texts")
				return nil
			}
			out = append(out, Item{n, value.Text(v), true})
		}
		return out
	}
	if _, ok := s.Value.(map[string]any); ok {
		r.Fault(n, source.CodeInvalidType, "the template's value is a mapping", "text or a list of texts")
		return nil
	}
	return []Item{{n, value.Text(s.Value), s.Known}}
}

// Texts are the texts of items.
func Texts(items []Item) []string {
	if len(items) == 0 {
		return nil
	}
	out := make([]string, len(items))
	for i, it := range items {
		out[i] = it.Text
	}
	return out
}

// Final reads something of which nothing can be set later: what is not set is empty then, if the job says so.
func (r *Reader) Final(read func()) {
	before := r.settled
	r.settled = true
	read()
	r.settled = before
}

// PlannedList is list for what the plan needs.
func (r *Reader) PlannedList(n *source.Node) (items []Item) {
	r.Final(func() { items = r.List(n) })
	return items
}

// Nothing says that a field is empty because its variable is not set: it counts as not given.
func (r *Reader) Nothing(n *source.Node, text string) bool {
	return r.Blank && n.Templated && strings.TrimSpace(text) == ""
}

// Needed is a value that must be known when the job starts, or the task, and that a template gives.
type Needed struct {
	Node *source.Node
	// Items are the variables of the fan-out that the field cannot depend on.
	Items []string
	// Later says that it may be known when the task starts.
	Later bool
}

// UnknownNow is asked for a value that must be known when the job starts and is not: a fault then, at the upload a
// question for the linter. byItem says that it may depend on the item of a fan-out.
func (r *Reader) UnknownNow(n *source.Node, byItem bool) {
	if !r.Checking {
		r.undefined(n)
		return
	}
	if n.Templated {
		items := r.Items
		if byItem {
			items = nil
		}
		r.Needed = append(r.Needed, Needed{Node: n, Items: items})
	}
}

// Known drops what is not known.
func Known(vars value.Vars) value.Vars {
	for name, v := range vars {
		if template.HasUnknown(v) {
			delete(vars, name)
		}
	}
	return vars
}
