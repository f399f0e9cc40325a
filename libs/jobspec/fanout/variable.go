package fanout

import (
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// defaultMatrixVar holds the combination when nothing else is said.
const defaultMatrixVar = "matrix"

// Variables lists the variables of the items of a task: they are not known before an item is rendered, whatever else has
// their names. It is nil for a task without fan-out.
func Variables(n *source.Node) []string {
	fan, matrix := n.Get("fan_out"), n.Get("matrix")
	if (fan == nil || fan.Kind == source.Null) && (matrix == nil || matrix.Kind == source.Null) {
		return nil
	}
	names := []string{ItemVar(n), template.VarFanOutIndex}
	if matrix == nil || matrix.Kind != source.Map {
		return names
	}
	for i := range matrix.Pairs {
		p := &matrix.Pairs[i]
		switch p.Key {
		case keyInclude:
			for _, entry := range p.Value.Items {
				for k := range entry.Pairs {
					names = append(names, entry.Pairs[k].Key)
				}
			}
		case keyExclude:
		default:
			names = append(names, p.Key)
		}
	}
	return names
}

// ItemVar is the variable that holds the whole item.
func ItemVar(n *source.Node) string {
	if at := n.Get("fan_out").Get("item_var"); at != nil && at.Kind == source.Scalar && !at.Templated && value.ValidName(at.Text) {
		return at.Text
	}
	if at := n.Get("matrix"); at != nil && at.Kind != source.Null {
		return defaultMatrixVar
	}
	return plan.DefaultItemVar
}

// Hide makes the variables of the items unknown while the section of the group is read.
func Hide(r *read.Reader, names []string) {
	if len(names) == 0 || r.Machine.Scope.Item != nil {
		return // none, or an item is being rendered
	}
	r.Machine.Scope.Item = make(value.Vars, len(names))
	for _, name := range names {
		r.Machine.Scope.Item[name] = template.Unknown{}
	}
}
