package jobspec

import (
	"fmt"
	"slices"
	"strings"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/source"
)

// container reads container or helper.
func (r *reader) container(at *source.Pair) *plan.Container {
	if at.Value.Kind == source.Null {
		return nil
	}
	if at.Value.Kind == source.Scalar { // the short form names the image
		return &plan.Container{Image: r.short(at.Value)}
	}
	c := &plan.Container{}
	r.mapping(at.Value, func(p *source.Pair) {
		if !r.limit(&c.Limits, p) && !r.image(c, p) && !r.containerMount(c, p) {
			r.unknown(p, containerFields)
		}
	}, at)
	r.checkLimits(&c.Limits, at.Value)
	return c
}

func (r *reader) image(c *plan.Container, p *source.Pair) bool {
	n := p.Value
	switch p.Key {
	case "image":
		if n.Kind == source.Map {
			r.imageDefinition(c, p)
			return true
		}
		if image := r.short(n); image != "" {
			c.Image = image
		}
	case "imageDefinition", "image_definition":
		r.imageDefinition(c, p)
	case "service_account":
		c.ServiceAccount = r.short(n)
	case "env_from":
		c.EnvFrom = r.envFrom(n)
	case "env_value_from":
		c.EnvValueFrom = r.envValueFrom(n)
	default:
		return false
	}
	return true
}

func (r *reader) containerMount(c *plan.Container, p *source.Pair) bool {
	n := p.Value
	switch p.Key {
	case "volumes":
		c.Volumes = r.volumes(n)
	case "volume_driver":
		c.VolumeDriver = r.short(n)
	case "volumes_from":
		c.VolumesFrom = textsOf(r.list(n))
	case "devices":
		c.Devices = r.paths(n)
	case "bind_dir":
		c.BindDir = r.path(n)
	default:
		return false
	}
	return true
}

func (r *reader) imageDefinition(c *plan.Container, at *source.Pair) {
	r.mapping(at.Value, func(p *source.Pair) {
		switch p.Key {
		case "name":
			if c.Image == "" {
				c.Image = r.short(p.Value)
			}
		case "alias":
			c.Alias = r.short(p.Value)
		case "command":
			c.Command = textsOf(r.list(p.Value))
		case "entrypoint":
			c.Entrypoint = textsOf(r.list(p.Value))
		case "ports":
			c.Ports = r.ports(p.Value)
		default:
			r.unknown(p, imageFields)
		}
	}, at)
}

// limit reads one of the limits and requests.
func (r *reader) limit(l *plan.Limits, p *source.Pair) bool {
	switch p.Key {
	case "cpu_limit":
		l.CPULimit = r.cpu(p.Value)
	case "cpu_request":
		l.CPURequest = r.cpu(p.Value)
	case "memory_limit":
		l.MemoryLimit = r.memory(p.Value)
	case "memory_request":
		l.MemoryRequest = r.memory(p.Value)
	case "ephemeral_storage_limit":
		l.EphemeralLimit = r.memory(p.Value)
	case "ephemeral_storage_request":
		l.EphemeralRequest = r.memory(p.Value)
	default:
		return false
	}
	return true
}

func (r *reader) checkLimits(l *plan.Limits, n *source.Node) {
	for _, c := range [...]struct {
		name           string
		limit, request int64
	}{{"cpu", l.CPULimit, l.CPURequest}, {"memory", l.MemoryLimit, l.MemoryRequest}, {"ephemeral_storage", l.EphemeralLimit, l.EphemeralRequest}} {
		if c.limit > 0 && c.request > c.limit {
			at := n.Get(c.name + "_request")
			r.fault(at, source.CodeInvalidValue, c.name+"_request is above "+c.name+"_limit", "a request up to the limit")
		}
	}
}

func protocols() []string { return []string{"TCP", "UDP", "SCTP"} }

const maxPort = 65_535

// ports reads numbers, or {number, protocol, name}.
func (r *reader) ports(n *source.Node) []plan.Port {
	items := r.entries(n, "a port")
	if len(items) > maxPorts {
		r.fault(n, source.CodeInvalidValue, "there are too many ports", fmt.Sprintf("at most %d", maxPorts))
		return nil
	}
	out := make([]plan.Port, 0, len(items))
	for _, item := range items {
		p := plan.Port{Protocol: "TCP"}
		if item.Kind != source.Map {
			p.Number, _ = r.integer(item, 1, maxPort)
			out = append(out, p)
			continue
		}
		for i := range item.Pairs {
			switch f := &item.Pairs[i]; f.Key {
			case "number":
				p.Number, _ = r.integer(f.Value, 1, maxPort)
			case "protocol":
				p.Protocol = r.oneOf(f.Value, "TCP", protocols())
			case "name":
				p.Name = r.short(f.Value)
			default:
				r.unknown(f, portFields)
			}
		}
		r.required(item, "number", "the number of the port")
		out = append(out, p)
	}
	return out
}

// envFrom reads {secret_ref or config_map_ref, prefix}. A reference is a name, or {name}.
func (r *reader) envFrom(n *source.Node) []plan.EnvFrom {
	var out []plan.EnvFrom
	for _, item := range r.mappings(n, "an entry of env_from") {
		e := plan.EnvFrom{}
		for i := range item.Pairs {
			switch p := &item.Pairs[i]; p.Key {
			case "secret_ref":
				e.Secret = r.reference(p)
			case "config_map_ref":
				e.ConfigMap = r.reference(p)
			case "prefix":
				e.Prefix = r.short(p.Value)
			default:
				r.unknown(p, envFromFields)
			}
		}
		r.either(item, "secret_ref", "config_map_ref")
		out = append(out, e)
	}
	return out
}

func (r *reader) envValueFrom(n *source.Node) []plan.EnvValueFrom {
	var out []plan.EnvValueFrom
	for _, item := range r.mappings(n, "an entry of env_value_from") {
		e := plan.EnvValueFrom{}
		for i := range item.Pairs {
			switch p := &item.Pairs[i]; p.Key {
			case "name":
				e.Name = r.short(p.Value)
			case "secret_name":
				e.Secret = r.short(p.Value)
			case "config_map_name":
				e.ConfigMap = r.short(p.Value)
			case "key":
				e.Key = r.short(p.Value)
			default:
				r.unknown(p, envValueFields)
			}
		}
		r.required(item, "name", "the name of the variable")
		r.required(item, "key", "the key in the secret or config map")
		r.either(item, "secret_name", "config_map_name")
		out = append(out, e)
	}
	return out
}

// reference reads a name, or a mapping with a name.
func (r *reader) reference(at *source.Pair) string {
	if at.Value.Kind != source.Map {
		return r.short(at.Value)
	}
	name := ""
	r.mapping(at.Value, func(p *source.Pair) {
		if p.Key == "name" {
			name = r.short(p.Value)
			return
		}
		r.unknown(p, referenceFields)
	}, at)
	r.required(at.Value, "name", "the name of what it refers to")
	return name
}

// either reports a mapping that does not hold exactly one of two keys.
func (r *reader) either(n *source.Node, first, second string) {
	switch has := n.Get(first) != nil; {
	case has && n.Get(second) != nil:
		r.fault(n, source.CodeConflict, first+" and "+second+" are both given", "one of them")
	case !has && n.Get(second) == nil:
		r.fault(n, source.CodeMissingField, "neither "+first+" nor "+second+" is given", "one of them")
	}
}

// services reads the list of sidecars; in the form of a mapping the keys are their names.
func (r *reader) services(n *source.Node) []plan.Sidecar {
	var out []plan.Sidecar
	add := func(name string, item *source.Node) {
		out = append(out, r.service(name, item))
	}
	if n.Kind == source.Map && !slices.ContainsFunc(n.Pairs, func(p source.Pair) bool { return p.Value.Kind != source.Map }) {
		for i := range n.Pairs {
			add(n.Pairs[i].Key, n.Pairs[i].Value)
		}
	} else {
		for _, item := range r.mappings(n, "a service") {
			add("", item)
		}
	}
	if len(out) > maxServices {
		r.fault(n, source.CodeInvalidValue, "there are too many services", fmt.Sprintf("at most %d", maxServices))
		return nil
	}
	seen := map[string]bool{}
	for _, s := range out {
		if seen[s.Name] && s.Name != "" {
			r.fault(n, source.CodeDuplicateKey, "a service is defined twice: "+source.QuoteName(s.Name), "each name once")
		}
		seen[s.Name] = true
	}
	return out
}

func (r *reader) service(name string, n *source.Node) plan.Sidecar {
	s := plan.Sidecar{Name: name, Instances: 1}
	for i := range n.Pairs {
		if p := &n.Pairs[i]; !r.limit(&s.Limits, p) && !r.serviceField(&s, p) {
			r.unknown(p, serviceFields)
		}
	}
	if name == "" {
		r.required(n, "name", "the name of the service")
	}
	r.required(n, "image", "the image of the service")
	r.checkLimits(&s.Limits, n)
	return s
}

func (r *reader) serviceField(s *plan.Sidecar, p *source.Pair) bool {
	n := p.Value
	switch p.Key {
	case "name":
		if s.Name == "" {
			s.Name = strings.TrimSpace(r.short(n))
		}
	case "instances":
		s.Instances, _ = r.integer(n, 1, maxServices)
	case "alias":
		s.Alias = r.short(n)
	case "working_directory":
		s.WorkingDirectory = r.path(n)
	case "image":
		s.Image = r.short(n)
	case "command":
		s.Command = textsOf(r.list(n))
	case "entrypoint":
		s.Entrypoint = textsOf(r.list(n))
	case "volumes":
		s.Volumes = r.volumes(n)
	case "ports":
		s.Ports = r.ports(n)
	default:
		return false
	}
	return true
}
