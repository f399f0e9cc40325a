package template

// Lookups is what a rendering has looked at, so that only that has to be there: whoever renders with a part of the
// outputs and tasks of a run sees whether it was enough, and renders again with what was missing. A rendering looks at
// the same things whenever what it has found there is the same.
type Lookups struct {
	// Vars are the names of variables, found or not. Names that a template computes are among them.
	Vars map[string]bool
	// All says that it went through all variables: {{range .}}, vars as a whole or with a name that CEL computes.
	All bool
	// Tasks that conditions ask about, by name; AllTasks says that one goes through them.
	Tasks    map[string]TaskFields
	AllTasks bool

	// Secrets are the values of those that the section's task names, by their names; what is not here is not known yet.
	Secrets map[string]string

	// Hosts says that functions which ask a host may stand in the section: Host answers them, and where it is nil Asked
	// says that one was asked for, and the result is of no use. HostErr is an error of Host, which is no fault of the
	// definition.
	Hosts   bool
	Host    Host
	Asked   bool
	HostErr error
}

// Hosting is what answers the functions of a section at its claim; nil when nothing does.
func (l *Lookups) Hosting() *Hosting {
	if l == nil || !l.Hosts {
		return nil
	}
	return &Hosting{Host: l.Host, Vague: l.Host == nil}
}

// Secret returns a secret, or that it is not known.
func (l *Lookups) Secret(name string) any {
	if l != nil {
		if v, ok := l.Secrets[name]; ok {
			return v
		}
	}
	return Unknown{}
}

// TaskFields is what is asked of a task beside its state, exit code, failure class and message.
type TaskFields struct {
	Result     bool
	AllOutputs bool
	Outputs    map[string]bool
}

func (l *Lookups) variable(name string) {
	if l == nil || l.Vars[name] || IsResultName(name) {
		return
	}
	if l.Vars == nil {
		l.Vars = map[string]bool{}
	}
	l.Vars[name] = true
}

func (l *Lookups) everything() {
	if l != nil {
		l.All = true
	}
}
