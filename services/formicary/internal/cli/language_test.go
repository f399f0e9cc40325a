package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/services/formicary/examples"
)

const canary = `job_type: canary
params:
  - {name: errors, type: int, default: 0}
tasks:
  - task_type: analyse
    method: SHELL
    script: ['exit "$errors"']
    on_exit_code:
      COMPLETED: promote
      20: roll-back
  - task_type: promote
    method: SHELL
    script: ["true"]
  - task_type: roll-back
    method: SHELL
    script: ["true"]
`

func TestLintFormats(t *testing.T) {
	file := writeText("faulty", "job_type: faulty\ntasks:\n  - task_type: a\n    method: SHELL\n    skript: [x]\n    script: [x]\n")
	for format, want := range map[string]string{
		"table":  ":5:5: ",
		"json":   `"code": "UNKNOWN_FIELD"`,
		"github": "::error file=" + file + ",line=5,col=5,title=UNKNOWN_FIELD::",
		"sarif":  `"ruleId": "UNKNOWN_FIELD"`,
	} {
		stdout, _, code := try(t.Context(), "job", "lint", file, "-o", format)
		if code != exitUsage || !strings.Contains(stdout, want) {
			t.Errorf("-o %s: exit code %d, want %d and %q in\n%s", format, code, exitUsage, want, stdout)
		}
	}
	stdout, _, _ := try(t.Context(), "job", "lint", file, "-o", "sarif")
	var log sarifLog
	if err := json.Unmarshal([]byte(stdout), &log); err != nil || len(log.Runs) != 1 || log.Runs[0].Results[0].Locations[0].Physical.Region.StartLine != 5 {
		t.Errorf("SARIF %v, error %v", log, err)
	}
	if _, _, code := try(t.Context(), "job", "lint", file, "-o", "svg"); code != exitUsage {
		t.Errorf("a format that lint does not have gives exit code %d", code)
	}
}

func TestInitListsAndWritesEveryExample(t *testing.T) {
	list, err := examples.List()
	if err != nil {
		t.Fatal(err)
	}
	stdout, _, code := try(t.Context(), "job", "init", "--list")
	if code != exitOK || len(list) < 30 {
		t.Fatalf("exit code %d, %d examples", code, len(list))
	}
	t.Chdir(t.TempDir())
	for _, e := range list {
		if !strings.Contains(stdout, e.Name) || !strings.Contains(stdout, e.Title) {
			t.Errorf("the list does not tell of %s", e.Name)
		}
		if _, stderr, code := try(t.Context(), "job", "init", e.Name); code != exitOK {
			t.Fatalf("init %s: exit code %d: %s", e.Name, code, stderr)
		}
		runsAlone(t, e)
		out, _, code := try(t.Context(), "job", "lint", "--strict", e.Name+".yaml")
		if code != exitOK {
			t.Errorf("the example %s has problems:\n%s", e.Name, out)
		}
	}
	if _, stderr, code := try(t.Context(), "job", "init", list[0].Name); code != exitUsage || !strings.Contains(stderr, "exists") {
		t.Errorf("init over a file: exit code %d: %s", code, stderr)
	}
	if _, _, code := try(t.Context(), "job", "init", "no-such"); code != exitUsage {
		t.Errorf("init of an unknown example: exit code %d", code)
	}
}

// runsAlone checks that the file of an example has what a run of it needs, or that the example says how it is run.
func runsAlone(t *testing.T, e examples.Example) {
	t.Helper()
	a, _, _ := testApp(nil)
	jobs, err := a.readJobs(e.Name + ".yaml")
	if err != nil {
		t.Fatalf("%s: %v", e.Name, err)
	}
	if _, err := jobs[0].def.CheckParams(nil); err != nil && e.Run == "" {
		t.Errorf("%s does not say how it is run: %v", e.Name, err)
	}
	for _, child := range regexp.MustCompile(`fork_job_type: (\S+)`).FindAllStringSubmatch(e.Text, -1) {
		if !slices.ContainsFunc(jobs, func(j fileJob) bool { return j.jobType == child[1] }) {
			t.Errorf("the file of %s lacks the job %s", e.Name, child[1])
		}
	}
}

func TestGraphFormats(t *testing.T) {
	file := writeText("canary", canary)
	for format, want := range map[string]string{"mermaid": "flowchart", "dot": "digraph", "svg": "<svg"} {
		stdout, stderr, code := try(t.Context(), "job", "graph", file, "-o", format)
		if code != exitOK || !strings.Contains(stdout, want) || !strings.Contains(stdout, "roll-back") {
			t.Errorf("-o %s: exit code %d %s, want %q in\n%s", format, code, stderr, want, stdout)
		}
	}
	must(t, "job", "apply", file)
	if stdout := must(t, "job", "graph", "canary", "-o", "dot"); !strings.Contains(stdout, "digraph") {
		t.Errorf("graph of a stored job:\n%s", stdout)
	}
}

func TestPlanTellsDifferenceAndPlacement(t *testing.T) {
	file := writeText("planned", "job_type: planned\ntasks:\n  - task_type: a\n    method: SHELL\n    script: [\"true\"]\n    on_completed: b\n  - task_type: b\n    method: SHELL\n    tags: [gpu]\n    script: [\"true\"]\n")
	if stdout := must(t, "job", "plan", file); !strings.Contains(stdout, "version 1 of a new job") || !strings.Contains(stdout, "now, on 1 ant") || !strings.Contains(stdout, "no ant offers SHELL with the tags gpu") {
		t.Errorf("plan of a new job:\n%s", stdout)
	}
	must(t, "job", "apply", file)
	writeText("planned", "job_type: planned\ntasks:\n  - task_type: a\n    method: SHELL\n    script: [\"false\"]\n")
	stdout := must(t, "job", "plan", file)
	if !strings.Contains(stdout, "would be stored as version 2") || !strings.Contains(stdout, "+    script: [\"false\"]") {
		t.Errorf("plan of a changed job:\n%s", stdout)
	}
	var doc planned
	if err := json.Unmarshal([]byte(must(t, "job", "plan", file, "-o", "json")), &doc); err != nil || len(doc.Tasks) != 1 {
		t.Errorf("plan as JSON: %v %v", doc, err)
	}
}

func TestPlanNeedsNoServer(t *testing.T) {
	t.Chdir(t.TempDir())
	file := writeText("alone", "job_type: alone\ntasks:\n  - task_type: a\n    method: SHELL\n    script: [\"true\"]\n")
	stdout, stderr, code := try(t.Context(), "job", "plan", file)
	if code != exitOK || !strings.HasPrefix(stdout, "TASK ") || !strings.HasPrefix(stderr, "no server answers at ") || strings.Contains(stderr, "transport") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	if _, _, code := try(t.Context(), "job", "plan", file, "--server", "127.0.0.1:9"); code != exitUnavailable {
		t.Errorf("a server that was named and is not there: exit code %d", code)
	}
}

func TestJobTestJudgesCases(t *testing.T) {
	file := writeText("canary", canary)
	cases := filepath.Join(shared.dir, "canary_test.yaml")
	store := func(text string) {
		if err := os.WriteFile(cases, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	store(`cases:
  - name: errors lead back
    params: {errors: 20}
    tasks: {analyse: {exit_code: 20}}
    expect: {state: COMPLETED, tasks: {roll-back: COMPLETED, promote: SKIPPED}, attempts: {analyse: 1}}
  - name: all is well
    expect: {state: COMPLETED, tasks: {promote: COMPLETED}}
`)
	if stdout, stderr, code := try(t.Context(), "job", "test", file); code != exitOK || !strings.Contains(stdout, "2 of 2 cases passed") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	store("cases:\n  - name: wrong\n    tasks: {nobody: {exit_code: 1}}\n    expect: {state: FAILED}\n")
	stdout, _, code := try(t.Context(), "job", "test", file)
	if code != exitFailed || !strings.Contains(stdout, "the job is COMPLETED, want FAILED") || !strings.Contains(stdout, "no such task") {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
}

func TestJobTestTellsTheFaultsOfCases(t *testing.T) {
	file := writeText("canary", canary)
	cases := filepath.Join(t.TempDir(), "faulty.yaml")
	for text, want := range map[string]string{
		"cases:\n  - name: a\n    tasks:\n      analyse:\n        - exit_code: 1\n        - exit_cod: 1\n": ":6: field exit_cod not found",
		"cases:\n  - name: a\n    tasks:\n      analyse: {exit_code: x}\n":                                 ":4: cannot unmarshal !!str `x` into int",
		"cases:\n  - name: a\n    tasks:\n      analyse: {vote: APROVED}\n":                                ":4: vote APROVED: want APPROVED or REJECTED",
		"cases:\n  - name: a\n    tasks:\n      analyse: {child: GONE}\n":                                  ":4: child GONE: want one of",
		"cases:\n  - nam: a\n    expekt: {}\n":                                                             ":3: field expekt not found\n",
		"kases: []\n":                                                                                      ":1: field kases not found\n",
		"cases:\n  - {a\n":                                                                                 ": line ",
		"":                                                                                                 " holds no cases",
		"cases: []\n":                                                                                      " holds no cases",
		"cases:\n  - name: b\n":                                                                            `no case of ` + cases + ` is named "a"`,
	} {
		if err := os.WriteFile(cases, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, stderr, code := try(t.Context(), "job", "test", file, "--cases", cases, "--only", "a")
		if code != exitUsage || !strings.Contains(stderr, want) || strings.Contains(stderr, "cli.") {
			t.Errorf("%q: exit code %d, want %d and %q in %s", text, code, exitUsage, want, stderr)
		}
	}
	text := "cases:\n  - name: a\n    tasks: {analyse: &odd {exit_code: 20}, roll-back: *odd}\n    expect: {tasks: {roll-back: FAILED}}\n"
	if err := os.WriteFile(cases, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if stdout, stderr, code := try(t.Context(), "job", "test", file, "--cases", cases); code != exitOK {
		t.Errorf("an alias: exit code %d\n%s%s", code, stdout, stderr)
	}
}

func TestSchemaIsJSON(t *testing.T) {
	stdout, _, code := try(t.Context(), "schema")
	if code != exitOK || !json.Valid([]byte(stdout)) || !strings.Contains(stdout, "task_type") {
		t.Errorf("exit code %d\n%.200s", code, stdout)
	}
}

func TestApprovalIsVotedByTheCommandLine(t *testing.T) {
	file := writeText("asks", "job_type: asks\ntasks:\n  - task_type: agree\n    method: MANUAL\n    on_completed: done\n  - task_type: done\n    method: SHELL\n    script: [\"true\"]\n")
	id := submit(t, file, "asks", "--user", "sam")
	awaitState(t, id, "MANUAL_APPROVAL_REQUIRED")
	if stdout := must(t, "request", "approvals"); !strings.Contains(stdout, "agree") {
		t.Errorf("approvals:\n%s", stdout)
	}
	if _, stderr, code := on(t, "request", "approve", id, "--user", "sam"); code != exitDenied && code != exitConflict || !strings.Contains(stderr, "submitted the job") {
		t.Errorf("the submitter's own vote: exit code %d: %s", code, stderr)
	}
	must(t, "request", "approve", id, "--user", "alice", "--comment", "ok")
	if _, stderr, code := on(t, "request", "wait", id); code != exitOK {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

func TestErrorCodesAreKept(t *testing.T) {
	id := strings.TrimSpace(must(t, "error-code", "save", "ERR_DISK_FULL", "--regex", "No space left", "--action", "HARD_FAILURE", "--job", "disk", "-o", "name"))
	if stdout := must(t, "error-code", "list"); !strings.Contains(stdout, "ERR_DISK_FULL") {
		t.Errorf("error codes:\n%s", stdout)
	}
	file := writeText("disk", "job_type: disk\nretry: 3\ntasks:\n  - task_type: a\n    method: SHELL\n    script: ['echo No space left on device >&2; exit 1']\n")
	req := submit(t, file, "disk")
	_, _, _ = on(t, "request", "wait", req)
	if stdout := must(t, "request", "get", req, "-o", "json"); !strings.Contains(stdout, "ERR_DISK_FULL") {
		t.Errorf("the failed request:\n%s", stdout)
	}
	must(t, "error-code", "delete", id)
}

func awaitState(t *testing.T, id, want string) {
	t.Helper()
	testkit.Eventually(t, 20*time.Second, "request is "+want, func() bool {
		return strings.Contains(must(t, "request", "get", id, "-o", "json"), `"state": "`+want+`"`)
	})
}

func TestLintOfSeveralDefinitions(t *testing.T) {
	file := writeText("several", canary+"---\n"+strings.Replace(canary, "canary", "second", 1)+"---\njob_type: faulty\ntasks:\n  - {task_type: a, method: SHELL, skript: x, script: x}\n")
	stdout, stderr, code := try(t.Context(), "job", "lint", file)
	line := strings.Count(canary, "\n")*2 + 5
	if code != exitUsage || !strings.Contains(stdout, fmt.Sprintf("%s:%d:35: ", file, line)) || !strings.Contains(stderr, "job canary is valid") || !strings.Contains(stderr, "job second is valid") {
		t.Errorf("exit code %d, want a fault in line %d: %s%s", code, line, stdout, stderr)
	}
	if stdout, _, code = try(t.Context(), "job", "lint", writeText("empty", "# nothing\n")); code != exitUsage || !strings.Contains(stdout, "is empty") {
		t.Errorf("an empty file: exit code %d: %s", code, stdout)
	}
}
