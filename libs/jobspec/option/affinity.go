package option

import (
	"strings"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/source"
)

// The long names are those of Kubernetes, in the spelling of the language.
const (
	requiredAffinity  = "required_during_scheduling_ignored_during_execution"
	preferredAffinity = "preferred_during_scheduling_ignored_during_execution"
)

func nodeOperators() []string {
	return []string{"In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"}
}

func (r reader) affinity(at *source.Pair) *plan.Affinity {
	if at.Value.Kind == source.Null {
		return nil
	}
	a := &plan.Affinity{}
	r.Mapping(at.Value, func(p *source.Pair) {
		switch p.Key {
		case "node_affinity":
			if inner := r.affinity(p); inner != nil {
				*a = *inner
			}
		case requiredAffinity:
			a.Required = r.requiredTerms(p)
		case preferredAffinity:
			a.Preferred = r.preferredTerms(p.Value)
		default:
			r.Unknown(p, affinityFields)
		}
	}, at)
	return a
}

func (r reader) requiredTerms(at *source.Pair) []plan.NodeTerm {
	var out []plan.NodeTerm
	r.Mapping(at.Value, func(p *source.Pair) {
		if p.Key != "node_selector_terms" {
			r.Unknown(p, requiredAffinityFields)
			return
		}
		for _, item := range r.Mappings(p.Value, "a term") {
			out = append(out, r.nodeTerm(item))
		}
	}, at)
	return out
}

func (r reader) preferredTerms(n *source.Node) []plan.PreferredTerm {
	var out []plan.PreferredTerm
	for _, item := range r.Mappings(n, "a term") {
		t := plan.PreferredTerm{Weight: 1}
		for i := range item.Pairs {
			switch p := &item.Pairs[i]; p.Key {
			case "weight":
				t.Weight, _ = r.Integer(p.Value, 1, 100)
			case "preference":
				if p.Value.Kind != source.Map {
					r.Fault(p.Value, source.CodeInvalidType, "a preference is "+p.Value.Kind.String(), "a mapping")
					continue
				}
				t.Term = r.nodeTerm(p.Value)
			default:
				r.Unknown(p, preferredFields)
			}
		}
		out = append(out, t)
	}
	return out
}

func (r reader) nodeTerm(n *source.Node) plan.NodeTerm {
	t := plan.NodeTerm{}
	for i := range n.Pairs {
		switch p := &n.Pairs[i]; p.Key {
		case "match_expressions":
			t.Expressions = r.nodeExpressions(p.Value)
		case "match_fields":
			t.Fields = r.nodeExpressions(p.Value)
		default:
			r.Unknown(p, nodeTermFields)
		}
	}
	return t
}

func (r reader) nodeExpressions(n *source.Node) []plan.NodeExpression {
	var out []plan.NodeExpression
	for _, item := range r.Mappings(n, "an expression") {
		e := plan.NodeExpression{Operator: "In"}
		for i := range item.Pairs {
			switch p := &item.Pairs[i]; p.Key {
			case "key":
				e.Key = r.Short(p.Value)
			case "operator":
				e.Operator = r.OneOf(p.Value, "In", nodeOperators())
			case "values":
				e.Values = read.Texts(r.List(p.Value))
			default:
				r.Unknown(p, nodeExpressionFields)
			}
		}
		r.Required(item, "key", "the label of the node")
		out = append(out, e)
	}
	return out
}

func taintEffects() []string { return []string{"NoSchedule", "PreferNoSchedule", "NoExecute"} }

// tolerations reads the mapping of key=value to an effect, or a list of {key, operator, value, effect}.
func (r reader) tolerations(n *source.Node) []plan.Toleration {
	var out []plan.Toleration
	if n.Kind == source.Map {
		for i := range n.Pairs {
			p := &n.Pairs[i]
			t := plan.Toleration{Operator: "Exists", Effect: r.OneOf(p.Value, "", taintEffects())}
			key, value, found := strings.Cut(p.Key, "=")
			if t.Key = key; found && value != "" {
				t.Operator, t.Value = "Equal", value
			}
			out = append(out, t)
		}
		return out
	}
	for _, item := range r.Mappings(n, "a toleration") {
		t := plan.Toleration{}
		for i := range item.Pairs {
			r.tolerationField(&t, &item.Pairs[i])
		}
		if t.Operator == "" {
			t.Operator = "Equal"
			if t.Value == "" {
				t.Operator = "Exists"
			}
		}
		out = append(out, t)
	}
	return out
}

func (r reader) tolerationField(t *plan.Toleration, p *source.Pair) {
	switch p.Key {
	case "key":
		t.Key = r.Short(p.Value)
	case "operator":
		t.Operator = r.OneOf(p.Value, "", []string{"Equal", "Exists"})
	case "value":
		t.Value = r.Short(p.Value)
	case "effect":
		t.Effect = r.OneOf(p.Value, "", taintEffects())
	case "toleration_seconds":
		seconds, _ := r.Integer(p.Value, 0, maxTokenSeconds)
		t.Seconds = int64(seconds)
	default:
		r.Unknown(p, tolerationFields)
	}
}
