package jobspec

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/formicary/formicary/libs/jobspec/environ"
	"github.com/formicary/formicary/libs/jobspec/notify"
	"github.com/formicary/formicary/libs/jobspec/option"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/schema"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// option reads a field about containers, pods, artifacts or the cache. It returns false when the key is none of these.
func (r *taskFieldReader) option(p *source.Pair) bool {
	switch p.Key {
	case "container":
		r.mainContainer(p)
	case "webhook":
		r.decidedBy(func() { r.webhook(p) })
	case "secrets":
		r.t.task.Secrets = r.secrets(p.Value)
	case "resources":
		r.t.task.Resources = r.resources(p.Value)
	default:
		return option.Read(r.Reader, p, r.t.task.Name, r.options)
	}
	return true
}

// webhook reads whom the end of the task is told. What is sent is known before the task starts.
func (r *taskFieldReader) webhook(p *source.Pair) {
	unset := len(r.Unset)
	w := notify.Webhook(r.Reader, p)
	if w != nil {
		w.Late = !r.Moment.Deciding && (r.Late || len(r.Unset) > unset)
	}
	r.t.task.Webhook = w
}

func (r *taskFieldReader) options() *plan.Options {
	if r.t.task.Spec.Options == nil {
		r.t.task.Spec.Options = &plan.Options{}
	}
	return r.t.task.Spec.Options
}

// mainContainer reads the container of the script. The limits of any process are in the Spec as well.
func (r *taskFieldReader) mainContainer(p *source.Pair) {
	c := option.Container(r.Reader, p)
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
			s.Env = envNameOf(plainName(s.Name))
		}
		if s.File != "" {
			s.FileEnv = cmp.Or(s.Env, envNameOf(plainName(s.Name))) + "_FILE"
		}
		if slices.ContainsFunc(out, func(o plan.Secret) bool { return o.Name == s.Name && o.Env == s.Env && o.File == s.File }) {
			r.Fault(item, source.CodeDuplicateKey, "the secret is named twice", "each once")
		}
		out = append(out, s)
	}
	return out
}

// showSecrets lets the templates of the section see the secrets that it names: by the variable in which each is delivered, and by its
// name where that can be one. Before the claim they are unknown, so nothing but the task itself can be made of them.
func (r *reader) showSecrets(n *source.Node) {
	if n == nil {
		return
	}
	quiet := *r
	quiet.Reader = new(*r.Reader)
	quiet.Collector = &source.Collector{}
	shown := value.Vars{}
	for _, s := range quiet.secrets(n) {
		v := r.Machine.Scope.Lookups.Secret(s.Name)
		for _, name := range [...]string{plainName(s.Name), s.Env} {
			if name != "" {
				shown[name] = v
			}
		}
	}
	r.Machine.Scope.Secrets = shown
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
			r.Fault(p.Value, source.CodeInvalidValue, r.Show(p.Value)+" is no path inside the directory of secrets", "a relative path without ..")
			return
		}
		s.File = text
	default:
		r.Unknown(p, schema.Secret)
	}
}

// isInside reports whether a path stays below the directory that it is relative to.
func isInside(name string) bool {
	clean := path.Clean(name)
	return name != "" && len(name) <= read.MaxPath && name[0] != '/' && clean != "." && clean != ".." &&
		!strings.HasPrefix(clean, "../") && !strings.ContainsAny(name, "\x00\\")
}

// plainName is the name under which a task knows a secret: that of a parameter, which is named params.NAME, is NAME.
func plainName(name string) string { return strings.TrimPrefix(name, "params.") }

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
