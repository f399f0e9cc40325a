package jobspec

import (
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/source"
)

const maxResource = 1_000_000

// resources reads one resource or a list of them.
func (r *reader) resources(n *source.Node) []plan.Resource {
	var out []plan.Resource
	for _, item := range r.mappings(n, "a resource") {
		s := plan.Resource{Value: 1}
		for i := range item.Pairs {
			switch p := &item.Pairs[i]; p.Key {
			case "resource_type":
				s.Type = r.short(p.Value)
			case "description":
				s.Description = r.longText(p.Value, "description", maxDescription)
			case "platform":
				s.Platform = r.short(p.Value)
			case "category":
				s.Category = r.short(p.Value)
			case "tags":
				s.Tags = textsOf(r.list(p.Value))
			case "value":
				s.Value, _ = r.integer(p.Value, 1, maxResource)
			case "extract_config":
				r.extractConfig(&s, p)
			default:
				r.unknown(p, resourceFields)
			}
		}
		r.required(item, "resource_type", "the type of the resource")
		out = append(out, s)
	}
	return out
}

func (r *reader) extractConfig(s *plan.Resource, at *source.Pair) {
	r.mapping(at.Value, func(p *source.Pair) {
		switch p.Key {
		case "properties":
			s.Properties = textsOf(r.list(p.Value))
		case "context_prefix":
			s.ContextPrefix = r.short(p.Value)
		default:
			r.unknown(p, extractFields)
		}
	}, at)
}
