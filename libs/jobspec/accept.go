package jobspec

import (
	"fmt"
	"strings"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/source"
)

// What files of the existing system hold, and it ignores or reads in its own way, is accepted here with a warning that
// says how it is read.

// mergedVariables checks variables beside job_variables: both count, and a name may be in one of them only.
func (r *reader) mergedVariables(root *source.Node) {
	first, second := root.Get("job_variables"), root.Get("variables")
	if first == nil || second == nil {
		return
	}
	r.ReadAs(second, "job_variables and variables are both given: they are read as one", "job_variables with all of them")
	given := map[string]*source.Node{}
	eachVariable(first, func(name string, at *source.Node) { given[name] = at })
	eachVariable(second, func(name string, at *source.Node) {
		if before := given[name]; before != nil {
			line, _ := r.At(before.Line, before.Column)
			r.Fault(at, source.CodeDuplicateKey, fmt.Sprintf("the variable %s stands in job_variables in line %d already", source.QuoteName(name), line), "each name once")
		}
	})
}

// eachVariable calls back for the names of variables that are written out, with their places.
func eachVariable(n *source.Node, each func(name string, at *source.Node)) {
	for i := range n.Pairs {
		if p := &n.Pairs[i]; !read.IsToken(p.Key) {
			each(p.Key, &source.Node{Kind: source.Scalar, Text: p.Key, Line: p.Line, Column: p.Column})
		}
	}
	for _, item := range n.Items {
		if name := item.Get("name"); name != nil && !name.Templated {
			each(name.Text, name)
		}
	}
}

// ownDependency leaves a task out of its own dependencies.
func (r *taskFieldReader) ownDependency(it read.Item, name string) bool {
	if !r.t.named || name != r.t.task.Name {
		return false
	}
	r.ReadAs(it.Node, "the task "+r.t.shown+" is among its own dependencies: it is left out there", "tasks that end before it")
	return true
}

// outcome reads a key of on_exit_code. States may be written in any case, as in the existing system.
func (r *taskFieldReader) outcome(key string, at *source.Node) (string, plan.Key, error) {
	parsed, err := plan.ParseKey(key)
	if err == nil {
		return key, parsed, nil
	}
	upper := strings.ToUpper(strings.TrimSpace(key))
	if parsed, upperErr := plan.ParseKey(upper); upperErr == nil && parsed.State != "" {
		r.ReadAs(at, "the outcome "+source.QuoteName(key)+" is read as "+upper, upper)
		return upper, parsed, nil
	}
	return key, parsed, err
}
