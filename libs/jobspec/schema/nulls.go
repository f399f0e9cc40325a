package schema

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

// Rule says which keys of a mapping are fields, and what their values are.
type Rule struct {
	Fields map[string]*Rule
	// Items of a list, values of a mapping with keys of the user's own choice; nil: nothing below has fields.
	Items, Values *Rule
}

// JobRule is that of a whole definition.
var JobRule = sync.OnceValue(func() *Rule {
	m := &ruleMaker{Levels: map[string]field.Level{}, rules: map[string]*Rule{}}
	for _, l := range Levels() {
		m.Levels[l.Name] = l
	}
	return m.level(&field.Level{Name: "job", Fields: Job})
})

type ruleMaker struct {
	Levels map[string]field.Level
	rules  map[string]*Rule
}

func (m *ruleMaker) level(l *field.Level) *Rule {
	if known := m.rules[l.Name]; known != nil {
		return known
	}
	r := &Rule{Fields: map[string]*Rule{}}
	m.rules[l.Name] = r
	for _, f := range l.Fields() {
		rule := m.of(f.Form)
		for _, name := range append([]string{f.Name}, f.Aliases...) {
			r.Fields[name] = rule
		}
	}
	return r
}

// of returns the rule of a value; nil when nothing in it has fields.
func (m *ruleMaker) of(f field.Form) *Rule {
	var rules []*Rule
	if name, ok := f["$ref"].(string); ok {
		name = strings.TrimPrefix(name, "#/$defs/")
		if l, known := m.Levels[name]; known {
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
	own := &Rule{}
	if items, ok := f["items"].(field.Form); ok {
		own.Items = m.of(items)
	}
	if values, ok := f["additionalProperties"].(field.Form); ok {
		own.Values = m.of(values)
	}
	if properties, ok := f["properties"].(field.Form); ok {
		own.Fields = map[string]*Rule{}
		for name, of := range properties {
			if of, ok := of.(field.Form); ok {
				own.Fields[name] = m.of(of)
			}
		}
	}
	if own.Fields != nil || own.Items != nil || own.Values != nil {
		rules = append(rules, own)
	}
	return together(rules)
}

func together(rules []*Rule) *Rule {
	rules = slices.DeleteFunc(rules, func(r *Rule) bool { return r == nil })
	switch len(rules) {
	case 0:
		return nil
	case 1:
		return rules[0]
	}
	out := &Rule{}
	for _, r := range rules {
		if r.Fields != nil && out.Fields == nil {
			out.Fields = map[string]*Rule{}
		}
		maps.Copy(out.Fields, r.Fields)
		out.Items = together([]*Rule{out.Items, r.Items})
		out.Values = together([]*Rule{out.Values, r.Values})
	}
	return out
}

// WithoutNulls returns n without the fields that are null. What an alias names may stand elsewhere too, so a node that
// changes is another one.
func WithoutNulls(n *source.Node, rule *Rule) *source.Node {
	if n == nil || rule == nil {
		return n
	}
	switch n.Kind {
	case source.List:
		items := n.Items
		for i, item := range n.Items {
			if next := WithoutNulls(item, rule.Items); next != item {
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
			of, isField := rule.Fields[p.Key]
			if !isField {
				of = rule.Values
			}
			if isField && p.Value.Kind == source.Null {
				changed = true
				continue
			}
			if next := WithoutNulls(p.Value, of); next != p.Value {
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
