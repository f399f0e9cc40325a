// Package script makes the text of a shell session from the lines of a task. What a task's script means is decided here, for
// every executor that has a shell.
package script

import "strings"

// After is where the parts of an after_script are.
type After struct {
	// File holds its lines; Code gets the exit code of the session as a line, added before after_script can change it.
	File, Code string
}

// Compose makes the script of a session: prelude, then before and script under set -e, with after_script in the exit trap,
// whose functions carry names that a script does not use. after is nil when there is none.
func Compose(prelude string, before, script []string, after *After) string {
	var s strings.Builder
	s.WriteString(prelude)
	if after != nil {
		// TERM must end the shell by its exit trap.
		s.WriteString("__formicary_after() { __formicary_code=$?; trap - EXIT TERM; set +e; " +
			"echo $__formicary_code >>" + Quote(after.Code) + "; . " + Quote(after.File) + "; exit $__formicary_code; }; " +
			"trap __formicary_after EXIT; trap 'exit 143' TERM; ")
	}
	s.WriteString("set -e\n")
	s.WriteString(Lines(before))
	s.WriteString(Lines(script))
	return s.String()
}

// Noting is a prelude for a session without after_script: it adds its exit code to a file, unless it is killed or the script
// has an exit trap of its own.
func Noting(file string) string {
	return "trap " + Quote("{ __formicary_code=$?; set +ex; echo $__formicary_code >>"+Quote(file)+"; } 2>/dev/null; exit $__formicary_code") + " EXIT; "
}

// Lines joins the lines of a script.
func Lines(lines []string) string {
	var s strings.Builder
	for _, line := range lines {
		s.WriteString(exported(line))
		s.WriteByte('\n')
	}
	return s.String()
}

// Quote makes one word of s for the shell.
func Quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// exported makes of a line `env NAME=VALUE` what existing definitions mean by it: a change of the environment of the
// lines that follow. Run as a command it would print the environment. Any other line, `env NAME=VALUE command` among
// them, stays as it is.
func exported(line string) string {
	rest, ok := strings.CutPrefix(strings.TrimSpace(line), "env")
	assignment := strings.TrimLeft(rest, " \t")
	if !ok || assignment == rest {
		return line
	}
	name, value, ok := strings.Cut(assignment, "=")
	if !ok || !IsName(name) || !isWord(value) {
		return line
	}
	// An assignment is not split at spaces, as the arguments of export are in some shells.
	return name + "=" + value + "; export " + name
}

// IsName reports whether s can be the name of a variable of the shell.
func IsName(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c == '_', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', i > 0 && c >= '0' && c <= '9':
		default:
			return false
		}
	}
	return s != ""
}

// isWord reports whether s is one word of the shell: quoted, or without anything that ends a word or a command.
// Command substitutions are none of its business: a line that has one outside of quotes is not a word.
func isWord(s string) bool {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '\'', '"':
			end := closing(s[i+1:], c)
			if end < 0 {
				return false
			}
			i += end + 1
		case '\\':
			i++
			if i == len(s) {
				return false
			}
		case ' ', '\t', '\n', '\r', ';', '&', '|', '<', '>', '(', ')', '`':
			return false
		}
	}
	return true
}

// closing finds the quote that ends a quoted text; -1 when there is none, or when it holds a substitution, in which
// quotes may stand for themselves.
func closing(s string, quote byte) int {
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == quote:
			return i
		case quote == '\'':
		case s[i] == '\\':
			i++
		case s[i] == '`', s[i] == '(':
			return -1
		}
	}
	return -1
}
