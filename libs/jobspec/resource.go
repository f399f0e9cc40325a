package jobspec

import (
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/schema"
	"github.com/formicary/formicary/libs/jobspec/source"
)

// resources reads one resource or a list of them.
func (r *reader) resources(n *source.Node) []plan.Resource {
	var out []plan.Resource
	for _, item := range r.Mappings(n, "a resource") {
		s := plan.Resource{Value: 1}
		for i := range item.Pairs {
			switch p := &item.Pairs[i]; p.Key {
			case "resource_type":
				s.Type = r.Short(p.Value)
			case "description":
				s.Description = r.LongText(p.Value, "description", read.MaxDescription)
			case "platform":
				s.Platform = r.Short(p.Value)
			case "category":
				s.Category = r.Short(p.Value)
			case "tags":
				s.Tags = read.Texts(r.List(p.Value))
			case "value":
				s.Value, _ = r.Integer(p.Value, 1, schema.MaxResource)
			case "extract_config":
				r.extractConfig(&s, p)
			default:
				r.Unknown(p, schema.Resource)
			}
		}
		r.Required(item, "resource_type", "the type of the resource")
		out = append(out, s)
	}
	return out
}

func (r *reader) extractConfig(s *plan.Resource, at *source.Pair) {
	r.Mapping(at.Value, func(p *source.Pair) {
		switch p.Key {
		case "properties":
			s.Properties = read.Texts(r.List(p.Value))
		case "context_prefix":
			s.ContextPrefix = r.Short(p.Value)
		default:
			r.Unknown(p, schema.Extract)
		}
	}, at)
}
