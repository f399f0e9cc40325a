package read

import (
	"fmt"
	"slices"

	"github.com/formicary/formicary/libs/jobspec/source"
)

// Entries returns the items of a list; a single mapping or value counts as a list of one.
func (r *Reader) Entries(n *source.Node, what string) []*source.Node {
	switch n.Kind {
	case source.Null:
		return nil
	case source.List:
		if len(n.Items) > maxPaths {
			r.Fault(n, source.CodeInvalidValue, "the list is too long", fmt.Sprintf("at most %d", maxPaths))
			return nil
		}
		out := make([]*source.Node, 0, len(n.Items))
		for _, item := range n.Items {
			if item.Kind == source.Null || item.Kind == source.List {
				r.Fault(item, source.CodeInvalidType, what+" is "+item.Kind.String(), "a mapping or text")
				continue
			}
			out = append(out, item)
		}
		return out
	default:
		return []*source.Node{n}
	}
}

// Mappings is entries for lists that hold mappings only.
func (r *Reader) Mappings(n *source.Node, what string) []*source.Node {
	items := r.Entries(n, what)
	return slices.DeleteFunc(items, func(item *source.Node) bool {
		if item.Kind != source.Map {
			r.Fault(item, source.CodeInvalidType, what+" is "+item.Kind.String(), "a mapping")
			return true
		}
		return false
	})
}

// Required reports a key that a mapping has to hold.
func (r *Reader) Required(n *source.Node, key, expected string) {
	if n.Kind != source.Map {
		return
	}
	if v := n.Get(key); v == nil || v.Kind == source.Null {
		r.Fault(n, source.CodeMissingField, "the field "+key+" is missing", expected)
	}
}

// Mapping calls back for each key of a mapping.
func (r *Reader) Mapping(n *source.Node, field func(p *source.Pair), at *source.Pair) {
	switch n.Kind {
	case source.Null:
	case source.Map:
		for i := range n.Pairs {
			field(&n.Pairs[i])
		}
	default:
		r.Fault(n, source.CodeInvalidType, at.Key+" is "+n.Kind.String(), "a mapping")
	}
}
