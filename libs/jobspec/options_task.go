package jobspec

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/formicary/formicary/libs/jobspec/environ"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
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
func (r *taskFieldReader) option(p *source.Pair) bool {
	switch p.Key {
	case "container":
		r.mainContainer(p)
	case "webhook":
		r.t.task.Webhook = r.webhook(p)
	case "secrets":
		r.t.task.Secrets = r.secrets(p.Value)
	case "resources":
		r.t.task.Resources = r.resources(p.Value)
	default:
		return r.podOption(p) || r.fileOption(p)
	}
	return true
}

func (r *taskFieldReader) options() *plan.Options {
	if r.t.task.Spec.Options == nil {
		r.t.task.Spec.Options = &plan.Options{}
	}
	return r.t.task.Spec.Options
}

func (r *taskFieldReader) podOption(p *source.Pair) bool {
	n := p.Value
	switch p.Key {
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

func (r *taskFieldReader) fileOption(p *source.Pair) bool {
	n := p.Value
	switch p.Key {
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
func (r *taskFieldReader) mainContainer(p *source.Pair) {
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

func (r *reader) artifacts(at *source.Pair) *plan.Artifacts {
	if at.Value.Kind == source.Null {
		return nil
	}
	a := &plan.Artifacts{When: plan.OnSuccess}
	r.mapping(at.Value, func(p *source.Pair) {
		switch r.misspelled(p, at.Value, "artifacts") {
		case "paths":
			a.Paths = r.paths(p.Value)
		case "when":
			a.When = r.moments(p.Value, plan.OnSuccess)
		case "expires_after":
			a.ExpiresAfter = r.durationUpTo(p.Value, maxExpiry)
		default:
			r.unknown(p, artifactFields)
		}
	}, at)
	r.required(at.Value, "paths", "the files to keep")
	return a
}

func (r *taskFieldReader) cache(at *source.Pair) *plan.Cache {
	if at.Value.Kind == source.Null {
		return nil
	}
	c := &plan.Cache{}
	r.mapping(at.Value, func(p *source.Pair) {
		switch r.misspelled(p, at.Value, "cache") {
		case "key":
			c.Key = r.short(p.Value)
		case "key_paths":
			c.KeyPaths = r.paths(p.Value)
		case "paths":
			c.Paths = r.paths(p.Value)
		case "expires_after":
			c.ExpiresAfter = r.durationUpTo(p.Value, maxExpiry)
		default:
			r.unknown(p, cacheFields)
		}
	}, at)
	r.required(at.Value, "paths", "the files to keep")
	r.cacheKey(c, at.Value)
	return c
}

// secrets reads names, or {name, env, file}. A name alone is delivered in a variable: of the same name, or of the name
// in capitals with _ for what no variable can hold.
func (r *reader) secrets(n *source.Node) []plan.Secret {
	var out []plan.Secret
	for _, item := range r.entries(n, "a secret") {
		s := plan.Secret{}
		if item.Kind == source.Map {
			for i := range item.Pairs {
				r.secretField(&s, &item.Pairs[i])
			}
			r.required(item, "name", "the name of the secret")
		} else {
			s.Name = r.short(item)
		}
		if s.Env == "" && s.File == "" {
			s.Env = envNameOf(s.Name)
		}
		if slices.ContainsFunc(out, func(o plan.Secret) bool { return o.Name == s.Name && o.Env == s.Env && o.File == s.File }) {
			r.fault(item, source.CodeDuplicateKey, "the secret is named twice", "each once")
		}
		out = append(out, s)
	}
	return out
}

func (r *reader) secretField(s *plan.Secret, p *source.Pair) {
	switch p.Key {
	case "name":
		s.Name = r.short(p.Value)
	case "env":
		text, known := r.text(p.Value)
		if known && (!value.IsEnvName(text) || environ.Reserved(text)) {
			r.fault(p.Value, source.CodeInvalidName, r.show(p.Value)+" cannot name a variable for a secret", "letters, digits and _, no variable of the system")
			return
		}
		s.Env = text
	case "file":
		text, known := r.text(p.Value)
		if known && !isInside(text) {
			r.fault(p.Value, source.CodeInvalidValue, r.show(p.Value)+" is no path inside the working directory", "a relative path without ..")
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
	if value.IsEnvName(name) && !environ.Reserved(name) {
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
	if out := b.String(); value.IsEnvName(out) && !environ.Reserved(out) {
		return out
	}
	return "SECRET_" + b.String()
}

// short reads text of a name or label.
func (r *reader) short(n *source.Node) string {
	text, known := r.text(n)
	if known && (len(text) > maxURL || strings.ContainsAny(text, "\x00\n\r")) {
		r.fault(n, source.CodeInvalidValue, r.show(n)+" cannot stand here", fmt.Sprintf("one line of at most %d bytes", maxURL))
		return ""
	}
	return text
}

// path reads the name of a file or directory.
func (r *reader) path(n *source.Node) string {
	text, known := r.text(n)
	if known && (len(text) > maxPath || strings.ContainsAny(text, "\x00\n\r")) {
		r.fault(n, source.CodeInvalidValue, r.show(n)+" is no path", fmt.Sprintf("one line of at most %d bytes", maxPath))
		return ""
	}
	return text
}

func (r *reader) paths(n *source.Node) []string {
	items := r.list(n)
	if len(items) > maxPaths {
		r.fault(n, source.CodeInvalidValue, "there are too many paths", fmt.Sprintf("at most %d", maxPaths))
		return nil
	}
	for _, it := range items {
		if it.known && (it.text == "" || len(it.text) > maxPath || strings.ContainsAny(it.text, "\x00\n\r")) {
			r.fault(it.node, source.CodeInvalidValue, r.show(it.node)+" is no path", fmt.Sprintf("one line of 1 to %d bytes", maxPath))
		}
	}
	return textsOf(items)
}

// oneOf reads one of a few words, in any case. What is not known yet is otherwise.
func (r *reader) oneOf(n *source.Node, otherwise string, words []string) string {
	text, known := r.text(n)
	if !known || text == "" {
		return otherwise
	}
	for _, word := range words {
		if strings.EqualFold(word, text) {
			return word
		}
	}
	r.fault(n, source.CodeInvalidValue, r.show(n)+" is not known here", "one of "+strings.Join(words, ", "))
	return otherwise
}

// required reports a key that a mapping has to hold.
func (r *reader) required(n *source.Node, key, expected string) {
	if n.Kind != source.Map {
		return
	}
	if v := n.Get(key); v == nil || v.Kind == source.Null {
		r.fault(n, source.CodeMissingField, "the field "+key+" is missing", expected)
	}
}

// entries returns the items of a list; a single mapping or value counts as a list of one.
func (r *reader) entries(n *source.Node, what string) []*source.Node {
	switch n.Kind {
	case source.Null:
		return nil
	case source.List:
		if len(n.Items) > maxPaths {
			r.fault(n, source.CodeInvalidValue, "the list is too long", fmt.Sprintf("at most %d", maxPaths))
			return nil
		}
		out := make([]*source.Node, 0, len(n.Items))
		for _, item := range n.Items {
			if item.Kind == source.Null || item.Kind == source.List {
				r.fault(item, source.CodeInvalidType, what+" is "+item.Kind.String(), "a mapping or text")
				continue
			}
			out = append(out, item)
		}
		return out
	default:
		return []*source.Node{n}
	}
}

// mappings is entries for lists that hold mappings only.
func (r *reader) mappings(n *source.Node, what string) []*source.Node {
	items := r.entries(n, what)
	return slices.DeleteFunc(items, func(item *source.Node) bool {
		if item.Kind != source.Map {
			r.fault(item, source.CodeInvalidType, what+" is "+item.Kind.String(), "a mapping")
			return true
		}
		return false
	})
}
