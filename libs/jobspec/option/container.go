package option

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/source"
)

// container reads container or helper.
func (r reader) container(at *source.Pair) *plan.Container {
	if at.Value.Kind == source.Null {
		return nil
	}
	if at.Value.Kind == source.Scalar { // the short form names the image
		return &plan.Container{Image: r.Short(at.Value)}
	}
	c := &plan.Container{}
	r.Mapping(at.Value, func(p *source.Pair) {
		if !r.limit(&c.Limits, p) && !r.image(c, p) && !r.containerMount(c, p) && !r.containerProcess(c, p) {
			r.Unknown(p, containerFields)
		}
	}, at)
	r.checkLimits(&c.Limits, at.Value)
	return c
}

func (r reader) image(c *plan.Container, p *source.Pair) bool {
	n := p.Value
	switch p.Key {
	case "image":
		if n.Kind == source.Map {
			r.imageDefinition(c, p)
			return true
		}
		if image := r.Short(n); image != "" {
			c.Image = image
		}
	case "imageDefinition", "image_definition":
		r.imageDefinition(c, p)
	case "service_account":
		c.ServiceAccount = r.Short(n)
	case "env_from":
		c.EnvFrom = r.envFrom(n)
	case "env_value_from":
		c.EnvValueFrom = r.envValueFrom(n)
	default:
		return false
	}
	return true
}

func (r reader) containerMount(c *plan.Container, p *source.Pair) bool {
	n := p.Value
	switch p.Key {
	case "volumes":
		c.Volumes = r.volumes(n)
	case "volume_driver":
		c.VolumeDriver = r.Short(n)
	case "volumes_from":
		c.VolumesFrom = read.Texts(r.List(n))
	case "devices":
		c.Devices = r.Paths(n)
	case "bind_dir":
		c.BindDir = r.Path(n)
	default:
		return false
	}
	return true
}

func (r reader) containerProcess(c *plan.Container, p *source.Pair) bool {
	n := p.Value
	switch p.Key {
	case "user":
		c.User = r.Short(n)
	case "shm_size":
		c.ShmSize = r.Memory(n)
	case "pids_limit":
		limit, _ := r.Integer(n, 1, maxPIDs)
		c.PIDsLimit = int64(limit)
	case "extra_hosts":
		c.ExtraHosts = r.Texts(n)
	case "pull_policy":
		c.PullPolicy = r.OneOf(n, "", pullPolicies())
	default:
		return false
	}
	return true
}

const maxPIDs = 1 << 22 // no kernel has more

func pullPolicies() []string { return []string{plan.PullAlways, plan.PullMissing, plan.PullNever} }

func (r reader) imageDefinition(c *plan.Container, at *source.Pair) {
	r.Mapping(at.Value, func(p *source.Pair) {
		switch p.Key {
		case "name":
			if c.Image == "" {
				c.Image = r.Short(p.Value)
			}
		case "alias":
			c.Alias = r.Short(p.Value)
		case "command":
			c.Command = read.Texts(r.List(p.Value))
		case "entrypoint":
			c.Entrypoint = read.Texts(r.List(p.Value))
		case "ports":
			c.Ports = r.ports(p.Value)
		default:
			r.Unknown(p, imageFields)
		}
	}, at)
}

// limit reads one of the limits and requests.
func (r reader) limit(l *plan.Limits, p *source.Pair) bool {
	switch p.Key {
	case "cpu_limit":
		l.CPULimit = r.CPU(p.Value)
	case "cpu_request":
		l.CPURequest = r.CPU(p.Value)
	case "memory_limit":
		l.MemoryLimit = r.Memory(p.Value)
	case "memory_request":
		l.MemoryRequest = r.Memory(p.Value)
	case "ephemeral_storage_limit":
		l.EphemeralLimit = r.Memory(p.Value)
	case "ephemeral_storage_request":
		l.EphemeralRequest = r.Memory(p.Value)
	default:
		return false
	}
	return true
}

func (r reader) checkLimits(l *plan.Limits, n *source.Node) {
	for _, c := range [...]struct {
		name           string
		limit, request int64
	}{{"cpu", l.CPULimit, l.CPURequest}, {"memory", l.MemoryLimit, l.MemoryRequest}, {"ephemeral_storage", l.EphemeralLimit, l.EphemeralRequest}} {
		if c.limit > 0 && c.request > c.limit {
			at := n.Get(c.name + "_request")
			r.Fault(at, source.CodeInvalidValue, c.name+"_request is above "+c.name+"_limit", "a request up to the limit")
		}
	}
}

func protocols() []string { return []string{"TCP", "UDP", "SCTP"} }

const maxPort = 65_535

// ports reads numbers, or {number, protocol, name}.
func (r reader) ports(n *source.Node) []plan.Port {
	items := r.Entries(n, "a port")
	if len(items) > maxPorts {
		r.Fault(n, source.CodeInvalidValue, "there are too many ports", fmt.Sprintf("at most %d", maxPorts))
		return nil
	}
	out := make([]plan.Port, 0, len(items))
	for _, item := range items {
		p := plan.Port{Protocol: "TCP"}
		if item.Kind != source.Map {
			p.Number, _ = r.Integer(item, 1, maxPort)
			out = append(out, p)
			continue
		}
		for i := range item.Pairs {
			switch f := &item.Pairs[i]; f.Key {
			case "number":
				p.Number, _ = r.Integer(f.Value, 1, maxPort)
			case "protocol":
				p.Protocol = r.OneOf(f.Value, "TCP", protocols())
			case "name":
				p.Name = r.Short(f.Value)
			default:
				r.Unknown(f, portFields)
			}
		}
		r.Required(item, "number", "the number of the port")
		out = append(out, p)
	}
	return out
}

// envFrom reads {secret_ref or config_map_ref, prefix}. A reference is a name, or {name}.
func (r reader) envFrom(n *source.Node) []plan.EnvFrom {
	var out []plan.EnvFrom
	for _, item := range r.Mappings(n, "an entry of env_from") {
		e := plan.EnvFrom{}
		for i := range item.Pairs {
			switch p := &item.Pairs[i]; p.Key {
			case "secret_ref":
				e.Secret = r.reference(p)
			case "config_map_ref":
				e.ConfigMap = r.reference(p)
			case "prefix":
				e.Prefix = r.Short(p.Value)
			default:
				r.Unknown(p, envFromFields)
			}
		}
		r.either(item, "secret_ref", "config_map_ref")
		out = append(out, e)
	}
	return out
}

func (r reader) envValueFrom(n *source.Node) []plan.EnvValueFrom {
	var out []plan.EnvValueFrom
	for _, item := range r.Mappings(n, "an entry of env_value_from") {
		e := plan.EnvValueFrom{}
		for i := range item.Pairs {
			switch p := &item.Pairs[i]; p.Key {
			case "name":
				e.Name = r.Short(p.Value)
			case "secret_name":
				e.Secret = r.Short(p.Value)
			case "config_map_name":
				e.ConfigMap = r.Short(p.Value)
			case "key":
				e.Key = r.Short(p.Value)
			default:
				r.Unknown(p, envValueFields)
			}
		}
		r.Required(item, "name", "the name of the variable")
		r.Required(item, "key", "the key in the secret or config map")
		r.either(item, "secret_name", "config_map_name")
		out = append(out, e)
	}
	return out
}

// reference reads a name, or a mapping with a name.
func (r reader) reference(at *source.Pair) string {
	if at.Value.Kind != source.Map {
		return r.Short(at.Value)
	}
	name := ""
	r.Mapping(at.Value, func(p *source.Pair) {
		if p.Key == "name" {
			name = r.Short(p.Value)
			return
		}
		r.Unknown(p, referenceFields)
	}, at)
	r.Required(at.Value, "name", "the name of what it refers to")
	return name
}

// either reports a mapping that does not hold exactly one of two keys.
func (r reader) either(n *source.Node, first, second string) {
	switch has := n.Get(first) != nil; {
	case has && n.Get(second) != nil:
		r.Fault(n, source.CodeConflict, first+" and "+second+" are both given", "one of them")
	case !has && n.Get(second) == nil:
		r.Fault(n, source.CodeMissingField, "neither "+first+" nor "+second+" is given", "one of them")
	}
}

// services reads the list of sidecars; in the form of a mapping the keys are their names.
func (r reader) services(n *source.Node) []plan.Sidecar {
	var out []plan.Sidecar
	add := func(name string, item *source.Node) {
		out = append(out, r.service(name, item))
	}
	if n.Kind == source.Map && !slices.ContainsFunc(n.Pairs, func(p source.Pair) bool { return p.Value.Kind != source.Map }) {
		for i := range n.Pairs {
			p := &n.Pairs[i]
			if !hostName.MatchString(p.Key) {
				r.Add(p.Line, p.Column, source.CodeInvalidValue, source.QuoteName(p.Key)+" cannot be the name of a host", hostNames)
			}
			add(p.Key, p.Value)
		}
	} else {
		for _, item := range r.Mappings(n, "a service") {
			add("", item)
		}
	}
	if len(out) > maxServices {
		r.Fault(n, source.CodeInvalidValue, "there are too many services", fmt.Sprintf("at most %d", maxServices))
		return nil
	}
	seen := map[string]bool{}
	for _, s := range out {
		if seen[s.Name] && s.Name != "" {
			r.Fault(n, source.CodeDuplicateKey, "a service is defined twice: "+source.QuoteName(s.Name), "each name once")
		}
		seen[s.Name] = true
	}
	return out
}

func (r reader) service(name string, n *source.Node) plan.Sidecar {
	s := plan.Sidecar{Name: name, Instances: 1}
	for i := range n.Pairs {
		if p := &n.Pairs[i]; !r.limit(&s.Limits, p) && !r.serviceField(&s, p) {
			r.Unknown(p, serviceFields)
		}
	}
	if name == "" {
		r.Required(n, "name", "the name of the service")
	}
	r.Required(n, "image", "the image of the service")
	r.checkLimits(&s.Limits, n)
	return s
}

const hostNames = "1 to 63 letters, digits, '-', '_' and '.', the first and the last of them a letter or a digit"

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$`) //nolint:gochecknoglobals // a constant

// host reads a name under which a service is reached.
func (r reader) host(n *source.Node) string {
	text, known := r.Text(n)
	text = strings.TrimSpace(text)
	if known && text != "" && !hostName.MatchString(text) {
		r.Fault(n, source.CodeInvalidValue, r.Show(n)+" cannot be the name of a host", hostNames)
		return ""
	}
	return text
}

func (r reader) serviceField(s *plan.Sidecar, p *source.Pair) bool {
	n := p.Value
	switch p.Key {
	case "name":
		if s.Name == "" {
			s.Name = r.host(n)
		}
	case "instances":
		s.Instances, _ = r.Integer(n, 1, maxServices)
	case "alias":
		s.Alias = r.host(n)
	case "working_directory":
		s.WorkingDirectory = r.Path(n)
	case "image":
		s.Image = r.Short(n)
	case "command":
		s.Command = read.Texts(r.List(n))
	case "entrypoint":
		s.Entrypoint = read.Texts(r.List(n))
	case "volumes":
		s.Volumes = r.volumes(n)
	case "ports":
		s.Ports = r.ports(n)
	case "environment":
		s.Environment = r.Texts(n)
	default:
		return false
	}
	return true
}
