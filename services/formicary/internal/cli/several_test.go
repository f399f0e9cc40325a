package cli

import (
	"fmt"
	"strings"
	"testing"
)

const family = `# a parent and the job that it forks
job_type: %[1]s-parent
tasks:
  - task_type: f
    method: FORK_JOB
    fork_job_type: %[1]s-child
    sub_workflow: {wait_for_completion: true}
---
job_type: %[1]s-child
tasks:
  - {task_type: c, method: SHELL, script: ["echo I am $FORMICARY_JOB_TYPE"]}
`

func TestRunOfSeveralDefinitions(t *testing.T) {
	file := writeText("family", fmt.Sprintf(family, "family"))
	for _, run := range []func(...string) (string, string, int){
		func(args ...string) (string, string, int) { return on(t, args...) },
		func(args ...string) (string, string, int) { return try(t.Context(), args...) },
	} {
		stdout, stderr, code := run("run", file)
		if code != exitOK || !strings.Contains(stdout, "family-parent COMPLETED") {
			t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
		}
	}
	stdout, _, code := on(t, "run", file, "--job-type", "family-child")
	if code != exitOK || !strings.Contains(stdout, "c │ I am family-child\n") {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
	if _, stderr, code := on(t, "run", file, "--job-type", "other"); code != exitUsage || !strings.Contains(stderr, "family-parent, family-child") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

func TestApplyOfSeveralDefinitions(t *testing.T) {
	file := writeText("kin", fmt.Sprintf(family, "kin"))
	if got := must(t, "job", "apply", file, "-o", "name"); got != "kin-parent\nkin-child\n" {
		t.Errorf("%q", got)
	}
	if got := must(t, "job", "apply", file); got != "kin-parent is stored already as version 1\nkin-child is stored already as version 1\n" {
		t.Errorf("%q", got)
	}
	text := fmt.Sprintf(family, "bad")
	for name, tt := range map[string]struct{ text, want string }{
		"fault in the second": {strings.Replace(text, "script:", "skript:", 1), ".yaml:11:"},
		"twice":               {strings.Replace(text, "bad-child\ntasks", "bad-parent\ntasks", 1), ".yaml:9: the job bad-parent is defined in line 1 already"},
	} {
		file := writeText("bad", tt.text)
		for _, command := range [][]string{{"job", "apply", file}, {"run", file}} {
			_, stderr, code := on(t, command...)
			if code != exitUsage || !strings.Contains(stderr, tt.want) {
				t.Errorf("%s: exit code %d: %s", name, code, stderr)
			}
		}
		if _, _, code := on(t, "job", "get", "bad-parent"); code != exitNotFound {
			t.Errorf("%s: the first definition was stored", name)
		}
	}
}
