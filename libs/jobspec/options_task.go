package jobspec

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Bounds of options.
const (
	maxPath     = 4_096
	maxPaths    = 1_000
	maxServices = 50
	maxPorts    = 100
	maxVolumes  = 100
)

// option reads a field about containers, pods, artifacts or the cache. It returns false when the key is none of these.
func (r *taskFieldReader) option(p *pair) bool {
	switch p.key {
	case "container":
		r.mainContainer(p)
	case "webhook":
		r.t.task.Webhook = r.webhook(p)
	case "secrets":
		r.t.task.Secrets = r.secrets(p.value)
	case "resources":
		r.t.task.Resources = r.resources(p.value)
	default:
		return r.podOption(p) || r.fileOption(p)
	}
	return true
}

func (r *taskFieldReader) options() *Options {
	if r.t.task.Spec.Options == nil {
		r.t.task.Spec.Options = &Options{}
	}
	return r.t.task.Spec.Options
}

func (r *taskFieldReader) podOption(p *pair) bool {
	n := p.value
	switch p.key {
	case "name":
		r.options().Name = r.short(n)
	case "helper":
		r.options().Helper = r.container(p)
	case "services":
		r.options().Services = r.services(n)
	case "privileged":
		r.options().Privileged = r.boolean(n)
	case "host_network":
		r.options().HostNetwork = r.boolean(n)
	case "network_mode":
		r.options().NetworkMode = r.short(n)
	case "affinity":
		r.options().Affinity = r.affinity(p)
	case "node_selector":
		r.options().NodeSelector = r.texts(n)
	case "node_tolerations":
		r.options().Tolerations = r.tolerations(n)
	case "pod_labels":
		r.options().PodLabels = r.texts(n)
	case "pod_annotations":
		r.options().PodAnnotations = r.texts(n)
	case "helper_environment":
		r.options().HelperEnvironment = r.texts(n)
	case "cost_factor":
		r.options().CostFactor = r.number(n, 0, 1e6)
	case "execute_command_without_shell":
		r.options().WithoutShell = r.boolean(n)
	case "debug":
		r.options().Debug = r.boolean(n)
	default:
		return false
	}
	return true
}

func (r *taskFieldReader) fileOption(p *pair) bool {
	n := p.value
	switch p.key {
	case "artifacts":
		r.options().Artifacts = r.artifacts(p)
	case "artifacts_dir":
		r.options().ArtifactsDir = r.path(n)
	case "artifact_key_prefix":
		r.options().ArtifactKeyPrefix = r.short(n)
	case "dependent_artifact_ids":
		r.options().DependentArtifactIDs = textsOf(r.list(n))
	case "cache":
		r.options().Cache = r.cache(p)
	case "cache_dir":
		r.options().CacheDir = r.path(n)
	default:
		return false
	}
	return true
}

// mainContainer reads the container of the script. The limits of any process are in the Spec as well.
func (r *taskFieldReader) mainContainer(p *pair) {
	c := r.container(p)
	if c == nil {
		return
	}
	r.options().Container = c
	if c.CPULimit > 0 {
		r.t.task.Spec.CPUMillis = c.CPULimit
	}
	if c.MemoryLimit > 0 {
		r.t.task.Spec.MemoryBytes = c.MemoryLimit
	}
}

func (r *reader) artifacts(at *pair) *Artifacts {
	if at.value.kind == nodeNull {
		return nil
	}
	a := &Artifacts{When: OnSuccess}
	r.mapping(at.value, func(p *pair) {
		switch r.misspelled(p, at.value, "artifacts") {
		case "paths":
			a.Paths = r.paths(p.value)
		case "when":
			a.When = r.moments(p.value, OnSuccess)
		case "expires_after":
			a.ExpiresAfter = r.durationUpTo(p.value, maxExpiry)
		default:
			r.unknown(p, artifactFields)
		}
	}, at)
	r.required(at.value, "paths", "the files to keep")
	return a
}

func (r *taskFieldReader) cache(at *pair) *Cache {
	if at.value.kind == nodeNull {
		return nil
	}
	c := &Cache{}
	r.mapping(at.value, func(p *pair) {
		switch r.misspelled(p, at.value, "cache") {
		case "key":
			c.Key = r.short(p.value)
		case "key_paths":
			c.KeyPaths = r.paths(p.value)
		case "paths":
			c.Paths = r.paths(p.value)
		case "expires_after":
			c.ExpiresAfter = r.durationUpTo(p.value, maxExpiry)
		default:
			r.unknown(p, cacheFields)
		}
	}, at)
	r.required(at.value, "paths", "the files to keep")
	r.cacheKey(c, at.value)
	return c
}

// secrets reads names, or {name, env, file}. A name alone is delivered in a variable: of the same name, or of the name
// in capitals with _ for what no variable can hold.
func (r *reader) secrets(n *node) []Secret {
	var out []Secret
	for _, item := range r.entries(n, "a secret") {
		s := Secret{}
		if item.kind == nodeMap {
			for i := range item.pairs {
				r.secretField(&s, &item.pairs[i])
			}
			r.required(item, "name", "the name of the secret")
		} else {
			s.Name = r.short(item)
		}
		if s.Env == "" && s.File == "" {
			s.Env = envNameOf(s.Name)
		}
		if slices.ContainsFunc(out, func(o Secret) bool { return o.Name == s.Name && o.Env == s.Env && o.File == s.File }) {
			r.fault(item, CodeDuplicateKey, "the secret is named twice", "each once")
		}
		out = append(out, s)
	}
	return out
}

func (r *reader) secretField(s *Secret, p *pair) {
	switch p.key {
	case "name":
		s.Name = r.short(p.value)
	case "env":
		text, known := r.text(p.value)
		if known && (!isEnvName(text) || isEnvReserved(text)) {
			r.fault(p.value, CodeInvalidName, r.show(p.value)+" cannot name a variable for a secret", "letters, digits and _, no variable of the system")
			return
		}
		s.Env = text
	case "file":
		text, known := r.text(p.value)
		if known && !isInside(text) {
			r.fault(p.value, CodeInvalidValue, r.show(p.value)+" is no path inside the working directory", "a relative path without ..")
			return
		}
		s.File = text
	default:
		r.unknown(p, secretFields)
	}
}

// isInside reports whether a path stays below the directory that it is relative to.
func isInside(name string) bool {
	clean := path.Clean(name)
	return name != "" && len(name) <= maxPath && name[0] != '/' && clean != "." && clean != ".." &&
		!strings.HasPrefix(clean, "../") && !strings.ContainsAny(name, "\x00\\")
}

func envNameOf(name string) string {
	if isEnvName(name) && !isEnvReserved(name) {
		return name
	}
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		switch {
		case c >= 'a' && c <= 'z':
			b.WriteByte(c - 'a' + 'A')
		case c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
			b.WriteByte(c)
		default:
			b.WriteByte('_')
		}
	}
	if out := b.String(); isEnvName(out) && !isEnvReserved(out) {
		return out
	}
	return "SECRET_" + b.String()
}

// short reads text of a name or label.
func (r *reader) short(n *node) string {
	text, known := r.text(n)
	if known && (len(text) > maxURL || strings.ContainsAny(text, "\x00\n\r")) {
		r.fault(n, CodeInvalidValue, r.show(n)+" cannot stand here", fmt.Sprintf("one line of at most %d bytes", maxURL))
		return ""
	}
	return text
}

// path reads the name of a file or directory.
func (r *reader) path(n *node) string {
	text, known := r.text(n)
	if known && (len(text) > maxPath || strings.ContainsAny(text, "\x00\n\r")) {
		r.fault(n, CodeInvalidValue, r.show(n)+" is no path", fmt.Sprintf("one line of at most %d bytes", maxPath))
		return ""
	}
	return text
}

func (r *reader) paths(n *node) []string {
	items := r.list(n)
	if len(items) > maxPaths {
		r.fault(n, CodeInvalidValue, "there are too many paths", fmt.Sprintf("at most %d", maxPaths))
		return nil
	}
	for _, it := range items {
		if it.known && (it.text == "" || len(it.text) > maxPath || strings.ContainsAny(it.text, "\x00\n\r")) {
			r.fault(it.node, CodeInvalidValue, r.show(it.node)+" is no path", fmt.Sprintf("one line of 1 to %d bytes", maxPath))
		}
	}
	return textsOf(items)
}

// oneOf reads one of a few words, in any case. What is not known yet is otherwise.
func (r *reader) oneOf(n *node, otherwise string, words []string) string {
	text, known := r.text(n)
	if !known || text == "" {
		return otherwise
	}
	for _, word := range words {
		if strings.EqualFold(word, text) {
			return word
		}
	}
	r.fault(n, CodeInvalidValue, r.show(n)+" is not known here", "one of "+strings.Join(words, ", "))
	return otherwise
}

// required reports a key that a mapping has to hold.
func (r *reader) required(n *node, key, expected string) {
	if n.kind != nodeMap {
		return
	}
	if v := n.get(key); v == nil || v.kind == nodeNull {
		r.fault(n, CodeMissingField, "the field "+key+" is missing", expected)
	}
}

// entries returns the items of a list; a single mapping or value counts as a list of one.
func (r *reader) entries(n *node, what string) []*node {
	switch n.kind {
	case nodeNull:
		return nil
	case nodeList:
		if len(n.items) > maxPaths {
			r.fault(n, CodeInvalidValue, "the list is too long", fmt.Sprintf("at most %d", maxPaths))
			return nil
		}
		out := make([]*node, 0, len(n.items))
		for _, item := range n.items {
			if item.kind == nodeNull || item.kind == nodeList {
				r.fault(item, CodeInvalidType, what+" is "+item.kind.String(), "a mapping or text")
				continue
			}
			out = append(out, item)
		}
		return out
	default:
		return []*node{n}
	}
}

// mappings is entries for lists that hold mappings only.
func (r *reader) mappings(n *node, what string) []*node {
	items := r.entries(n, what)
	return slices.DeleteFunc(items, func(item *node) bool {
		if item.kind != nodeMap {
			r.fault(item, CodeInvalidType, what+" is "+item.kind.String(), "a mapping")
			return true
		}
		return false
	})
}

func whens() []string { return []string{OnSuccess, OnFailure, Always, Never} }
