package jobspec

import "strings"

// maxEnvEntry is what Linux takes for one variable of a process.
const maxEnvEntry = 128<<10 - 1

// Env returns the environment of the task's process: all variables and parameters as text, the task's own variables,
// and its declared environment on top. Variables whose name no shell can use, or that are longer than a process can
// take, are left out, and so are those that would change how the shell and the loader work: these have to be declared
// under environment.
func (t *Task) Env(vars Vars) map[string]string {
	env := make(map[string]string, len(vars)+len(t.Spec.Variables)+len(t.Spec.Environment))
	for _, layer := range [...]map[string]any{vars, t.Spec.Variables} {
		for name, v := range layer {
			if isEnvName(name) && !isEnvReserved(name) {
				setEnv(env, name, textOf(v))
			}
		}
	}
	for name, v := range t.Spec.Environment {
		setEnv(env, name, v)
	}
	return env
}

func setEnv(env map[string]string, name, value string) {
	if len(name)+1+len(value) < maxEnvEntry && strings.IndexByte(value, 0) < 0 {
		env[name] = value
	}
}

func isEnvName(name string) bool {
	if name == "" || name[0] >= '0' && name[0] <= '9' {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// isEnvReserved names what a parameter must not set behind the back of the definition.
func isEnvReserved(name string) bool {
	switch name {
	case "PATH", "HOME", "SHELL", "IFS", "ENV", "BASH_ENV", "SHELLOPTS", "BASHOPTS", "PS4", "CDPATH", "GLOBIGNORE",
		"PROMPT_COMMAND":
		return true
	}
	return strings.HasPrefix(name, "LD_") || strings.HasPrefix(name, "DYLD_") || strings.HasPrefix(name, "FORMICARY_")
}
