package schema

import (
	"slices"
	"strings"
	"sync"

	"github.com/formicary/formicary/libs/jobspec/field"
	"github.com/formicary/formicary/libs/jobspec/option"
	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// Whether the engine acts on a field is in the tables of the fields. From there come the warnings INACTIVE_FIELD, what the
// schema says and the list in docs/language.md; a test demands of every other field a test that fails when the engine
// ignores it.

// activity is what the tables say of a field, and the kinds of mappings that it can hold.
type activity struct {
	field.Field
	Levels []string
}

// activities are the tables by level and name, made once.
var activities = sync.OnceValue(func() map[string]map[string]activity {
	out := map[string]map[string]activity{}
	for _, l := range append([]field.Level{{Name: "job", Fields: Job}}, Levels()...) {
		out[l.Name] = map[string]activity{}
		for _, f := range l.Fields() {
			a := activity{Field: f}
			for _, name := range refsOf(f.Form) {
				if name != "task" { // each task is looked at by itself, when its method is known
					a.Levels = append(a.Levels, name)
				}
			}
			out[l.Name][f.Name] = a
		}
	}
	return out
})

// refsOf finds the levels that a form refers to.
func refsOf(v any) []string {
	var out []string
	switch v := v.(type) {
	case field.Form:
		for _, key := range value.SortedKeys(v) {
			if text, ok := v[key].(string); ok && key == "$ref" {
				out = append(out, strings.TrimPrefix(text, "#/$defs/"))
			}
			out = append(out, refsOf(v[key])...)
		}
	case []any:
		for _, item := range v {
			out = append(out, refsOf(item)...)
		}
	}
	return out
}

// Check warns of fields that nothing acts on. method is that of the task; empty: it is not known, or there is none.
func Check(r *read.Reader, n *source.Node, level, method string) {
	if n.Kind == source.List {
		for _, item := range n.Items {
			Check(r, item, level, method)
		}
		return
	}
	table := activities()[level]
	for i := range n.Pairs {
		p := &n.Pairs[i]
		a, known := table[field.Misspelling(level, p.Key)]
		elsewhere := method != "" && len(a.Methods) > 0 && !slices.Contains(a.Methods, method)
		switch {
		case !known || a.means(p.Value):
		case a.Inactive:
			r.Warn(p.Line, p.Column, source.CodeInactiveField, "the field "+p.Key+" is stored, but this version does not act on it", "")
		case elsewhere:
			r.Warn(p.Line, p.Column, source.CodeInactiveField, "the field "+p.Key+" is stored, but the method "+method+" does not act on it", "the method "+strings.Join(a.Methods, " or "))
		default:
			for _, next := range a.Levels {
				Check(r, p.Value, next, method)
			}
			if p.Key == "container" && p.Value.Kind == source.Scalar && method != "" && !slices.Contains(option.PodMethods(), method) {
				r.Warn(p.Line, p.Column, source.CodeInactiveField, "the image of container is stored, but the method "+method+" does not act on it", "the method "+strings.Join(option.PodMethods(), " or "))
			}
		}
	}
}

// means says that a value asks for nothing more than there is without it.
func (a *activity) means(n *source.Node) bool {
	if n.Kind == source.Null {
		return true
	}
	if n.Kind != source.Scalar || n.Templated {
		return false
	}
	switch strings.ToLower(n.Text) {
	case "false", "no", "off":
		return true
	case a.Idle:
		return a.Idle != ""
	}
	return false
}
