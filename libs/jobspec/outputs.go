package jobspec

import (
	"fmt"
	"slices"
	"strings"

	"github.com/formicary/formicary/libs/jobspec/param"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/schema"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

const maxOutputs = 200

// outputs reads what a task promises to give: a mapping of names to types, or a list of names or {name, type, required}.
func (r *taskFieldReader) outputs(n *source.Node) {
	var out []plan.Output
	switch n.Kind {
	case source.Null:
	case source.Map:
		for i := range n.Pairs {
			p := &n.Pairs[i]
			if p.Value.Kind == source.Map {
				out = append(out, r.output(p.Key, p.Value))
				continue
			}
			out = append(out, plan.Output{Name: p.Key, Type: r.outputType(p.Value)})
		}
	case source.List:
		for _, item := range n.Items {
			if item.Kind == source.Map {
				out = append(out, r.output("", item))
				continue
			}
			out = append(out, plan.Output{Name: r.Literal(item, "the name", value.MaxName), Type: param.TypeString})
		}
	case source.Scalar:
		r.Fault(n, source.CodeInvalidType, "outputs is "+n.Kind.String(), "a mapping of names to types, or a list of name, type and required")
	}
	if len(out) > maxOutputs {
		r.Fault(n, source.CodeInvalidValue, "there are too many outputs", fmt.Sprintf("at most %d", maxOutputs))
		return
	}
	seen := map[string]bool{}
	for _, o := range out {
		if !r.Name(o.Name, n.Line, n.Column) {
			continue
		}
		if seen[o.Name] {
			r.Fault(n, source.CodeDuplicateKey, "the output "+source.QuoteName(o.Name)+" is given twice", "each name once")
		}
		seen[o.Name] = true
	}
	r.t.task.Outputs = out
}

func (r *taskFieldReader) output(name string, n *source.Node) plan.Output {
	o := plan.Output{Name: name, Type: param.TypeString}
	for i := range n.Pairs {
		switch p := &n.Pairs[i]; {
		case p.Key == "name" && name == "":
			o.Name = r.Literal(p.Value, "the name", value.MaxName)
		case p.Key == "type":
			o.Type = r.outputType(p.Value)
		case p.Key == "required":
			o.Required = r.Flag(p.Value)
		case p.Key == "enum":
			o.Enum = r.outputEnum(p.Value)
		case p.Key == "description":
			r.LongText(p.Value, "description", read.MaxDescription)
		default:
			r.Unknown(p, schema.Output)
		}
	}
	return o
}

// outputEnum reads the texts that an output may be.
func (r *taskFieldReader) outputEnum(n *source.Node) []string {
	items := r.PlannedList(n)
	if len(items) > maxOutputs {
		r.Fault(n, source.CodeInvalidValue, "there are too many values", fmt.Sprintf("at most %d", maxOutputs))
		return nil
	}
	return read.Texts(items)
}

func (r *taskFieldReader) outputType(n *source.Node) string {
	name := r.Literal(n, "the type", value.MaxName)
	switch {
	case name == "":
		return param.TypeString
	case slices.Contains(schema.OutputTypes(), name):
		return name
	case !n.Templated:
		r.Fault(n, source.CodeInvalidValue, r.Show(n)+" is no type of outputs", "one of "+strings.Join(schema.OutputTypes(), ", "))
	}
	return param.TypeString
}
