package jobspec

import (
	"slices"

	"github.com/formicary/formicary/libs/jobspec/environ"
	"github.com/formicary/formicary/libs/jobspec/source"
)

// findExports lists the reserved names that the job declares as a variable or a parameter, in order.
func findExports(root *source.Node) (exports []string) {
	add := func(name string) {
		if environ.Reserved(name) {
			exports = append(exports, name)
		}
	}
	for _, field := range [...]string{"configs", "variables", "job_variables", "params"} {
		n := root.Get(field)
		if n == nil {
			continue
		}
		for i := range n.Pairs {
			add(n.Pairs[i].Key)
		}
		for _, item := range n.Items {
			if name := item.Get("name"); name != nil && !name.Templated {
				add(name.Text)
			}
		}
	}
	slices.Sort(exports)
	return slices.Compact(exports)
}

// exports lists the reserved names that the job or the task declares, in order: by its own variables and as variables of
// its items.
func (r *reader) exports(own map[string]any, items []string) []string {
	names := slices.Clip(r.rendering.exports) // shared by all tasks: what is appended goes elsewhere
	for name := range own {
		if environ.Reserved(name) {
			names = append(names, name)
		}
	}
	for _, name := range items {
		if environ.Reserved(name) {
			names = append(names, name)
		}
	}
	if len(names) == len(r.rendering.exports) {
		return r.rendering.exports
	}
	slices.Sort(names)
	return slices.Compact(names)
}
