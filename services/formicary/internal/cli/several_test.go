package cli

import (
	"fmt"
	"os"
	"path/filepath"
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
		"twice":               {strings.Replace(text, "bad-child\ntasks", "bad-parent\ntasks", 1), ".yaml:9:1: the job bad-parent is defined in line 1 already"},
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

// TestOneOfSeveralDefinitions is planned, drawn and tested: the first, and it is said which, or the one that is named.
func TestOneOfSeveralDefinitions(t *testing.T) {
	file := writeText("one-of", fmt.Sprintf(family, "one"))
	cases := filepath.Join(t.TempDir(), "cases.yaml")
	if err := os.WriteFile(cases, []byte("cases:\n- {name: a, expect: {state: COMPLETED, tasks: {c: COMPLETED}}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range [][]string{{"job", "plan", file}, {"job", "graph", file}, {"job", "test", file, "--cases", cases}} {
		stdout, stderr, code := try(t.Context(), append(command, "--job-type", "one-child")...)
		if code != exitOK || strings.Contains(stderr, "definitions") || strings.Contains(stdout, "FORK_JOB") {
			t.Errorf("%v: exit code %d\n%s%s", command, code, stdout, stderr)
		}
		if _, stderr, _ := try(t.Context(), command...); !strings.Contains(stderr, "defines 2 jobs; this is the first, one-parent: --job-type chooses another") {
			t.Errorf("%v: %s", command, stderr)
		}
		if _, stderr, code := try(t.Context(), append(command, "--job-type", "other")...); code != exitUsage || !strings.Contains(stderr, "one-parent, one-child") {
			t.Errorf("%v: exit code %d: %s", command, code, stderr)
		}
	}
}

// TestCasesKeepTheDigitsOfNumbers: a parameter of a case is the one that a request would have.
func TestCasesKeepTheDigitsOfNumbers(t *testing.T) {
	file := writeText("digits", "job_type: digits\n"+
		"skip_if: '{{if and (eq (printf \"%v\" .n) \"123456789012345678901234567890\") (eq (printf \"%v\" .list) \"[18446744073709551617]\")}}true{{end}}'\n"+
		"tasks:\n- {task_type: a, method: SHELL, script: ['true']}\n")
	cases := filepath.Join(t.TempDir(), "cases.yaml")
	text := "cases:\n- {name: a, params: {n: 123456789012345678901234567890, list: [18446744073709551617]}, expect: {state: SKIPPED}}\n" +
		"- {name: b, params: {n: 123456789012345678901234567891, list: [18446744073709551617]}, expect: {state: COMPLETED}}\n"
	if err := os.WriteFile(cases, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if stdout, stderr, code := try(t.Context(), "job", "test", file, "--cases", cases, "-v"); code != exitOK {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
}
