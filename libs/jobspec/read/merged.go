package read

import (
	"fmt"

	"github.com/formicary/formicary/libs/jobspec/source"
)

// MergedVariables checks variables beside job_variables: both count, and a name may be in one of them only.
func (r *Reader) MergedVariables(root *source.Node) {
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
		if p := &n.Pairs[i]; !IsToken(p.Key) {
			each(p.Key, &source.Node{Kind: source.Scalar, Text: p.Key, Line: p.Line, Column: p.Column})
		}
	}
	for _, item := range n.Items {
		if name := item.Get("name"); name != nil && !name.Templated {
			each(name.Text, name)
		}
	}
}
