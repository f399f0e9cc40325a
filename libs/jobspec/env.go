package jobspec

import (
	"slices"
	"sort"
	"strings"
)

// Bounds of a process's environment: execve takes 128 KiB for one variable on Linux and, with the arguments, 2 MiB for
// all of them. Values beyond that are for templates and files.
const (
	maxEnvValue = 64 << 10
	maxEnvTotal = 1 << 20
)

// Env returns the environment of the task's process: all variables and parameters as text, the task's own variables,
// and its declared environment on top. Variables whose name no shell can use, or that are longer than a process can
// take, are left out, and so are those that would change how a program is found or run, unless the definition itself
// has a variable, a parameter or an entry of environment with that name: whoever may submit a job must not thereby
// choose what its scripts execute.
func (t *Task) Env(vars Vars) map[string]string {
	env := make(map[string]string, len(vars)+len(t.Spec.Variables)+len(t.Spec.Environment))
	for _, layer := range [...]map[string]any{vars, t.Spec.Variables} {
		for name, v := range layer {
			if isEnvName(name) && !isEnvOwn(name) && (!isEnvReserved(name) || t.exports(name)) {
				setEnv(env, name, textOf(v))
			}
		}
	}
	for name, v := range t.Spec.Environment {
		setEnv(env, name, v)
	}
	t.shrink(env)
	return env
}

// exports reports whether the definition declares a reserved name.
func (t *Task) exports(name string) bool {
	_, declared := slices.BinarySearch(t.Exports, name)
	return declared
}

// shrink leaves out the longest variables until the rest fits. What is declared under environment stays.
func (t *Task) shrink(env map[string]string) {
	total := 0
	for name, v := range env {
		total += len(name) + len(v) + 2
	}
	if total <= maxEnvTotal {
		return
	}
	names := sortedKeys(env)
	sort.SliceStable(names, func(i, j int) bool { return len(env[names[i]]) > len(env[names[j]]) })
	for _, name := range names {
		if _, declared := t.Spec.Environment[name]; declared {
			continue
		}
		if total <= maxEnvTotal {
			return
		}
		total -= len(name) + len(env[name]) + 2
		delete(env, name)
	}
}

func setEnv(env map[string]string, name, value string) {
	if len(value) <= maxEnvValue && strings.IndexByte(value, 0) < 0 {
		env[name] = value
	} else {
		delete(env, name) // a lower layer must not show through
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

// isEnvOwn names what the ant itself tells the task.
func isEnvOwn(name string) bool { return strings.HasPrefix(name, "FORMICARY_") }

// isEnvReserved names what a parameter must not set behind the back of the definition: with these a value becomes a
// command, a library or a server that the task did not choose.
func isEnvReserved(name string) bool {
	switch name {
	case // Where the shell finds programs and how it reads its script.
		"PATH", "HOME", "SHELL", "IFS", "ENV", "BASH_ENV", "SHELLOPTS", "BASHOPTS", "PS4", "CDPATH", "GLOBIGNORE",
		"PROMPT_COMMAND", "ZDOTDIR", "FPATH", "TMPDIR", "XDG_CONFIG_HOME",
		// What the C library loads.
		"GCONV_PATH", "GLIBC_TUNABLES", "LOCPATH", "NLSPATH", "HOSTALIASES", "RES_OPTIONS",
		// Code that interpreters and virtual machines load before the program.
		"NODE_OPTIONS", "NODE_PATH", "PERL5LIB", "PERL5OPT", "PERL5DB", "PERLLIB", "RUBYOPT", "RUBYLIB", "BUNDLE_GEMFILE",
		"JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "JAVA_OPTS", "MAVEN_OPTS", "MAVEN_ARGS", "GRADLE_OPTS",
		"SBT_OPTS", "CLASSPATH", "PHPRC", "PHP_INI_SCAN_DIR", "LUA_INIT", "LUA_PATH", "LUA_CPATH", "R_PROFILE",
		"R_PROFILE_USER", "R_ENVIRON", "DOTNET_STARTUP_HOOKS", "ERL_FLAGS", "ERL_AFLAGS",
		// Commands and flags of build tools.
		"CC", "CXX", "CPP", "LD", "AR", "MAKEFLAGS", "MFLAGS", "MAKEFILES", "GOFLAGS", "GOENV", "GOTOOLCHAIN", "GOPROXY",
		"RUSTC", "RUSTC_WRAPPER", "RUSTFLAGS", "CMAKE_TOOLCHAIN_FILE", "PKG_CONFIG_PATH",
		// Commands that programs call.
		"EDITOR", "VISUAL", "PAGER", "MANPAGER", "BROWSER", "LESSOPEN", "LESSCLOSE", "SSH_ASKPASS", "SUDO_ASKPASS",
		"GIT_SSH", "GIT_SSH_COMMAND", "GIT_ASKPASS", "GIT_EDITOR", "GIT_SEQUENCE_EDITOR", "GIT_PAGER", "GIT_EXTERNAL_DIFF",
		"GIT_PROXY_COMMAND", "GIT_EXEC_PATH", "GIT_TEMPLATE_DIR", "GIT_DIR", "GIT_WORK_TREE", "RSYNC_RSH", "CVS_RSH",
		// Configuration with commands or credentials in it, and the servers that are talked to.
		"KUBECONFIG", "DOCKER_HOST", "DOCKER_CONFIG", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "CURL_HOME",
		"NETRC", "WGETRC", "OPENSSL_CONF",
		// Whom connections trust.
		"SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS",
		"NODE_TLS_REJECT_UNAUTHORIZED", "GIT_SSL_NO_VERIFY", "SSLKEYLOGFILE":
		return true
	}
	for _, prefix := range [...]string{
		"LD_", "DYLD_", // the loader
		"MALLOC_",               // the allocator's debugging
		"PYTHON", "PIP_", "UV_", // PYTHONPATH, PYTHONSTARTUP, PYTHONHOME, PIP_INDEX_URL …
		"GIT_CONFIG", // GIT_CONFIG_COUNT, _KEY_0 … hold settings that are commands
		"npm_config_", "NPM_CONFIG_", "YARN_", "CARGO_", "BASH_FUNC_",
	} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	switch strings.ToLower(name) { // programs look for either case
	case "http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy":
		return true
	}
	return false
}

// findExports lists the reserved names that the job declares as a variable or a parameter, in order.
func findExports(root *node) (exports []string) {
	add := func(name string) {
		if isEnvReserved(name) {
			exports = append(exports, name)
		}
	}
	for _, field := range [...]string{"configs", "variables", "job_variables", "params"} {
		n := root.get(field)
		if n == nil {
			continue
		}
		for i := range n.pairs {
			add(n.pairs[i].key)
		}
		for _, item := range n.items {
			if name := item.get("name"); name != nil && !name.templated {
				add(name.text)
			}
		}
	}
	slices.Sort(exports)
	return slices.Compact(exports)
}

// exports lists the reserved names that the job or the task declares, in order: by its own variables and as variables of
// its items.
func (r *reader) exports(own map[string]any, items []string) []string {
	names := slices.Clip(r.shape.exports) // shared by all tasks: what is appended goes elsewhere
	for name := range own {
		if isEnvReserved(name) {
			names = append(names, name)
		}
	}
	for _, name := range items {
		if isEnvReserved(name) {
			names = append(names, name)
		}
	}
	if len(names) == len(r.shape.exports) {
		return r.shape.exports
	}
	slices.Sort(names)
	return slices.Compact(names)
}
