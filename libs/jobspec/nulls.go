package jobspec

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/formicary/formicary/libs/jobspec/field"
	"github.com/formicary/formicary/libs/jobspec/source"
)

// A field of the language that is null is a field that is not there. What has keys of the user's own choice (variables,
// environment, the routes of on_exit_code …) keeps its nulls, and a field that is not known is a fault with any value.
//
// The nulls are taken out before anything is read, by the tables of fields, so that no reader has to think of them.

// shapeRule says which keys of a mapping are fields, and what their values are.
type shapeRule struct {
	fields map[string]*shapeRule
	// items of a list, values of a mapping with keys of the user's own choice; nil: nothing below has fields.
	items, values *shapeRule
}

// jobRule is that of a whole definition.
var jobRule = sync.OnceValue(func() *shapeRule {
	m := &ruleMaker{levels: map[string]field.Level{}, rules: map[string]*shapeRule{}}
	for _, l := range levels() {
		m.levels[l.Name] = l
	}
	return m.level(&field.Level{Name: "job", Fields: jobTable})
})

type ruleMaker struct {
	levels map[string]field.Level
	rules  map[string]*shapeRule
}

func (m *ruleMaker) level(l *field.Level) *shapeRule {
	if known := m.rules[l.Name]; known != nil {
		return known
	}
	r := &shapeRule{fields: map[string]*shapeRule{}}
	m.rules[l.Name] = r
	for _, f := range l.Fields() {
		rule := m.of(f.Form)
		for _, name := range append([]string{f.Name}, f.Aliases...) {
			r.fields[name] = rule
		}
	}
	return r
}

// of returns the rule of a value; nil when nothing in it has fields.
func (m *ruleMaker) of(f field.Form) *shapeRule {
	var rules []*shapeRule
	if name, ok := f["$ref"].(string); ok {
		name = strings.TrimPrefix(name, "#/$defs/")
		if l, known := m.levels[name]; known {
			rules = append(rules, m.level(&l))
		} else if name == "matrix" {
			rules = append(rules, m.of(matrixForm()))
		}
	}
	if options, ok := f["anyOf"].([]any); ok {
		for _, option := range options {
			if of, ok := option.(field.Form); ok {
				rules = append(rules, m.of(of))
			}
		}
	}
	own := &shapeRule{}
	if items, ok := f["items"].(field.Form); ok {
		own.items = m.of(items)
	}
	if values, ok := f["additionalProperties"].(field.Form); ok {
		own.values = m.of(values)
	}
	if properties, ok := f["properties"].(field.Form); ok {
		own.fields = map[string]*shapeRule{}
		for name, of := range properties {
			if of, ok := of.(field.Form); ok {
				own.fields[name] = m.of(of)
			}
		}
	}
	if own.fields != nil || own.items != nil || own.values != nil {
		rules = append(rules, own)
	}
	return together(rules)
}

func together(rules []*shapeRule) *shapeRule {
	rules = slices.DeleteFunc(rules, func(r *shapeRule) bool { return r == nil })
	switch len(rules) {
	case 0:
		return nil
	case 1:
		return rules[0]
	}
	out := &shapeRule{}
	for _, r := range rules {
		if r.fields != nil && out.fields == nil {
			out.fields = map[string]*shapeRule{}
		}
		maps.Copy(out.fields, r.fields)
		out.items = together([]*shapeRule{out.items, r.items})
		out.values = together([]*shapeRule{out.values, r.values})
	}
	return out
}

// withoutNulls returns n without the fields that are null. What an alias names may stand elsewhere too, so a node that
// changes is another one.
func withoutNulls(n *source.Node, rule *shapeRule) *source.Node {
	if n == nil || rule == nil {
		return n
	}
	switch n.Kind {
	case source.List:
		items := n.Items
		for i, item := range n.Items {
			if next := withoutNulls(item, rule.items); next != item {
				if &items[0] == &n.Items[0] {
					items = slices.Clone(items)
				}
				items[i] = next
			}
		}
		if len(items) > 0 && &items[0] != &n.Items[0] {
			other := *n
			other.Items = items
			return &other
		}
	case source.Map:
		pairs, changed := make([]source.Pair, 0, len(n.Pairs)), false
		for _, p := range n.Pairs {
			of, isField := rule.fields[p.Key]
			if !isField {
				of = rule.values
			}
			if isField && p.Value.Kind == source.Null {
				changed = true
				continue
			}
			if next := withoutNulls(p.Value, of); next != p.Value {
				p.Value, changed = next, true
			}
			pairs = append(pairs, p)
		}
		if changed {
			other := *n
			other.Pairs = pairs
			return &other
		}
	case source.Null, source.Scalar:
	}
	return n
}
