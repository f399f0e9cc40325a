package jobspec

import (
	"fmt"
	"slices"
	"strings"
)

func volumeKinds() []string {
	return []string{VolumeHostPath, VolumePVC, VolumeConfigMap, VolumeSecret, VolumeProjected, VolumeEmptyDir}
}

// bindMark in the name of a volume makes it a directory of the host.
const bindMark = "bind-mount"

// volumes reads the mapping of kinds to lists (Kubernetes), the mapping of names to paths (Docker), or Docker's list of
// "name:path[:ro]". Kinds and names can stand in one mapping: a kind has a list or a mapping, a name a path.
func (r *reader) volumes(n *node) []Volume {
	var out []Volume
	switch n.kind {
	case nodeNull:
	case nodeMap:
		for i := range n.pairs {
			out = append(out, r.volumesOf(&n.pairs[i])...)
		}
	default:
		for _, it := range r.list(n) {
			name, at, found := strings.Cut(it.text, ":")
			if it.node != n && r.divides(it.node, ":") || it.known && !found {
				r.fault(it.node, CodeInvalidValue, r.show(it.node)+" is no volume", "name:path or /directory:path, with :ro to read only")
				continue
			}
			out = append(out, dockerVolume(name, at))
		}
	}
	if len(out) > maxVolumes {
		r.fault(n, CodeInvalidValue, "there are too many volumes", fmt.Sprintf("at most %d", maxVolumes))
		return nil
	}
	return out
}

func (r *reader) volumesOf(p *pair) []Volume {
	if p.value.kind == nodeNull {
		return nil
	}
	if p.value.kind == nodeScalar {
		at := r.path(p.value)
		if r.divides(p.value, ":") {
			r.fault(p.value, CodeInvalidValue, r.show(p.value)+" is no path", "values without :")
			return nil
		}
		if at == "" && !p.value.templated {
			r.fault(p.value, CodeInvalidValue, "the volume "+quoteName(p.key)+" has no path", "the path in the container")
		}
		return []Volume{dockerVolume(p.key, at)}
	}
	if !slices.Contains(volumeKinds(), p.key) {
		expected := "one of " + strings.Join(volumeKinds(), ", ")
		if near := r.c.suggest(p.key, volumeKinds()); near != "" {
			expected = near
		}
		r.add(p.line, p.column, CodeUnknownField, quoteName(p.key)+" is no kind of volumes", expected)
		return nil
	}
	var out []Volume
	for _, item := range r.mappings(p.value, "a volume") {
		out = append(out, r.volume(p.key, item))
	}
	return out
}

// dockerVolume is a volume of Docker: what is named as a path, or as a bind mount, is a directory of the host. The
// path in the container may come with one of the host before it and :ro behind it.
func dockerVolume(name, at string) Volume {
	v := Volume{Kind: VolumeNamed, Name: name}
	if rest, ok := strings.CutSuffix(at, ":ro"); ok {
		at, v.ReadOnly = rest, true
	} else {
		at = strings.TrimSuffix(at, ":rw")
	}
	v.MountPath = at
	switch host, inside, found := strings.Cut(at, ":"); {
	case strings.HasPrefix(name, "/"):
		v.Kind, v.Name, v.HostPath = VolumeBind, "", name
	case strings.Contains(name, bindMark) && found:
		v.Kind, v.HostPath, v.MountPath = VolumeBind, host, inside
	case strings.Contains(name, bindMark):
		v.Kind, v.HostPath = VolumeBind, at
	}
	return v
}

func (r *reader) volume(kind string, n *node) Volume {
	v := Volume{Kind: kind}
	for i := range n.pairs {
		p := &n.pairs[i]
		switch {
		case r.volumeField(&v, p):
		case p.key == "items" && (kind == VolumeConfigMap || kind == VolumeSecret):
			v.Items = r.texts(p.value)
		case p.key == "host_path" && kind == VolumeHostPath:
			v.HostPath = r.path(p.value)
		case p.key == "medium" && kind == VolumeEmptyDir:
			v.Medium = r.oneOf(p.value, "", []string{"Memory"})
		case p.key == "sources" && kind == VolumeProjected:
			v.Sources = r.volumeSources(p.value)
		default:
			r.unknown(p, func() []field { return volumeFields(kind) })
		}
	}
	r.required(n, "name", "the name of the volume")
	r.required(n, "mount_path", "the path in the container")
	switch kind {
	case VolumeHostPath:
		r.required(n, "host_path", "the path on the node")
	case VolumeProjected:
		r.required(n, "sources", "what is put into the volume")
	}
	return v
}

func (r *reader) volumeField(v *Volume, p *pair) bool {
	switch p.key {
	case "name":
		v.Name = r.short(p.value)
	case "mount_path":
		v.MountPath = r.path(p.value)
	case "sub_path":
		v.SubPath = r.path(p.value)
	case "read_only":
		v.ReadOnly = r.boolean(p.value)
	default:
		return false
	}
	return true
}

func (r *reader) volumeSources(n *node) []VolumeSource {
	var out []VolumeSource
	for _, item := range r.mappings(n, "a source") {
		if len(item.pairs) != 1 {
			r.fault(item, CodeInvalidValue, "a source has several kinds or none", "one of secret, config_map, service_account_token")
			continue
		}
		s := VolumeSource{}
		switch p := &item.pairs[0]; p.key {
		case "secret":
			s.Secret, s.Items = r.itemsOf(p)
		case "config_map":
			s.ConfigMap, s.Items = r.itemsOf(p)
		case "service_account_token":
			s.Token = r.tokenSource(p)
		default:
			r.unknown(p, sourceFields)
		}
		out = append(out, s)
	}
	return out
}

// itemsOf reads the name of a secret or config map, or {name, items}.
func (r *reader) itemsOf(at *pair) (name string, items map[string]string) {
	if at.value.kind != nodeMap {
		return r.short(at.value), nil
	}
	r.mapping(at.value, func(p *pair) {
		switch p.key {
		case "name":
			name = r.short(p.value)
		case "items":
			items = r.texts(p.value)
		default:
			r.unknown(p, sourceItemFields)
		}
	}, at)
	r.required(at.value, "name", "the name of the "+at.key)
	return name, items
}

// Bounds of tokens in seconds: those of Kubernetes.
const (
	minTokenSeconds = 600
	maxTokenSeconds = 1 << 32
)

func (r *reader) tokenSource(at *pair) *TokenSource {
	t := &TokenSource{}
	r.mapping(at.value, func(p *pair) {
		switch p.key {
		case "audience":
			t.Audience = r.short(p.value)
		case "expiration_seconds":
			seconds, _ := r.integer(p.value, minTokenSeconds, maxTokenSeconds)
			t.ExpirationSeconds = int64(seconds)
		case "path":
			t.Path = r.path(p.value)
		default:
			r.unknown(p, tokenFields)
		}
	}, at)
	r.required(at.value, "path", "the path of the token in the volume")
	return t
}
