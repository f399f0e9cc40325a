package jobspec

import (
	"fmt"
	"slices"
	"strings"
)

const maxOutputs = 200

// outputs reads what a task promises to give: a mapping of names to types, or a list of names or {name, type, required}.
func (r *taskFieldReader) outputs(n *node) {
	var out []Output
	switch n.kind {
	case nodeNull:
	case nodeMap:
		for i := range n.pairs {
			p := &n.pairs[i]
			if p.value.kind == nodeMap {
				out = append(out, r.output(p.key, p.value))
				continue
			}
			out = append(out, Output{Name: p.key, Type: r.outputType(p.value)})
		}
	case nodeList:
		for _, item := range n.items {
			if item.kind == nodeMap {
				out = append(out, r.output("", item))
				continue
			}
			out = append(out, Output{Name: r.literal(item, "the name", maxName), Type: TypeString})
		}
	case nodeScalar:
		r.fault(n, CodeInvalidType, "outputs is "+n.kind.String(), "a mapping of names to types, or a list of name, type and required")
	}
	if len(out) > maxOutputs {
		r.fault(n, CodeInvalidValue, "there are too many outputs", fmt.Sprintf("at most %d", maxOutputs))
		return
	}
	seen := map[string]bool{}
	for _, o := range out {
		if !r.name(o.Name, n.line, n.column) {
			continue
		}
		if seen[o.Name] {
			r.fault(n, CodeDuplicateKey, "the output "+quoteName(o.Name)+" is given twice", "each name once")
		}
		seen[o.Name] = true
	}
	r.t.task.Outputs = out
}

func (r *taskFieldReader) output(name string, n *node) Output {
	o := Output{Name: name, Type: TypeString}
	for i := range n.pairs {
		switch p := &n.pairs[i]; {
		case p.key == "name" && name == "":
			o.Name = r.literal(p.value, "the name", maxName)
		case p.key == "type":
			o.Type = r.outputType(p.value)
		case p.key == "required":
			o.Required = r.boolean(p.value)
		case p.key == "description":
			r.longText(p.value, "description", maxDescription)
		default:
			r.unknown(p, outputFields)
		}
	}
	return o
}

func (r *taskFieldReader) outputType(n *node) string {
	name := r.literal(n, "the type", maxName)
	switch {
	case name == "":
		return TypeString
	case slices.Contains(outputTypes(), name):
		return name
	case !n.templated:
		r.fault(n, CodeInvalidValue, r.show(n)+" is no type of outputs", "one of "+strings.Join(outputTypes(), ", "))
	}
	return TypeString
}

// outputTypes are the types of parameters that say something without more.
func outputTypes() []string {
	return []string{TypeString, TypeInt, TypeNumber, TypeBool, TypeDuration, TypeJSON}
}
