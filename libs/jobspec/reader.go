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
)

// reader reads fields of a shape's nodes with the values of one rendering. Its methods report faults and then return
// the zero value.
type reader struct {
	c     *collector
	p     *program // nil when the text has no template
	def   *Definition
	src   *lines
	shape *rendering
	m     *machine
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
	reads map[string]bool // variables
	late  bool            // something is known at the claim only
	unset []fault         // variables that are not set yet
	items []string        // variables of its items, of a fan-out

	needed []needed // what must be known when the job starts

	moment moment // of the rendering: what conditions can know
}

// scalar is a single value of the text with its tokens replaced.
type scalar struct {
	node *node
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
	return r.src.at(r.shape.source(line, column))
}

func (r *reader) add(line, column int, code, message, expected string) {
	if r.c.full() {
		return
	}
	line, column = r.at(line, column)
	r.c.add(Problem{Line: line, Column: column, Code: code, Message: message, Expected: expected})
}

func (r *reader) fault(n *node, code, message, expected string) {
	r.add(n.line, n.column, code, message, expected)
}

func (r *reader) warn(line, column int, code, message, expected string) {
	line, column = r.at(line, column)
	r.c.add(Problem{Line: line, Column: column, Code: code, Message: message, Expected: expected, Warning: true})
}

// note is the scope's onRead while a task is read.
func (r *reader) note(name string, value any) {
	if isCounter(name) || name == everything || r.m.scope.isItem(name) {
		r.late = true
	}
	if isResultName(name) {
		return
	}
	if r.reads == nil {
		r.reads = map[string]bool{}
	}
	r.reads[name] = true
}

// scalar resolves the tokens of a node that should be a single value.
func (r *reader) scalar(n *node) (scalar, bool) {
	switch {
	case n.kind == nodeNull:
		return scalar{node: n, known: true}, true
	case n.kind != nodeScalar:
		r.fault(n, CodeInvalidType, n.kind.String()+" stands here", "a single value")
		return scalar{}, false
	case !n.templated:
		return scalar{node: n, value: n.text, known: true}, true
	}
	return r.resolve(n)
}

// resolve replaces tokens by values. What is not known stays in the text as the source wrote it.
func (r *reader) resolve(n *node) (scalar, bool) {
	s := scalar{node: n, known: true}
	var b strings.Builder
	for rest := n.text; rest != ""; {
		before, after, found := strings.Cut(rest, tokenBytes)
		b.WriteString(before)
		if !found {
			break
		}
		digits, tail, _ := strings.Cut(after, string(tokenClose))
		rest = tail
		id, err := strconv.Atoi(digits)
		if err != nil {
			id = -1
		}
		v, err := r.token(id)
		if err != nil {
			return scalar{}, false
		}
		if _, ok := v.(unknown); ok {
			s.known = false
			b.WriteString(r.shape.sourceOf(r.p, id))
			continue
		}
		r.output += sizeOf(v, maxOutput)
		if !r.bounded(n) {
			return scalar{}, false
		}
		if before == "" && rest == "" && len(digits)+len(string(tokenClose))+len(tokenBytes) == len(n.text) && !n.quoted {
			s.value, s.pure = v, true
			return s, true
		}
		b.WriteString(textOf(v))
	}
	s.value = b.String()
	return s, true
}

// divides reports whether a value that is printed in a scalar holds the sign at which the field divides its text: then
// the value would decide what the text means.
func (r *reader) divides(n *node, sign string) bool {
	for rest := n.text; n.templated; {
		_, after, found := strings.Cut(rest, tokenBytes)
		if !found {
			break
		}
		digits, tail, _ := strings.Cut(after, string(tokenClose))
		rest = tail
		if id, err := strconv.Atoi(digits); err == nil {
			if v, err := r.shape.value(r.m, id); err == nil && strings.Contains(textOf(v), sign) {
				return true
			}
		}
	}
	return false
}

func (r *reader) bounded(n *node) bool {
	if r.output > maxOutput {
		r.fault(n, CodeTemplateLimit, "the values make too much text", fmt.Sprintf("at most %d bytes", maxOutput))
		return false
	}
	return true
}

// token evaluates a token.
func (r *reader) token(id int) (any, error) {
	r.m.scope.empty = r.blank && (!r.later || r.settled)
	v, err := r.shape.value(r.m, id)
	if err == nil {
		if r.m.scope.vague() && hasUnknown(v) {
			v = unknown{}
		}
		return v, nil
	}
	var f *fault
	if errors.As(err, &f) && f.code == CodeUndefinedVariable && r.later {
		r.unset = append(r.unset, *f)
		r.late = true
		return unknown{}, nil
	}
	addFault(r.c, r.src, err)
	return nil, err
}

// show is the text of a node for a message: as the source wrote it, so that it holds no value of a variable. At the
// upload all values are the definition's own, and what a template gives is told too.
func (r *reader) show(n *node) string {
	written := quoteName(r.written(n))
	if !n.templated || !r.checking {
		return written
	}
	return written + r.given(n)
}

// given is what the templates of a node give, in brackets; empty when that is not known.
func (r *reader) given(n *node) string {
	quiet := *r
	quiet.c = &collector{}
	s, ok := quiet.resolve(n)
	if !ok || !s.known {
		return ""
	}
	return " (" + quoteName(textOf(s.value)) + ")"
}

// showName is show for the name of a task. A launch tells what was given too, if it is made of nothing but what the
// definition declares and does not call a secret.
func (r *reader) showName(n *node) string {
	shown := r.show(n)
	if r.checking || !n.templated || r.def == nil || !r.def.declares(r.shape.sources(n.text), r.m.scope) {
		return shown
	}
	return shown + r.given(n)
}

// written is the text of a node as it stands in the source.
func (r *reader) written(n *node) string {
	if !n.templated {
		return n.text
	}
	var b strings.Builder
	for rest := n.text; rest != ""; {
		before, after, found := strings.Cut(rest, tokenBytes)
		b.WriteString(before)
		if !found {
			break
		}
		digits, tail, _ := strings.Cut(after, string(tokenClose))
		id, err := strconv.Atoi(digits)
		if err == nil {
			b.WriteString(r.shape.sourceOf(r.p, id))
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
func (r *reader) undefined(n *node) {
	if len(r.unset) > 0 {
		addFault(r.c, r.src, &r.unset[len(r.unset)-1])
		return
	}
	r.fault(n, CodeUndefinedVariable, "the value is not known when the job starts", "a value that does not depend on a task")
}

// text reads text. known is false when it depends on what is not known.
func (r *reader) text(n *node) (text string, known bool) {
	s, ok := r.scalar(n)
	if !ok {
		return "", false
	}
	switch s.value.(type) {
	case []any, map[string]any:
		r.fault(n, CodeInvalidType, "the template's value is a list or a mapping", "text")
		return "", false
	}
	return textOf(s.value), s.known
}

// literal reads text that must be known before anything is rendered.
func (r *reader) literal(n *node, field string, longest int) string {
	if n.templated {
		r.fault(n, CodeInvalidValue, field+" is a template", "a value written out: it is needed before the job is rendered")
		return ""
	}
	text, _ := r.text(n)
	if len(text) > longest {
		r.fault(n, CodeInvalidValue, fmt.Sprintf("%s has %d characters", field, len(text)), fmt.Sprintf("at most %d", longest))
	}
	return text
}

// planned reads text that must be known when the job starts.
func (r *reader) planned(n *node) (string, bool) {
	var s scalar
	var ok bool
	r.final(func() { s, ok = r.scalar(n) })
	if !ok {
		return "", false
	}
	switch s.value.(type) {
	case []any, map[string]any:
		r.fault(n, CodeInvalidType, "the template's value is a list or a mapping", "text")
		return "", false
	}
	return textOf(s.value), r.needs(s)
}

// boolean reads a switch.
func (r *reader) boolean(n *node) bool {
	text, ok := r.planned(n)
	if !ok {
		return false
	}
	switch strings.ToLower(text) {
	case "true", "yes", "on":
		return true
	case "false", "no", "off", "":
		return false
	}
	r.fault(n, CodeInvalidValue, r.show(n)+" is no switch", "true or false")
	return false
}

// integer reads a whole number within bounds; known is false when there is none.
func (r *reader) integer(n *node, low, high int) (value int, known bool) {
	text, ok := r.planned(n)
	if !ok {
		return low, false
	}
	if r.nothing(n, text) {
		return low, false
	}
	i, err := strconv.Atoi(text)
	if err != nil || i < low || i > high {
		r.fault(n, CodeInvalidValue, r.show(n)+" is out of bounds or no whole number", fmt.Sprintf("%d to %d", low, high))
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
func (r *reader) duration(n *node) time.Duration { return r.durationUpTo(n, maxDuration) }

func (r *reader) durationUpTo(n *node, most time.Duration) time.Duration {
	text, ok := r.planned(n)
	if !ok {
		return 0
	}
	d, err := parseDurationUpTo(text, most)
	if err != nil && !r.nothing(n, text) {
		days := textOf(int64(most / (24 * time.Hour)))
		r.fault(n, CodeInvalidValue, r.show(n)+" is no duration", "a number with a unit up to "+days+" days, such as 90s, 10m or 1h30m")
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
func (r *reader) number(n *node, low, high float64) float64 {
	text, ok := r.planned(n)
	if !ok {
		return 0
	}
	f, err := strconv.ParseFloat(text, 64)
	if r.nothing(n, text) {
		return 0
	}
	if err != nil || math.IsNaN(f) || f < low || f > high {
		r.fault(n, CodeInvalidValue, r.show(n)+" is out of bounds or no number", fmt.Sprintf("%g to %g", low, high))
		return 0
	}
	return f
}

// item is one text of a list, with its place.
type item struct {
	node  *node
	text  string
	known bool
}

// list reads text or a list of texts. A template's value may be a list of texts too.
func (r *reader) list(n *node) []item {
	if n.kind == nodeNull {
		return nil
	}
	if n.kind == nodeList {
		out := make([]item, 0, len(n.items))
		for _, child := range n.items {
			if child.kind == nodeMap {
				r.fault(child, CodeInvalidType, "a mapping stands where text is expected", "text; in quotes when it holds a colon and a space")
				continue
			}
			if text, known := r.text(child); text != "" || known {
				out = append(out, item{child, text, known})
			}
		}
		return out
	}
	if n.kind == nodeMap {
		r.fault(n, CodeInvalidType, "a mapping stands here", "text or a list of texts")
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
				r.fault(n, CodeInvalidType, "the template's value holds a list or a mapping", "texts")
				return nil
			}
			out = append(out, item{n, textOf(v), true})
		}
		return out
	}
	if _, ok := s.value.(map[string]any); ok {
		r.fault(n, CodeInvalidType, "the template's value is a mapping", "text or a list of texts")
		return nil
	}
	return []item{{n, textOf(s.value), s.known}}
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
func (r *reader) variables(n *node) Vars {
	out := Vars{}
	switch n.kind {
	case nodeNull:
	case nodeMap:
		for i := range n.pairs {
			p := &n.pairs[i]
			if key, ok := freeKey(r, p, out); ok {
				out[key] = r.value(p.value)
			}
		}
	case nodeList:
		for _, child := range n.items {
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
			r.fault(n, CodeInvalidType, "no variables stand here", "a mapping of names to values")
		}
	}
	return out
}

// variable reads one entry of the list form.
func (r *reader) variable(n *node, out Vars) {
	name := n.get("name")
	if n.kind != nodeMap || name == nil {
		r.fault(n, CodeInvalidType, "no variable stands here", "a mapping with name and value")
		return
	}
	key := r.literal(name, "the name", maxName)
	if !r.name(key, name.line, name.column) {
		return
	}
	if _, dup := out[key]; dup {
		r.fault(name, CodeDuplicateKey, "the variable "+quoteName(key)+" is given twice", "each name once")
	}
	out[key] = nil
	for i := range n.pairs {
		switch p := &n.pairs[i]; p.key {
		case "name", "kind":
		case "value":
			out[key] = r.value(p.value)
		case "secret":
			if r.boolean(p.value) {
				r.add(p.line, p.column, CodeUnsupportedField, "secret variables are not supported yet", "")
			}
		default:
			r.add(p.line, p.column, CodeUnknownField, "the field "+quoteName(p.key)+" is not known", "name and value")
		}
	}
}

// isToken reports whether a text holds a token.
func isToken(text string) bool { return strings.Contains(text, tokenBytes) }

// freeKey returns the key of a mapping whose keys are names of the user's choice, which a template may write: see
// freeKeys. It returns false when the name cannot be used, or is not known yet.
func freeKey[V any](r *reader, p *pair, out map[string]V) (string, bool) {
	if !isToken(p.key) {
		return p.key, r.name(p.key, p.line, p.column) && once(r, p, out, p.key)
	}
	key, ok := r.resolveKey(p)
	switch {
	case !ok:
		return "", false
	case !validName(key):
		r.add(p.line, p.column, CodeInvalidName, "the name "+r.show(keyNode(p))+" cannot be used", expectedVariable)
		return "", false
	case isEnvReserved(key) || isEnvOwn(key):
		r.add(p.line, p.column, CodeInvalidName, "the name "+r.show(keyNode(p))+" changes how programs run", "a name written out, or another one")
		return "", false
	}
	return key, once(r, p, out, key)
}

func keyNode(p *pair) *node {
	return &node{kind: nodeScalar, text: p.key, quoted: true, templated: true, line: p.line, column: p.column}
}

// resolveKey replaces the tokens of a key.
func (r *reader) resolveKey(p *pair) (string, bool) {
	s, ok := r.resolve(keyNode(p))
	return textOf(s.value), ok && s.known
}

// once reports a key that another one has become too.
func once[V any](r *reader, p *pair, out map[string]V, key string) bool {
	_, dup := out[key]
	if dup {
		r.add(p.line, p.column, CodeDuplicateKey, "the key "+r.show(keyNode(p))+" is that of another entry", "each key once")
	}
	return !dup
}

const expectedVariable = "1 to 100 characters without spaces, = and control characters"

// name checks the name of a variable.
func (r *reader) name(name string, line, column int) bool {
	if !validName(name) {
		r.add(line, column, CodeInvalidName, "the name "+quoteName(name)+" cannot be used", expectedVariable)
		return false
	}
	return true
}

// value reads any value of the text.
func (r *reader) value(n *node) any {
	switch n.kind {
	case nodeNull:
		return nil
	case nodeList:
		out := make([]any, len(n.items))
		for i, child := range n.items {
			out[i] = r.value(child)
		}
		return out
	case nodeMap:
		out := make(map[string]any, len(n.pairs))
		for i := range n.pairs {
			p := &n.pairs[i]
			key := p.key
			if isToken(key) {
				resolved, ok := r.resolveKey(p)
				if !ok {
					return unknown{}
				}
				key = resolved
				once(r, p, out, key)
			}
			out[key] = r.value(p.value)
		}
		return out
	case nodeScalar:
	}
	s, ok := r.scalar(n)
	switch {
	case !ok:
		return nil
	case !s.known:
		return unknown{}
	case s.pure || n.quoted || n.templated:
		return s.value
	}
	return typed(n.text)
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
	if n, ok := exact.Number(json.Number(text)); ok && textOf(n) == text {
		return n
	}
	return text
}

// texts reads a mapping of names to texts, or one of the list forms: environment, headers, query.
func (r *reader) texts(n *node) map[string]string {
	out := map[string]string{}
	switch n.kind {
	case nodeNull:
	case nodeMap:
		for i := range n.pairs {
			p := &n.pairs[i]
			if key, ok := freeKey(r, p, out); ok {
				out[key], _ = r.text(p.value)
			}
		}
	case nodeList:
		for _, child := range n.items {
			r.textEntry(child, out)
		}
	case nodeScalar:
		for name, v := range r.variables(n) {
			out[name] = textOf(v)
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// textEntry reads "name=value" or {name, value}.
func (r *reader) textEntry(n *node, out map[string]string) {
	if n.kind == nodeMap {
		values := Vars{}
		r.variable(n, values)
		for name, v := range values {
			if _, ok := v.(unknown); !ok {
				out[name] = textOf(v)
			}
		}
		return
	}
	if n.kind != nodeScalar {
		r.fault(n, CodeInvalidType, "the entry is "+n.kind.String(), "name=value")
		return
	}
	// The sign is that of the text and not one of a value: it divides before tokens are replaced.
	key, rest, found := strings.Cut(n.text, "=")
	if !found || !isToken(key) && !validName(key) {
		r.fault(n, CodeInvalidType, "the entry is no name with a value", "name=value")
		return
	}
	p := &pair{key: key, line: n.line, column: n.column}
	name, ok := freeKey(r, p, out)
	value, _ := r.text(&node{kind: nodeScalar, quoted: true, templated: isToken(rest), text: rest, line: n.line, column: n.column})
	if ok {
		out[name] = value
	}
}
