package cli

import (
	"strings"
	"testing"
)

// TestWhatIsTooLargeIsAFaultOfTheCaller: the limit is named, and the exit code says that trying again is no use.
func TestWhatIsTooLargeIsAFaultOfTheCaller(t *testing.T) {
	for name, size := range map[string]int{"definition": 2 << 20, "gateway": 5 << 20, "client": 40 << 20} {
		file := writeText("large-"+name, "job_type: large\n# "+strings.Repeat("x", size)+"\ntasks:\n  - {task_type: a, method: SHELL, script: [\"true\"]}\n")
		for _, command := range [][]string{{"job", "apply", file}, {"run", file}} {
			_, stderr, code := on(t, command...)
			if code != exitUsage || !strings.Contains(stderr, "at most ") {
				t.Errorf("%s, %s: exit code %d: %.500s", name, command[0], code, stderr)
			}
		}
	}
}
