package jobspec

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/formicary/formicary/libs/exact"
	"github.com/formicary/formicary/libs/jobspec/environ"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// reader reads fields of a shape's nodes with the values of one rendering. Its methods report faults and then return
// the zero value.
type reader struct {
	c     *source.Collector
	p     *template.Program // nil when the text has no template
	def   *Definition
	src   *source.Lines
	shape *rendering
	m     *template.Machine
	// checking says that variables are not known yet, at the upload: unknown values pass.
	checking bool
	// later says that a variable which is not set may be an output of a task that has not run yet.
	later bool
	// blank is undefined_variables: empty. settled says that what is read now cannot be set later.
	blank, settled bool
	// placing says that what is read decides the placement, which items may have of their own.
	placing bool

	output int // bytes of text made of values

	// Of the task that is being read:
	reads map[string]bool  // variables
	late  bool             // something is known at the claim only
	unset []template.Fault // variables that are not set yet
	items []string         // variables of its items, of a fan-out

	needed []needed // what must be known when the job starts

	moment moment // of the rendering: what conditions can know
}

// scalar is a single value of the text with its tokens replaced.
type scalar struct {
	node *source.Node
	// value is the own value of a token that stands alone, else text (or what plain YAML makes of it, see typed).
	value any
	// known is false when the value depends on what only a later rendering knows.
	known bool
	// pure says that value is the own value of a single token.
	pure bool
}

// at returns the place of a node in the source.
func (r *reader) at(line, column int) (int, int) {
	if line == 0 {
		return 0, 0
	}
	return r.src.At(r.shape.Source(line, column))
}

func (r *reader) add(line, column int, code, message, expected string) {
	if r.c.Full() {
		return
	}
	line, column = r.at(line, column)
	r.c.Add(source.Problem{Line: line, Column: column, Code: code, Message: message, Expected: expected})
}

func (r *reader) fault(n *source.Node, code, message, expected string) {
	r.add(n.Line, n.Column, code, message, expected)
}

func (r *reader) warn(line, column int, code, message, expected string) {
	line, column = r.at(line, column)
	r.c.Add(source.Problem{Line: line, Column: column, Code: code, Message: message, Expected: expected, Warning: true})
}

// note is the scope's onRead while a task is read.
func (r *reader) note(name string, val any) {
	if template.IsCounter(name) || name == template.Everything || r.m.Scope.IsItem(name) {
		r.late = true
	}
	if template.IsResultName(name) {
		return
	}
	if r.reads == nil {
		r.reads = map[string]bool{}
	}
	r.reads[name] = true
}

// scalar resolves the tokens of a node that should be a single value.
func (r *reader) scalar(n *source.Node) (scalar, bool) {
	switch {
	case n.Kind == source.Null:
		return scalar{node: n, known: true}, true
	case n.Kind != source.Scalar:
		r.fault(n, source.CodeInvalidType, n.Kind.String()+" stands here", "a single value")
		return scalar{}, false
	case !n.Templated:
		return scalar{node: n, value: n.Text, known: true}, true
	}
	return r.resolve(n)
}

// resolve replaces tokens by values. What is not known stays in the text as the source wrote it.
func (r *reader) resolve(n *source.Node) (scalar, bool) {
	s := scalar{node: n, known: true}
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
			return scalar{}, false
		}
		if _, ok := v.(template.Unknown); ok {
			s.known = false
			b.WriteString(r.shape.SourceOf(r.p, id))
			continue
		}
		r.output += value.Size(v, template.MaxOutput)
		if !r.bounded(n) {
			return scalar{}, false
		}
		if before == "" && rest == "" && len(digits)+len(string(source.TokenClose))+len(source.TokenPrefix) == len(n.Text) && !n.Quoted {
			s.value, s.pure = v, true
			return s, true
		}
		b.WriteString(value.Text(v))
	}
	s.value = b.String()
	return s, true
}

// divides reports whether a value that is printed in a scalar holds the sign at which the field divides its text: then
// the value would decide what the text means.
func (r *reader) divides(n *source.Node, sign string) bool {
	for rest := n.Text; n.Templated; {
		_, after, found := strings.Cut(rest, source.TokenPrefix)
		if !found {
			break
		}
		digits, tail, _ := strings.Cut(after, string(source.TokenClose))
		rest = tail
		if id, err := strconv.Atoi(digits); err == nil {
			if v, err := r.shape.Value(r.m, id); err == nil && strings.Contains(value.Text(v), sign) {
				return true
			}
		}
	}
	return false
}

func (r *reader) bounded(n *source.Node) bool {
	if r.output > template.MaxOutput {
		r.fault(n, source.CodeTemplateLimit, "the values make too much text", fmt.Sprintf("at most %d bytes", template.MaxOutput))
		return false
	}
	return true
}

// token evaluates a token.
func (r *reader) token(id int) (any, error) {
	r.m.Scope.Empty = r.blank && (!r.later || r.settled)
	v, err := r.shape.Value(r.m, id)
	if err == nil {
		if r.m.Scope.Vague() && template.HasUnknown(v) {
			v = template.Unknown{}
		}
		return v, nil
	}
	var f *template.Fault
	if errors.As(err, &f) && f.Code == source.CodeUndefinedVariable && r.later {
		r.unset = append(r.unset, *f)
		r.late = true
		return template.Unknown{}, nil
	}
	template.AddFault(r.c, r.src, err)
	return nil, err
}

// show is the text of a node for a message: as the source wrote it, so that it holds no value of a variable. At the
// upload all values are the definition's own, and what a template gives is told too.
func (r *reader) show(n *source.Node) string {
	written := source.QuoteName(r.written(n))
	if !n.Templated || !r.checking {
		return written
	}
	return written + r.given(n)
}

// given is what the templates of a node give, in brackets; empty when that is not known.
func (r *reader) given(n *source.Node) string {
	quiet := *r
	quiet.c = &source.Collector{}
	s, ok := quiet.resolve(n)
	if !ok || !s.known {
		return ""
	}
	return " (" + source.QuoteName(value.Text(s.value)) + ")"
}

// showName is show for the name of a task. A launch tells what was given too, if it is made of nothing but what the
// definition declares and does not call a secret.
func (r *reader) showName(n *source.Node) string {
	shown := r.show(n)
	if r.checking || !n.Templated || r.def == nil || !r.def.declares(r.shape.Sources(n.Text), r.m.Scope) {
		return shown
	}
	return shown + r.given(n)
}

// written is the text of a node as it stands in the source.
func (r *reader) written(n *source.Node) string {
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
			b.WriteString(r.shape.SourceOf(r.p, id))
		}
		rest = tail
	}
	return b.String()
}

// needs reports a field that must be known now and is not; it returns whether the value can be used.
func (r *reader) needs(s scalar) bool {
	if s.known {
		return true
	}
	r.unknownNow(s.node, r.placing)
	return false
}

// undefined reports the variables that made a value unknown.
func (r *reader) undefined(n *source.Node) {
	if len(r.unset) > 0 {
		template.AddFault(r.c, r.src, &r.unset[len(r.unset)-1])
		return
	}
	r.fault(n, source.CodeUndefinedVariable, "the value is not known when the job starts", "a value that does not depend on a task")
}

// text reads text. known is false when it depends on what is not known.
func (r *reader) text(n *source.Node) (text string, known bool) {
	s, ok := r.scalar(n)
	if !ok {
		return "", false
	}
	switch s.value.(type) {
	case []any, map[string]any:
		r.fault(n, source.CodeInvalidType, "the template's value is a list or a mapping", "text")
		return "", false
	}
	return value.Text(s.value), s.known
}

// literal reads text that must be known before anything is rendered.
func (r *reader) literal(n *source.Node, field string, longest int) string {
	if n.Templated {
		r.fault(n, source.CodeInvalidValue, field+" is a template", "a value written out: it is needed before the job is rendered")
		return ""
	}
	text, _ := r.text(n)
	if len(text) > longest {
		r.fault(n, source.CodeInvalidValue, fmt.Sprintf("%s has %d characters", field, len(text)), fmt.Sprintf("at most %d", longest))
	}
	return text
}

// planned reads text that must be known when the job starts.
func (r *reader) planned(n *source.Node) (string, bool) {
	var s scalar
	var ok bool
	r.final(func() { s, ok = r.scalar(n) })
	if !ok {
		return "", false
	}
	switch s.value.(type) {
	case []any, map[string]any:
		r.fault(n, source.CodeInvalidType, "the template's value is a list or a mapping", "text")
		return "", false
	}
	return value.Text(s.value), r.needs(s)
}

// boolean reads a switch.
func (r *reader) boolean(n *source.Node) bool {
	text, ok := r.planned(n)
	if !ok {
		return false
	}
	return r.switched(n, text)
}

// switched is what a text says as a switch.
func (r *reader) switched(n *source.Node, text string) bool {
	on, ok := switchOf(text)
	if !ok {
		r.fault(n, source.CodeInvalidValue, r.show(n)+" is no switch", "true or false")
	}
	return on
}

func switchOf(text string) (on, ok bool) {
	switch strings.ToLower(text) {
	case "true", "yes", "on":
		return true, true
	case "false", "no", "off", "":
		return false, true
	}
	return false, false
}

// integer reads a whole number within bounds; known is false when there is none.
func (r *reader) integer(n *source.Node, low, high int) (val int, known bool) {
	text, ok := r.planned(n)
	if !ok {
		return low, false
	}
	if r.nothing(n, text) {
		return low, false
	}
	i, err := strconv.Atoi(text)
	if err != nil || i < low || i > high {
		r.fault(n, source.CodeInvalidValue, r.show(n)+" is out of bounds or no whole number", fmt.Sprintf("%d to %d", low, high))
		return low, false
	}
	return i, true
}

// Bounds of what can be asked for: files may be kept longer than anything runs or waits.
const (
	maxDuration = 365 * 24 * time.Hour
	maxExpiry   = maxRetention * 24 * time.Hour
)

// duration reads a duration such as 90s, 10m or 1h30m; 0 needs no unit.
func (r *reader) duration(n *source.Node) time.Duration { return r.durationUpTo(n, maxDuration) }

func (r *reader) durationUpTo(n *source.Node, most time.Duration) time.Duration {
	text, ok := r.planned(n)
	if !ok {
		return 0
	}
	d, err := parseDurationUpTo(text, most)
	if err != nil && !r.nothing(n, text) {
		days := value.Text(int64(most / (24 * time.Hour)))
		r.fault(n, source.CodeInvalidValue, r.show(n)+" is no duration", "a number with a unit up to "+days+" days, such as 90s, 10m or 1h30m")
		return 0
	}
	return d
}

func parseDuration(text string) (time.Duration, error) { return parseDurationUpTo(text, maxDuration) }

// parseDurationUpTo knows days in addition to Go's units.
func parseDurationUpTo(text string, most time.Duration) (time.Duration, error) {
	var days time.Duration
	if head, tail, ok := strings.Cut(text, "d"); ok {
		n, err := strconv.ParseUint(head, 10, 16)
		if err != nil {
			return 0, errors.New("not a duration")
		}
		days, text = time.Duration(n)*24*time.Hour, tail
		if text == "" {
			text = "0"
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || days > most || d > most-days {
		return 0, errors.New("not a duration")
	}
	return d + days, nil
}

// number reads a number that may have a fraction.
func (r *reader) number(n *source.Node, low, high float64) float64 {
	text, ok := r.planned(n)
	if !ok {
		return 0
	}
	f, err := strconv.ParseFloat(text, 64)
	if r.nothing(n, text) {
		return 0
	}
	if err != nil || math.IsNaN(f) || f < low || f > high {
		r.fault(n, source.CodeInvalidValue, r.show(n)+" is out of bounds or no number", fmt.Sprintf("%g to %g", low, high))
		return 0
	}
	return f
}

// item is one text of a list, with its place.
type item struct {
	node  *source.Node
	text  string
	known bool
}

// list reads text or a list of texts. A template's value may be a list of texts too.
func (r *reader) list(n *source.Node) []item {
	if n.Kind == source.Null {
		return nil
	}
	if n.Kind == source.List {
		out := make([]item, 0, len(n.Items))
		for _, child := range n.Items {
			if child.Kind == source.Map {
				r.fault(child, source.CodeInvalidType, "a mapping stands where text is expected", "text; in quotes when it holds a colon and a space")
				continue
			}
			if text, known := r.text(child); text != "" || known {
				out = append(out, item{child, text, known})
			}
		}
		return out
	}
	if n.Kind == source.Map {
		r.fault(n, source.CodeInvalidType, "a mapping stands here", "text or a list of texts")
		return nil
	}
	s, ok := r.scalar(n)
	if !ok {
		return nil
	}
	if values, ok := s.value.([]any); ok {
		out := make([]item, 0, len(values))
		for _, v := range values {
			switch v.(type) {
			case []any, map[string]any:
				r.fault(n, source.CodeInvalidType, "the template's value holds a list or a mapping", "texts")
				return nil
			}
			out = append(out, item{n, value.Text(v), true})
		}
		return out
	}
	if _, ok := s.value.(map[string]any); ok {
		r.fault(n, source.CodeInvalidType, "the template's value is a mapping", "text or a list of texts")
		return nil
	}
	return []item{{n, value.Text(s.value), s.known}}
}

func textsOf(items []item) []string {
	if len(items) == 0 {
		return nil
	}
	out := make([]string, len(items))
	for i, it := range items {
		out[i] = it.text
	}
	return out
}

// variables reads a mapping of names to values, or a list of {name, value}.
func (r *reader) variables(n *source.Node) value.Vars {
	out := value.Vars{}
	switch n.Kind {
	case source.Null:
	case source.Map:
		for i := range n.Pairs {
			p := &n.Pairs[i]
			if key, ok := freeKey(r, p, out); ok {
				out[key] = r.value(p.Value)
			}
		}
	case source.List:
		for _, child := range n.Items {
			r.variable(child, out)
		}
	default:
		s, ok := r.scalar(n)
		m, isMap := s.value.(map[string]any)
		switch {
		case !ok:
		case isMap:
			maps.Copy(out, m)
		case !s.known:
		default:
			r.fault(n, source.CodeInvalidType, "no variables stand here", "a mapping of names to values")
		}
	}
	return out
}

// variable reads one entry of the list form.
func (r *reader) variable(n *source.Node, out value.Vars) {
	name := n.Get("name")
	if n.Kind != source.Map || name == nil {
		r.fault(n, source.CodeInvalidType, "no variable stands here", "a mapping with name and value")
		return
	}
	key := r.literal(name, "the name", value.MaxName)
	if !r.name(key, name.Line, name.Column) {
		return
	}
	if _, dup := out[key]; dup {
		r.fault(name, source.CodeDuplicateKey, "the variable "+source.QuoteName(key)+" is given twice", "each name once")
	}
	out[key] = nil
	for i := range n.Pairs {
		switch p := &n.Pairs[i]; p.Key {
		case "name", "kind":
		case "value":
			out[key] = r.value(p.Value)
		case "secret":
			if r.boolean(p.Value) {
				r.add(p.Line, p.Column, source.CodeUnsupportedField, "secret variables are not supported yet", "")
			}
		default:
			r.add(p.Line, p.Column, source.CodeUnknownField, "the field "+source.QuoteName(p.Key)+" is not known", "name and value")
		}
	}
}

// isToken reports whether a text holds a token.
func isToken(text string) bool { return strings.Contains(text, source.TokenPrefix) }

// freeKey returns the key of a mapping whose keys are names of the user's choice, which a template may write: see
// freeKeys. It returns false when the name cannot be used, or is not known yet.
func freeKey[V any](r *reader, p *source.Pair, out map[string]V) (string, bool) {
	if !isToken(p.Key) {
		return p.Key, r.name(p.Key, p.Line, p.Column) && once(r, p, out, p.Key)
	}
	key, ok := r.resolveKey(p)
	switch {
	case !ok:
		return "", false
	case !value.ValidName(key):
		r.add(p.Line, p.Column, source.CodeInvalidName, "the name "+r.show(keyNode(p))+" cannot be used", expectedVariable)
		return "", false
	case environ.Reserved(key) || environ.Own(key):
		r.add(p.Line, p.Column, source.CodeInvalidName, "the name "+r.show(keyNode(p))+" changes how programs run", "a name written out, or another one")
		return "", false
	}
	return key, once(r, p, out, key)
}

func keyNode(p *source.Pair) *source.Node {
	return &source.Node{Kind: source.Scalar, Text: p.Key, Quoted: true, Templated: true, Line: p.Line, Column: p.Column}
}

// resolveKey replaces the tokens of a key.
func (r *reader) resolveKey(p *source.Pair) (string, bool) {
	s, ok := r.resolve(keyNode(p))
	return value.Text(s.value), ok && s.known
}

// once reports a key that another one has become too.
func once[V any](r *reader, p *source.Pair, out map[string]V, key string) bool {
	_, dup := out[key]
	if dup {
		r.add(p.Line, p.Column, source.CodeDuplicateKey, "the key "+r.show(keyNode(p))+" is that of another entry", "each key once")
	}
	return !dup
}

const expectedVariable = "1 to 100 characters without spaces, = and control characters"

// name checks the name of a variable.
func (r *reader) name(name string, line, column int) bool {
	if !value.ValidName(name) {
		r.add(line, column, source.CodeInvalidName, "the name "+source.QuoteName(name)+" cannot be used", expectedVariable)
		return false
	}
	return true
}

// value reads any value of the text.
func (r *reader) value(n *source.Node) any {
	switch n.Kind {
	case source.Null:
		return nil
	case source.List:
		out := make([]any, len(n.Items))
		for i, child := range n.Items {
			out[i] = r.value(child)
		}
		return out
	case source.Map:
		out := make(map[string]any, len(n.Pairs))
		for i := range n.Pairs {
			p := &n.Pairs[i]
			key := p.Key
			if isToken(key) {
				resolved, ok := r.resolveKey(p)
				if !ok {
					return template.Unknown{}
				}
				key = resolved
				once(r, p, out, key)
			}
			out[key] = r.value(p.Value)
		}
		return out
	case source.Scalar:
	}
	s, ok := r.scalar(n)
	switch {
	case !ok:
		return nil
	case !s.known:
		return template.Unknown{}
	case s.pure || n.Quoted || n.Templated:
		return s.value
	}
	return typed(n.Text)
}

// typed gives plain text the type that YAML gives it. A number that would print in another way than it is written, such
// as 1.10 or 0644, stays text: it is a version or a mode.
func typed(text string) any {
	switch text {
	case "true", "True", "TRUE":
		return true
	case "false", "False", "FALSE":
		return false
	}
	if text == "" || strings.IndexByte("-0123456789", text[0]) < 0 {
		return text
	}
	if i, err := strconv.ParseInt(text, 10, 64); err == nil && strconv.FormatInt(i, 10) == text {
		return i
	}
	if f, err := strconv.ParseFloat(text, 64); err == nil && strconv.FormatFloat(f, 'f', -1, 64) == text {
		return f
	}
	if n, ok := exact.Number(json.Number(text)); ok && value.Text(n) == text {
		return n
	}
	return text
}

// texts reads a mapping of names to texts, or one of the list forms: environment, headers, query.
func (r *reader) texts(n *source.Node) map[string]string {
	out := map[string]string{}
	switch n.Kind {
	case source.Null:
	case source.Map:
		for i := range n.Pairs {
			p := &n.Pairs[i]
			if key, ok := freeKey(r, p, out); ok {
				out[key], _ = r.text(p.Value)
			}
		}
	case source.List:
		for _, child := range n.Items {
			r.textEntry(child, out)
		}
	case source.Scalar:
		for name, v := range r.variables(n) {
			out[name] = value.Text(v)
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// textEntry reads "name=value" or {name, value}.
func (r *reader) textEntry(n *source.Node, out map[string]string) {
	if n.Kind == source.Map {
		values := value.Vars{}
		r.variable(n, values)
		for name, v := range values {
			if _, ok := v.(template.Unknown); !ok {
				out[name] = value.Text(v)
			}
		}
		return
	}
	if n.Kind != source.Scalar {
		r.fault(n, source.CodeInvalidType, "the entry is "+n.Kind.String(), "name=value")
		return
	}
	// The sign is that of the text and not one of a value: it divides before tokens are replaced.
	key, rest, found := strings.Cut(n.Text, "=")
	if !found || !isToken(key) && !value.ValidName(key) {
		r.fault(n, source.CodeInvalidType, "the entry is no name with a value", "name=value")
		return
	}
	p := &source.Pair{Key: key, Line: n.Line, Column: n.Column}
	name, ok := freeKey(r, p, out)
	val, _ := r.text(&source.Node{Kind: source.Scalar, Quoted: true, Templated: isToken(rest), Text: rest, Line: n.Line, Column: n.Column})
	if ok {
		out[name] = val
	}
}
