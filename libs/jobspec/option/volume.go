package option

import (
	"fmt"
	"slices"
	"strings"

	"github.com/formicary/formicary/libs/jobspec/field"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/source"
)

func volumeKinds() []string {
	return []string{plan.VolumeHostPath, plan.VolumePVC, plan.VolumeConfigMap, plan.VolumeSecret, plan.VolumeProjected, plan.VolumeEmptyDir}
}

// bindMark in the name of a volume makes it a directory of the host.
const bindMark = "bind-mount"

// volumes reads the mapping of kinds to lists (Kubernetes), the mapping of names to paths (Docker), or Docker's list of
// "name:path[:ro]". Kinds and names can stand in one mapping: a kind has a list or a mapping, a name a path.
func (r reader) volumes(n *source.Node) []plan.Volume {
	var out []plan.Volume
	switch n.Kind {
	case source.Null:
	case source.Map:
		for i := range n.Pairs {
			out = append(out, r.volumesOf(&n.Pairs[i])...)
		}
	default:
		for _, it := range r.List(n) {
			name, at, found := strings.Cut(it.Text, ":")
			if it.Node != n && r.Divides(it.Node, ":") || it.Known && !found {
				r.Fault(it.Node, source.CodeInvalidValue, r.Show(it.Node)+" is no volume", "name:path or /directory:path, with :ro to read only")
				continue
			}
			out = append(out, dockerVolume(name, at))
		}
	}
	if len(out) > maxVolumes {
		r.Fault(n, source.CodeInvalidValue, "there are too many volumes", fmt.Sprintf("at most %d", maxVolumes))
		return nil
	}
	return out
}

func (r reader) volumesOf(p *source.Pair) []plan.Volume {
	if p.Value.Kind == source.Null {
		return nil
	}
	if p.Value.Kind == source.Scalar {
		at := r.Path(p.Value)
		if r.Divides(p.Value, ":") {
			r.Fault(p.Value, source.CodeInvalidValue, r.Show(p.Value)+" is no path", "values without :")
			return nil
		}
		if at == "" && !p.Value.Templated {
			r.Fault(p.Value, source.CodeInvalidValue, "the volume "+source.QuoteName(p.Key)+" has no path", "the path in the container")
		}
		return []plan.Volume{dockerVolume(p.Key, at)}
	}
	if !slices.Contains(volumeKinds(), p.Key) {
		expected := "one of " + strings.Join(volumeKinds(), ", ")
		if near := r.Collector.Suggest(p.Key, volumeKinds()); near != "" {
			expected = near
		}
		r.Add(p.Line, p.Column, source.CodeUnknownField, source.QuoteName(p.Key)+" is no kind of volumes", expected)
		return nil
	}
	var out []plan.Volume
	for _, item := range r.Mappings(p.Value, "a volume") {
		out = append(out, r.volume(p.Key, item))
	}
	return out
}

// dockerVolume is a volume of Docker: what is named as a path, or as a bind mount, is a directory of the host. The
// path in the container may come with one of the host before it and :ro behind it.
func dockerVolume(name, at string) plan.Volume {
	v := plan.Volume{Kind: plan.VolumeNamed, Name: name}
	if rest, ok := strings.CutSuffix(at, ":ro"); ok {
		at, v.ReadOnly = rest, true
	} else {
		at = strings.TrimSuffix(at, ":rw")
	}
	v.MountPath = at
	switch host, inside, found := strings.Cut(at, ":"); {
	case strings.HasPrefix(name, "/"):
		v.Kind, v.Name, v.HostPath = plan.VolumeBind, "", name
	case strings.Contains(name, bindMark) && found:
		v.Kind, v.HostPath, v.MountPath = plan.VolumeBind, host, inside
	case strings.Contains(name, bindMark):
		v.Kind, v.HostPath = plan.VolumeBind, at
	}
	return v
}

func (r reader) volume(kind string, n *source.Node) plan.Volume {
	v := plan.Volume{Kind: kind}
	for i := range n.Pairs {
		p := &n.Pairs[i]
		switch {
		case r.volumeField(&v, p):
		case p.Key == "items" && (kind == plan.VolumeConfigMap || kind == plan.VolumeSecret):
			v.Items = r.Texts(p.Value)
		case p.Key == "host_path" && kind == plan.VolumeHostPath:
			v.HostPath = r.Path(p.Value)
		case p.Key == "medium" && kind == plan.VolumeEmptyDir:
			v.Medium = r.OneOf(p.Value, "", []string{"Memory"})
		case p.Key == "sources" && kind == plan.VolumeProjected:
			v.Sources = r.volumeSources(p.Value)
		default:
			r.Unknown(p, func() []field.Field { return volumeFields(kind) })
		}
	}
	r.Required(n, "name", "the name of the volume")
	r.Required(n, "mount_path", "the path in the container")
	switch kind {
	case plan.VolumeHostPath:
		r.Required(n, "host_path", "the path on the node")
	case plan.VolumeProjected:
		r.Required(n, "sources", "what is put into the volume")
	}
	return v
}

func (r reader) volumeField(v *plan.Volume, p *source.Pair) bool {
	switch p.Key {
	case "name":
		v.Name = r.Short(p.Value)
	case "mount_path":
		v.MountPath = r.Path(p.Value)
	case "sub_path":
		v.SubPath = r.Path(p.Value)
	case "read_only":
		v.ReadOnly = r.Flag(p.Value)
	default:
		return false
	}
	return true
}

func (r reader) volumeSources(n *source.Node) []plan.VolumeSource {
	var out []plan.VolumeSource
	for _, item := range r.Mappings(n, "a source") {
		if len(item.Pairs) != 1 {
			r.Fault(item, source.CodeInvalidValue, "a source has several kinds or none", "one of secret, config_map, service_account_token")
			continue
		}
		s := plan.VolumeSource{}
		switch p := &item.Pairs[0]; p.Key {
		case "secret":
			s.Secret, s.Items = r.itemsOf(p)
		case "config_map":
			s.ConfigMap, s.Items = r.itemsOf(p)
		case "service_account_token":
			s.Token = r.tokenSource(p)
		default:
			r.Unknown(p, sourceFields)
		}
		out = append(out, s)
	}
	return out
}

// itemsOf reads the name of a secret or config map, or {name, items}.
func (r reader) itemsOf(at *source.Pair) (name string, items map[string]string) {
	if at.Value.Kind != source.Map {
		return r.Short(at.Value), nil
	}
	r.Mapping(at.Value, func(p *source.Pair) {
		switch p.Key {
		case "name":
			name = r.Short(p.Value)
		case "items":
			items = r.Texts(p.Value)
		default:
			r.Unknown(p, sourceItemFields)
		}
	}, at)
	r.Required(at.Value, "name", "the name of the "+at.Key)
	return name, items
}

// Bounds of tokens in seconds: those of Kubernetes.
const (
	minTokenSeconds = 600
	maxTokenSeconds = 1 << 32
)

func (r reader) tokenSource(at *source.Pair) *plan.TokenSource {
	t := &plan.TokenSource{}
	r.Mapping(at.Value, func(p *source.Pair) {
		switch p.Key {
		case "audience":
			t.Audience = r.Short(p.Value)
		case "expiration_seconds":
			seconds, _ := r.Integer(p.Value, minTokenSeconds, maxTokenSeconds)
			t.ExpirationSeconds = int64(seconds)
		case "path":
			t.Path = r.Path(p.Value)
		default:
			r.Unknown(p, tokenFields)
		}
	}, at)
	r.Required(at.Value, "path", "the path of the token in the volume")
	return t
}
