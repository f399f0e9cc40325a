package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRestartVariants restarts a failed job by the command line in every way and counts which tasks ran.
func TestRestartVariants(t *testing.T) {
	w := newWorld(t)
	w.embedded()
	journal := filepath.Join(w.dir, "runs")
	fixed := filepath.Join(w.dir, "fixed")
	// a ─▶ b ─▶ d ; a ─▶ c ─▶ d: d fails until fixed exists.
	text := func(version string) string {
		line := func(name, next, more string) string {
			return fmt.Sprintf("  - task_type: %s\n    method: SHELL\n    script: ['echo \"$FORMICARY_JOB_ID %s %s\" >> %s', '%s']\n%s", name, name, version, journal, more, next)
		}
		return "job_type: e2e-restart\ntasks:\n" + line("a", "    on_completed: [b, c]\n", "true") + line("b", "    on_completed: d\n", "true") +
			line("c", "    on_completed: d\n", "true") + line("d", "", "test -e "+fixed) + "# " + version + "\n"
	}
	w.define(text("v1"))
	ran := func(id string) map[string]int {
		t.Helper()
		raw, err := os.ReadFile(journal)
		if err != nil {
			t.Fatal(err)
		}
		counts := map[string]int{}
		for line := range strings.Lines(string(raw)) {
			if f := strings.Fields(line); len(f) == 3 && f[0] == id {
				counts[f[1]]++
			}
		}
		return counts
	}
	restart := func(id, want string, flags ...string) {
		t.Helper()
		before, _ := w.get(id)
		if out, code := w.cli(append([]string{"request", "restart", id}, flags...)...); code != 0 {
			t.Fatalf("restart %v: exit code %d: %s", flags, code, out)
		}
		r := w.finishes(id, want)
		if r.Run != before.Run+1 {
			t.Errorf("run %d after run %d", r.Run, before.Run)
		}
	}
	counts := func(what, id string, want map[string]int) {
		t.Helper()
		if got := ran(id); !maps.Equal(got, want) {
			t.Errorf("%s: runs of tasks %v, want %v", what, got, want)
		}
	}

	id := w.submit("e2e-restart", "restart", nil)
	w.finishes(id, "FAILED")
	restart(id, "FAILED")
	counts("soft", id, map[string]int{"a": 1, "b": 1, "c": 1, "d": 2})
	if err := os.WriteFile(fixed, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	restart(id, "COMPLETED", "--hard")
	counts("hard", id, map[string]int{"a": 2, "b": 2, "c": 2, "d": 3})
	restart(id, "COMPLETED", "--from", "b")
	counts("from b", id, map[string]int{"a": 2, "b": 3, "c": 2, "d": 4})
	restart(id, "COMPLETED", "--from", "a")
	counts("from a", id, map[string]int{"a": 3, "b": 4, "c": 3, "d": 5})

	w.define(text("v2"))
	restart(id, "COMPLETED", "--hard")
	w.wrote(journal, id+" d v2", false)
	restart(id, "COMPLETED", "--hard", "--version", "2")
	w.wrote(journal, id+" d v2", true)
	for flags, want := range map[string]int{"--from nowhere": 3, "--version 9": 3, "--hard --from a": 2} {
		if _, code := w.cli(append([]string{"request", "restart", id}, strings.Fields(flags)...)...); code != want {
			t.Errorf("restart %s: exit code %d, want %d", flags, code, want)
		}
	}
	w.restartsByChoice()
	w.audit()
}

// restartsByChoice restarts a job of which one task always runs again: what depends on it must, too.
func (w *world) restartsByChoice() {
	w.t.Helper()
	w.define(`job_type: e2e-again
tasks:
  - {task_type: kept, method: SHELL, script: ["true"], on_completed: last}
  - {task_type: again, method: SHELL, allow_start_if_completed: true, script: ["true"], on_completed: after}
  - {task_type: after, method: SHELL, script: ["true"], on_completed: last}
  - {task_type: last, method: SHELL, script: ['test "$FORMICARY_RUN" = 2']}
`)
	id := w.submit("e2e-again", "again", nil)
	w.finishes(id, "FAILED")
	if out, code := w.cli("request", "restart", id); code != 0 {
		w.t.Fatalf("exit code %d: %s", code, out)
	}
	w.finishes(id, "COMPLETED")
	for name, want := range map[string]int{"kept": 0, "again": 1, "after": 1, "last": 1} {
		if got := len(w.task(id, name).Attempts); got != want {
			w.t.Errorf("task %s had %d attempts in the second run, want %d", name, got, want)
		}
	}
}

func (w *world) wrote(journal, line string, want bool) {
	w.t.Helper()
	raw, err := os.ReadFile(journal)
	if err != nil {
		w.t.Fatal(err)
	}
	if strings.Contains(string(raw), line) != want {
		w.t.Errorf("the journal holds %q: %t, want %t", line, !want, want)
	}
}
