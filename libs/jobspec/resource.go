package jobspec

import "github.com/formicary/formicary/libs/jobspec/source"

// Resource is a virtual resource that a job or task needs: a counted thing such as a licence or a device.
type Resource struct {
	Type        string   `json:"resource_type"`
	Description string   `json:"description,omitempty"`
	Platform    string   `json:"platform,omitempty"`
	Category    string   `json:"category,omitempty"`
	Tags        []string `json:"tags,omitempty"`
	// Value is how much of it, at least 1.
	Value int `json:"value"`
	// Properties of the resource become variables whose names begin with ContextPrefix.
	Properties    []string `json:"properties,omitempty"`
	ContextPrefix string   `json:"context_prefix,omitempty"`
}

const maxResource = 1_000_000

// resources reads one resource or a list of them.
func (r *reader) resources(n *source.Node) []Resource {
	var out []Resource
	for _, item := range r.mappings(n, "a resource") {
		s := Resource{Value: 1}
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

func (r *reader) extractConfig(s *Resource, at *source.Pair) {
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
