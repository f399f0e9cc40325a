package environ

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// Bounds of a process's environment: execve takes 128 KiB for one variable on Linux and, with the arguments, 2 MiB for
// all of them. Longer values are given in files, as many as maxEnvFiles has room for.
const (
	maxEnvValue = 64 << 10
	maxEnvTotal = 1 << 20
	maxEnvFiles = 8 << 20
	// minEnvFile is the length below which a value is no longer than the path of its file.
	minEnvFile = 512
)

// Env is what a process gets.
type Env struct {
	Vars map[string]string
	// Files are values that are too long for Vars. Each is given as a file whose path is NAME_FILE.
	Files map[string]string
	// Notes tell people, a line each, what is not in Vars.
	Notes []string
}

// Of returns the environment of the task's process: all variables and parameters as text, the task's own
// variables, and its declared environment on top. Variables whose name no shell can use are left out, and so are those that
// would change how a program is found or run, unless the definition itself has a variable, a parameter or an entry of
// environment with that name: whoever may submit a job must not thereby choose what its scripts execute.
func Of(t *plan.Task, vars value.Vars) Env {
	e := Env{Vars: make(map[string]string, len(vars)+len(t.Spec.Variables)+len(t.Spec.Environment))}
	for _, layer := range [...]map[string]any{vars, t.Spec.Variables} {
		for name, v := range layer {
			if value.IsEnvName(name) && !Own(name) && (!Reserved(name) || exports(t, name)) {
				setEnv(e.Vars, name, value.Text(v))
			}
		}
	}
	for name, v := range t.Spec.Environment {
		setEnv(e.Vars, name, v)
	}
	shrink(t, &e)
	return e
}

// exports reports whether the definition declares a reserved name.
func exports(t *plan.Task, name string) bool {
	_, declared := slices.BinarySearch(t.Exports, name)
	return declared
}

// shrink moves values that are too long, and the longest until the rest fits, to files. What is declared under environment
// stays longest.
func shrink(t *plan.Task, e *Env) {
	total := 0
	for name, v := range e.Vars {
		total += len(name) + len(v) + 2
	}
	if total <= maxEnvValue {
		return
	}
	names := value.SortedKeys(e.Vars)
	given := maps.Clone(e.Vars)
	// A name that is reserved stays so: AWS_CONFIG must not become a file that AWS_CONFIG_FILE names.
	taken := func(name string) bool {
		_, own := given[name]
		return own || Reserved(name) && !exports(t, name)
	}
	declared := func(name string) bool { _, ok := t.Spec.Environment[name]; return ok }
	slices.SortStableFunc(names, func(a, b string) int {
		if x, y := len(e.Vars[a]) > maxEnvValue, len(e.Vars[b]) > maxEnvValue; x != y {
			return cmp.Compare(btoi(y), btoi(x))
		}
		if x, y := declared(a), declared(b); x != y {
			return cmp.Compare(btoi(x), btoi(y))
		}
		return cmp.Compare(len(e.Vars[b]), len(e.Vars[a]))
	})
	room := maxEnvFiles
	var left []string
	for _, name := range names {
		v := e.Vars[name]
		if len(v) <= maxEnvValue && total <= maxEnvTotal {
			break
		}
		total -= len(name) + len(v) + 2
		delete(e.Vars, name)
		if !t.Spec.Shell || taken(name+envFile) || len(v) > room || len(v) < minEnvFile { // only scripts get files
			left = append(left, name)
			continue
		}
		if e.Files == nil {
			e.Files = map[string]string{}
		}
		room -= len(v)
		e.Files[name] = v
		e.Notes = append(e.Notes, fmt.Sprintf("$%s is not set: its %d bytes are too many for the environment. They are in the file that $%s%s names.", name, len(v), name, envFile))
	}
	if len(left) > 0 {
		e.Notes = append(e.Notes, NoteLeftOut(t, len(left), strings.Join(left[:min(len(left), maxNoted)], ", ")))
	}
}

const (
	envFile  = "_FILE"
	maxNoted = 20
)

// NoteLeftOut is the note about variables that have no room; names are some of them.
func NoteLeftOut(t *plan.Task, count int, names string) string {
	if names != "" {
		names = " (" + names + ")"
	}
	how := "A script gets the value of a variable by {{.name}}."
	if !t.Spec.Shell {
		how = "A worker gets the value of a variable that its task declares: variables: {name: '{{.name}}'}."
	}
	return fmt.Sprintf("%d variables%s are not set: the environment has no room for them. %s", count, names, how)
}

// Wanted reports whether whoever executes the task gets its environment: a script, or a worker.
func Wanted(t *plan.Task) bool {
	return t.Spec.Shell || t.Method == plan.MethodMessaging || t.Method == plan.MethodWebsocket
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// setEnv sets a variable; what no process can hold leaves it out, so that a lower layer does not show through.
func setEnv(env map[string]string, name, val string) {
	if strings.IndexByte(val, 0) < 0 {
		env[name] = val
	} else {
		delete(env, name)
	}
}

// Own names what the ant itself tells the task.
func Own(name string) bool { return strings.HasPrefix(name, "FORMICARY_") }

// Reserved names what a parameter must not set behind the back of the definition: with these a value becomes a
// command, a library or a server that the task did not choose.
func Reserved(name string) bool {
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
