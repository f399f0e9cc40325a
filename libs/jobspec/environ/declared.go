package environ

import (
	"slices"

	"github.com/formicary/formicary/libs/jobspec/source"
)

// Declared lists the reserved names that a job declares as a variable or a parameter, in order.
func Declared(root *source.Node) (names []string) {
	add := func(name string) {
		if Reserved(name) {
			names = append(names, name)
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
	slices.Sort(names)
	return slices.Compact(names)
}

// WithTask lists the reserved names that the job or a task declares, in order: the task by its own variables and as variables
// of its items.
func WithTask(job []string, own map[string]any, items []string) []string {
	names := slices.Clip(job) // shared by all tasks: what is appended goes elsewhere
	for name := range own {
		if Reserved(name) {
			names = append(names, name)
		}
	}
	for _, name := range items {
		if Reserved(name) {
			names = append(names, name)
		}
	}
	if len(names) == len(job) {
		return job
	}
	slices.Sort(names)
	return slices.Compact(names)
}
