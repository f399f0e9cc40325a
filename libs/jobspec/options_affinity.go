package jobspec

import "strings"

// The long names are those of Kubernetes, in the spelling of the language.
const (
	requiredAffinity  = "required_during_scheduling_ignored_during_execution"
	preferredAffinity = "preferred_during_scheduling_ignored_during_execution"
)

func nodeOperators() []string {
	return []string{"In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"}
}

func (r *reader) affinity(at *pair) *Affinity {
	if at.value.kind == nodeNull {
		return nil
	}
	a := &Affinity{}
	r.mapping(at.value, func(p *pair) {
		switch p.key {
		case "node_affinity":
			if inner := r.affinity(p); inner != nil {
				*a = *inner
			}
		case requiredAffinity:
			a.Required = r.requiredTerms(p)
		case preferredAffinity:
			a.Preferred = r.preferredTerms(p.value)
		default:
			r.unknown(p, affinityFields)
		}
	}, at)
	return a
}

func (r *reader) requiredTerms(at *pair) []NodeTerm {
	var out []NodeTerm
	r.mapping(at.value, func(p *pair) {
		if p.key != "node_selector_terms" {
			r.unknown(p, requiredAffinityFields)
			return
		}
		for _, item := range r.mappings(p.value, "a term") {
			out = append(out, r.nodeTerm(item))
		}
	}, at)
	return out
}

func (r *reader) preferredTerms(n *node) []PreferredTerm {
	var out []PreferredTerm
	for _, item := range r.mappings(n, "a term") {
		t := PreferredTerm{Weight: 1}
		for i := range item.pairs {
			switch p := &item.pairs[i]; p.key {
			case "weight":
				t.Weight, _ = r.integer(p.value, 1, 100)
			case "preference":
				if p.value.kind != nodeMap {
					r.fault(p.value, CodeInvalidType, "a preference is "+p.value.kind.String(), "a mapping")
					continue
				}
				t.Term = r.nodeTerm(p.value)
			default:
				r.unknown(p, preferredFields)
			}
		}
		out = append(out, t)
	}
	return out
}

func (r *reader) nodeTerm(n *node) NodeTerm {
	t := NodeTerm{}
	for i := range n.pairs {
		switch p := &n.pairs[i]; p.key {
		case "match_expressions":
			t.Expressions = r.nodeExpressions(p.value)
		case "match_fields":
			t.Fields = r.nodeExpressions(p.value)
		default:
			r.unknown(p, nodeTermFields)
		}
	}
	return t
}

func (r *reader) nodeExpressions(n *node) []NodeExpression {
	var out []NodeExpression
	for _, item := range r.mappings(n, "an expression") {
		e := NodeExpression{Operator: "In"}
		for i := range item.pairs {
			switch p := &item.pairs[i]; p.key {
			case "key":
				e.Key = r.short(p.value)
			case "operator":
				e.Operator = r.oneOf(p.value, "In", nodeOperators())
			case "values":
				e.Values = textsOf(r.list(p.value))
			default:
				r.unknown(p, nodeExpressionFields)
			}
		}
		r.required(item, "key", "the label of the node")
		out = append(out, e)
	}
	return out
}

func taintEffects() []string { return []string{"NoSchedule", "PreferNoSchedule", "NoExecute"} }

// tolerations reads the mapping of key=value to an effect, or a list of {key, operator, value, effect}.
func (r *reader) tolerations(n *node) []Toleration {
	var out []Toleration
	if n.kind == nodeMap {
		for i := range n.pairs {
			p := &n.pairs[i]
			t := Toleration{Operator: "Exists", Effect: r.oneOf(p.value, "", taintEffects())}
			key, value, found := strings.Cut(p.key, "=")
			if t.Key = key; found && value != "" {
				t.Operator, t.Value = "Equal", value
			}
			out = append(out, t)
		}
		return out
	}
	for _, item := range r.mappings(n, "a toleration") {
		t := Toleration{}
		for i := range item.pairs {
			r.tolerationField(&t, &item.pairs[i])
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

func (r *reader) tolerationField(t *Toleration, p *pair) {
	switch p.key {
	case "key":
		t.Key = r.short(p.value)
	case "operator":
		t.Operator = r.oneOf(p.value, "", []string{"Equal", "Exists"})
	case "value":
		t.Value = r.short(p.value)
	case "effect":
		t.Effect = r.oneOf(p.value, "", taintEffects())
	case "toleration_seconds":
		seconds, _ := r.integer(p.value, 0, maxTokenSeconds)
		t.Seconds = int64(seconds)
	default:
		r.unknown(p, tolerationFields)
	}
}
