package jobspec

import (
	"path"
	"slices"
	"strings"

	"github.com/formicary/formicary/libs/jobspec/environ"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// Bounds of options.
const (
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
		r.options().Name = r.Short(n)
	case "helper":
		r.options().Helper = r.container(p)
	case "services":
		r.options().Services = r.services(n)
	case "privileged":
		r.options().Privileged = r.Flag(n)
	case "host_network":
		r.options().HostNetwork = r.Flag(n)
	case "network_mode":
		r.options().NetworkMode = r.Short(n)
	case "affinity":
		r.options().Affinity = r.affinity(p)
	case "node_selector":
		r.options().NodeSelector = r.Texts(n)
	case "node_tolerations":
		r.options().Tolerations = r.tolerations(n)
	case "pod_labels":
		r.options().PodLabels = r.Texts(n)
	case "pod_annotations":
		r.options().PodAnnotations = r.Texts(n)
	case "helper_environment":
		r.options().HelperEnvironment = r.Texts(n)
	case "cost_factor":
		r.options().CostFactor = r.Number(n, 0, 1e6)
	case "execute_command_without_shell":
		r.options().WithoutShell = r.Flag(n)
	case "debug":
		r.options().Debug = r.Flag(n)
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
		r.options().ArtifactsDir = r.Path(n)
	case "artifact_key_prefix":
		r.options().ArtifactKeyPrefix = r.Short(n)
	case "dependent_artifact_ids":
		r.options().DependentArtifactIDs = read.Texts(r.List(n))
	case "cache":
		r.options().Cache = r.cache(p)
	case "cache_dir":
		r.options().CacheDir = r.Path(n)
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
	r.Mapping(at.Value, func(p *source.Pair) {
		switch r.Misspelled(p, at.Value, "artifacts") {
		case "paths":
			a.Paths = r.Paths(p.Value)
		case "when":
			a.When = r.Moments(p.Value, plan.OnSuccess)
		case "expires_after":
			a.ExpiresAfter = r.DurationUpTo(p.Value, read.MaxExpiry)
		default:
			r.Unknown(p, artifactFields)
		}
	}, at)
	r.Required(at.Value, "paths", "the files to keep")
	return a
}

func (r *taskFieldReader) cache(at *source.Pair) *plan.Cache {
	if at.Value.Kind == source.Null {
		return nil
	}
	c := &plan.Cache{}
	r.Mapping(at.Value, func(p *source.Pair) {
		switch r.Misspelled(p, at.Value, "cache") {
		case "key":
			c.Key = r.Short(p.Value)
		case "key_paths":
			c.KeyPaths = r.Paths(p.Value)
		case "paths":
			c.Paths = r.Paths(p.Value)
		case "expires_after":
			c.ExpiresAfter = r.DurationUpTo(p.Value, read.MaxExpiry)
		default:
			r.Unknown(p, cacheFields)
		}
	}, at)
	r.Required(at.Value, "paths", "the files to keep")
	r.cacheKey(c, at.Value)
	return c
}

// secrets reads names, or {name, env, file}. A name alone is delivered in a variable: of the same name, or of the name
// in capitals with _ for what no variable can hold.
func (r *reader) secrets(n *source.Node) []plan.Secret {
	var out []plan.Secret
	for _, item := range r.Entries(n, "a secret") {
		s := plan.Secret{}
		if item.Kind == source.Map {
			for i := range item.Pairs {
				r.secretField(&s, &item.Pairs[i])
			}
			r.Required(item, "name", "the name of the secret")
		} else {
			s.Name = r.Short(item)
		}
		if s.Env == "" && s.File == "" {
			s.Env = envNameOf(s.Name)
		}
		if slices.ContainsFunc(out, func(o plan.Secret) bool { return o.Name == s.Name && o.Env == s.Env && o.File == s.File }) {
			r.Fault(item, source.CodeDuplicateKey, "the secret is named twice", "each once")
		}
		out = append(out, s)
	}
	return out
}

func (r *reader) secretField(s *plan.Secret, p *source.Pair) {
	switch p.Key {
	case "name":
		s.Name = r.Short(p.Value)
	case "env":
		text, known := r.Text(p.Value)
		if known && (!value.IsEnvName(text) || environ.Reserved(text)) {
			r.Fault(p.Value, source.CodeInvalidName, r.Show(p.Value)+" cannot name a variable for a secret", "letters, digits and _, no variable of the system")
			return
		}
		s.Env = text
	case "file":
		text, known := r.Text(p.Value)
		if known && !isInside(text) {
			r.Fault(p.Value, source.CodeInvalidValue, r.Show(p.Value)+" is no path inside the working directory", "a relative path without ..")
			return
		}
		s.File = text
	default:
		r.Unknown(p, secretFields)
	}
}

// isInside reports whether a path stays below the directory that it is relative to.
func isInside(name string) bool {
	clean := path.Clean(name)
	return name != "" && len(name) <= read.MaxPath && name[0] != '/' && clean != "." && clean != ".." &&
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
