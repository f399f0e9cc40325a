package read

import (
	"encoding/json"
	"maps"
	"strconv"
	"strings"

	"github.com/formicary/formicary/libs/exact"
	"github.com/formicary/formicary/libs/jobspec/environ"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// Variables reads a mapping of names to values, or a list of {name, value}.
func (r *Reader) Variables(n *source.Node) value.Vars {
	out := value.Vars{}
	switch n.Kind {
	case source.Null:
	case source.Map:
		for i := range n.Pairs {
			p := &n.Pairs[i]
			if key, ok := freeKey(r, p, out); ok {
				out[key] = r.Value(p.Value)
			}
		}
	case source.List:
		for _, child := range n.Items {
			r.variable(child, out)
		}
	default:
		s, ok := r.Scalar(n)
		m, isMap := s.Value.(map[string]any)
		switch {
		case !ok:
		case isMap:
			maps.Copy(out, m)
		case !s.Known:
		default:
			r.Fault(n, source.CodeInvalidType, "no variables stand here", "a mapping of names to values")
		}
	}
	return out
}

// variable reads one entry of the list form.
func (r *Reader) variable(n *source.Node, out value.Vars) {
	name := n.Get("name")
	if n.Kind != source.Map || name == nil {
		r.Fault(n, source.CodeInvalidType, "no variable stands here", "a mapping with name and value")
		return
	}
	key := r.Literal(name, "the name", value.MaxName)
	if !r.Name(key, name.Line, name.Column) {
		return
	}
	if _, dup := out[key]; dup {
		r.Fault(name, source.CodeDuplicateKey, "the variable "+source.QuoteName(key)+" is given twice", "each name once")
	}
	out[key] = nil
	for i := range n.Pairs {
		switch p := &n.Pairs[i]; p.Key {
		case "name", "kind":
		case "value":
			out[key] = r.Value(p.Value)
		case "secret":
			if r.Flag(p.Value) {
				r.Add(p.Line, p.Column, source.CodeUnsupportedField, "secret variables are not supported yet", "")
			}
		default:
			r.Add(p.Line, p.Column, source.CodeUnknownField, "the field "+source.QuoteName(p.Key)+" is not known", "name and value")
		}
	}
}

// IsToken reports whether a text holds a token.
func IsToken(text string) bool { return strings.Contains(text, source.TokenPrefix) }

// freeKey returns the key of a mapping whose keys are names of the user's choice, which a template may write: see
// freeKeys. It returns false when the name cannot be used, or is not known yet.
func freeKey[V any](r *Reader, p *source.Pair, out map[string]V) (string, bool) {
	if !IsToken(p.Key) {
		return p.Key, r.Name(p.Key, p.Line, p.Column) && once(r, p, out, p.Key)
	}
	key, ok := r.resolveKey(p)
	switch {
	case !ok:
		return "", false
	case !value.ValidName(key):
		r.Add(p.Line, p.Column, source.CodeInvalidName, "the name "+r.Show(keyNode(p))+" cannot be used", ExpectedVariable)
		return "", false
	case environ.Reserved(key) || environ.Own(key):
		r.Add(p.Line, p.Column, source.CodeInvalidName, "the name "+r.Show(keyNode(p))+" changes how programs run", "a name written out, or another one")
		return "", false
	}
	return key, once(r, p, out, key)
}

func keyNode(p *source.Pair) *source.Node {
	return &source.Node{Kind: source.Scalar, Text: p.Key, Quoted: true, Templated: true, Line: p.Line, Column: p.Column}
}

// resolveKey replaces the tokens of a key.
func (r *Reader) resolveKey(p *source.Pair) (string, bool) {
	s, ok := r.Resolve(keyNode(p))
	return value.Text(s.Value), ok && s.Known
}

// once reports a key that another one has become too.
func once[V any](r *Reader, p *source.Pair, out map[string]V, key string) bool {
	_, dup := out[key]
	if dup {
		r.Add(p.Line, p.Column, source.CodeDuplicateKey, "the key "+r.Show(keyNode(p))+" is that of another entry", "each key once")
	}
	return !dup
}

// ExpectedVariable says what the name of a variable can be.
const ExpectedVariable = "1 to 100 characters without spaces, = and control characters"

// Name checks the name of a variable.
func (r *Reader) Name(name string, line, column int) bool {
	if !value.ValidName(name) {
		r.Add(line, column, source.CodeInvalidName, "the name "+source.QuoteName(name)+" cannot be used", ExpectedVariable)
		return false
	}
	return true
}

// Value reads any value of the text.
func (r *Reader) Value(n *source.Node) any {
	switch n.Kind {
	case source.Null:
		return nil
	case source.List:
		out := make([]any, len(n.Items))
		for i, child := range n.Items {
			out[i] = r.Value(child)
		}
		return out
	case source.Map:
		out := make(map[string]any, len(n.Pairs))
		for i := range n.Pairs {
			p := &n.Pairs[i]
			key := p.Key
			if IsToken(key) {
				resolved, ok := r.resolveKey(p)
				if !ok {
					return template.Unknown{}
				}
				key = resolved
				once(r, p, out, key)
			}
			out[key] = r.Value(p.Value)
		}
		return out
	case source.Scalar:
	}
	s, ok := r.Scalar(n)
	switch {
	case !ok:
		return nil
	case !s.Known:
		return template.Unknown{}
	case s.pure || n.Quoted || n.Templated:
		return s.Value
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

// Texts reads a mapping of names to texts, or one of the list forms: environment, headers, query.
func (r *Reader) Texts(n *source.Node) map[string]string {
	out := map[string]string{}
	switch n.Kind {
	case source.Null:
	case source.Map:
		for i := range n.Pairs {
			p := &n.Pairs[i]
			if key, ok := freeKey(r, p, out); ok {
				out[key], _ = r.Text(p.Value)
			}
		}
	case source.List:
		for _, child := range n.Items {
			r.textEntry(child, out)
		}
	case source.Scalar:
		for name, v := range r.Variables(n) {
			out[name] = value.Text(v)
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// textEntry reads "name=value" or {name, value}.
func (r *Reader) textEntry(n *source.Node, out map[string]string) {
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
		r.Fault(n, source.CodeInvalidType, "the entry is "+n.Kind.String(), "name=value")
		return
	}
	// The sign is that of the text and not one of a value: it divides before tokens are replaced.
	key, rest, found := strings.Cut(n.Text, "=")
	if !found || !IsToken(key) && !value.ValidName(key) {
		r.Fault(n, source.CodeInvalidType, "the entry is no name with a value", "name=value")
		return
	}
	p := &source.Pair{Key: key, Line: n.Line, Column: n.Column}
	name, ok := freeKey(r, p, out)
	val, _ := r.Text(&source.Node{Kind: source.Scalar, Quoted: true, Templated: IsToken(rest), Text: rest, Line: n.Line, Column: n.Column})
	if ok {
		out[name] = val
	}
}
