package shell

import "strings"

// compose makes the script of a session. The functions of after_script carry names that a script does not use.
func compose(b *berth, before, script []string, after bool, prelude string) string {
	var s strings.Builder
	s.WriteString(prelude)
	if after {
		// The exit code is noted before after_script can change it; TERM must end the shell by its exit trap.
		s.WriteString("__formicary_after() { __formicary_code=$?; trap - EXIT TERM; set +e; " +
			"echo $__formicary_code >" + quote(b.path(codeFile)) + "; . " + quote(b.path(afterFile)) + "; exit $__formicary_code; }; " +
			"trap __formicary_after EXIT; trap 'exit 143' TERM; ")
	}
	s.WriteString("set -e\n")
	for _, lines := range [][]string{before, script} {
		for _, line := range lines {
			s.WriteString(line)
			s.WriteByte('\n')
		}
	}
	return s.String()
}

// lines joins the lines of a script.
func lines(l []string) string {
	if len(l) == 0 {
		return ""
	}
	return strings.Join(l, "\n") + "\n"
}
