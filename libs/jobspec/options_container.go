package jobspec

import (
	"fmt"
	"slices"
	"strings"
)

// container reads container or helper.
func (r *reader) container(at *pair) *Container {
	if at.value.kind == nodeNull {
		return nil
	}
	if at.value.kind == nodeScalar { // the short form names the image
		return &Container{Image: r.short(at.value)}
	}
	c := &Container{}
	r.mapping(at.value, func(p *pair) {
		if !r.limit(&c.Limits, p) && !r.image(c, p) && !r.containerMount(c, p) {
			r.unknown(p, containerFields)
		}
	}, at)
	r.checkLimits(&c.Limits, at.value)
	return c
}

func (r *reader) image(c *Container, p *pair) bool {
	n := p.value
	switch p.key {
	case "image":
		if n.kind == nodeMap {
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

func (r *reader) containerMount(c *Container, p *pair) bool {
	n := p.value
	switch p.key {
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

func (r *reader) imageDefinition(c *Container, at *pair) {
	r.mapping(at.value, func(p *pair) {
		switch p.key {
		case "name":
			if c.Image == "" {
				c.Image = r.short(p.value)
			}
		case "alias":
			c.Alias = r.short(p.value)
		case "command":
			c.Command = textsOf(r.list(p.value))
		case "entrypoint":
			c.Entrypoint = textsOf(r.list(p.value))
		case "ports":
			c.Ports = r.ports(p.value)
		default:
			r.unknown(p, imageFields)
		}
	}, at)
}

// limit reads one of the limits and requests.
func (r *reader) limit(l *Limits, p *pair) bool {
	switch p.key {
	case "cpu_limit":
		l.CPULimit = r.cpu(p.value)
	case "cpu_request":
		l.CPURequest = r.cpu(p.value)
	case "memory_limit":
		l.MemoryLimit = r.memory(p.value)
	case "memory_request":
		l.MemoryRequest = r.memory(p.value)
	case "ephemeral_storage_limit":
		l.EphemeralLimit = r.memory(p.value)
	case "ephemeral_storage_request":
		l.EphemeralRequest = r.memory(p.value)
	default:
		return false
	}
	return true
}

func (r *reader) checkLimits(l *Limits, n *node) {
	for _, c := range [...]struct {
		name           string
		limit, request int64
	}{{"cpu", l.CPULimit, l.CPURequest}, {"memory", l.MemoryLimit, l.MemoryRequest}, {"ephemeral_storage", l.EphemeralLimit, l.EphemeralRequest}} {
		if c.limit > 0 && c.request > c.limit {
			at := n.get(c.name + "_request")
			r.fault(at, CodeInvalidValue, c.name+"_request is above "+c.name+"_limit", "a request up to the limit")
		}
	}
}

func protocols() []string { return []string{"TCP", "UDP", "SCTP"} }

const maxPort = 65_535

// ports reads numbers, or {number, protocol, name}.
func (r *reader) ports(n *node) []Port {
	items := r.entries(n, "a port")
	if len(items) > maxPorts {
		r.fault(n, CodeInvalidValue, "there are too many ports", fmt.Sprintf("at most %d", maxPorts))
		return nil
	}
	out := make([]Port, 0, len(items))
	for _, item := range items {
		p := Port{Protocol: "TCP"}
		if item.kind != nodeMap {
			p.Number, _ = r.integer(item, 1, maxPort)
			out = append(out, p)
			continue
		}
		for i := range item.pairs {
			switch f := &item.pairs[i]; f.key {
			case "number":
				p.Number, _ = r.integer(f.value, 1, maxPort)
			case "protocol":
				p.Protocol = r.oneOf(f.value, "TCP", protocols())
			case "name":
				p.Name = r.short(f.value)
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
func (r *reader) envFrom(n *node) []EnvFrom {
	var out []EnvFrom
	for _, item := range r.mappings(n, "an entry of env_from") {
		e := EnvFrom{}
		for i := range item.pairs {
			switch p := &item.pairs[i]; p.key {
			case "secret_ref":
				e.Secret = r.reference(p)
			case "config_map_ref":
				e.ConfigMap = r.reference(p)
			case "prefix":
				e.Prefix = r.short(p.value)
			default:
				r.unknown(p, envFromFields)
			}
		}
		r.either(item, "secret_ref", "config_map_ref")
		out = append(out, e)
	}
	return out
}

func (r *reader) envValueFrom(n *node) []EnvValueFrom {
	var out []EnvValueFrom
	for _, item := range r.mappings(n, "an entry of env_value_from") {
		e := EnvValueFrom{}
		for i := range item.pairs {
			switch p := &item.pairs[i]; p.key {
			case "name":
				e.Name = r.short(p.value)
			case "secret_name":
				e.Secret = r.short(p.value)
			case "config_map_name":
				e.ConfigMap = r.short(p.value)
			case "key":
				e.Key = r.short(p.value)
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
func (r *reader) reference(at *pair) string {
	if at.value.kind != nodeMap {
		return r.short(at.value)
	}
	name := ""
	r.mapping(at.value, func(p *pair) {
		if p.key == "name" {
			name = r.short(p.value)
			return
		}
		r.unknown(p, referenceFields)
	}, at)
	r.required(at.value, "name", "the name of what it refers to")
	return name
}

// either reports a mapping that does not hold exactly one of two keys.
func (r *reader) either(n *node, first, second string) {
	switch has := n.get(first) != nil; {
	case has && n.get(second) != nil:
		r.fault(n, CodeConflict, first+" and "+second+" are both given", "one of them")
	case !has && n.get(second) == nil:
		r.fault(n, CodeMissingField, "neither "+first+" nor "+second+" is given", "one of them")
	}
}

// services reads the list of sidecars; in the form of a mapping the keys are their names.
func (r *reader) services(n *node) []Sidecar {
	var out []Sidecar
	add := func(name string, item *node) {
		out = append(out, r.service(name, item))
	}
	if n.kind == nodeMap && !slices.ContainsFunc(n.pairs, func(p pair) bool { return p.value.kind != nodeMap }) {
		for i := range n.pairs {
			add(n.pairs[i].key, n.pairs[i].value)
		}
	} else {
		for _, item := range r.mappings(n, "a service") {
			add("", item)
		}
	}
	if len(out) > maxServices {
		r.fault(n, CodeInvalidValue, "there are too many services", fmt.Sprintf("at most %d", maxServices))
		return nil
	}
	seen := map[string]bool{}
	for _, s := range out {
		if seen[s.Name] && s.Name != "" {
			r.fault(n, CodeDuplicateKey, "a service is defined twice: "+quoteName(s.Name), "each name once")
		}
		seen[s.Name] = true
	}
	return out
}

func (r *reader) service(name string, n *node) Sidecar {
	s := Sidecar{Name: name, Instances: 1}
	for i := range n.pairs {
		if p := &n.pairs[i]; !r.limit(&s.Limits, p) && !r.serviceField(&s, p) {
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

func (r *reader) serviceField(s *Sidecar, p *pair) bool {
	n := p.value
	switch p.key {
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
