package jobspec

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
func (r *reader) resources(n *node) []Resource {
	var out []Resource
	for _, item := range r.mappings(n, "a resource") {
		s := Resource{Value: 1}
		for i := range item.pairs {
			switch p := &item.pairs[i]; p.key {
			case "resource_type":
				s.Type = r.short(p.value)
			case "description":
				s.Description = r.longText(p.value, "description", maxDescription)
			case "platform":
				s.Platform = r.short(p.value)
			case "category":
				s.Category = r.short(p.value)
			case "tags":
				s.Tags = textsOf(r.list(p.value))
			case "value":
				s.Value, _ = r.integer(p.value, 1, maxResource)
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

func (r *reader) extractConfig(s *Resource, at *pair) {
	r.mapping(at.value, func(p *pair) {
		switch p.key {
		case "properties":
			s.Properties = textsOf(r.list(p.value))
		case "context_prefix":
			s.ContextPrefix = r.short(p.value)
		default:
			r.unknown(p, extractFields)
		}
	}, at)
}
