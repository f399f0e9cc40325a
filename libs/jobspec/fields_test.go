package jobspec_test

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// TestEveryField reads a definition with all fields.
func TestEveryField(t *testing.T) {
	def := parse(t, `job_type: io.formicary.every-field
description: all of it
sem_version: 1.2.3-rc1
url: https://example.com
disabled: true
timeouts: {run: 3h, pending: 10m, grace: 5s}
retry: 2
retry_backoff_policy: {min: 1s, max: 1m, factor: 1.5, jitter: true}
max_concurrency: 4
priority: 0
fail_fast: yes
cleanup_timeout: 1m
pause_time: 1d12h
dynamic_template_tasks: false
skip_if: 'false'
tags: [ignored]
tasks:
  - task_type: fetch
    method: http_post_json
    url: https://example.com/{{.path}}
    headers: {X-Id: 1, Accept: "*/*"}
    query: [a=b, {name: c, value: 2}]
    variables: [{name: v, value: {k: [1, yes]}}, {name: w}]
    on_exit_code:
      404: EXECUTING
      5xx: [retry-later, note]
      500: FATAL
      "*": ERR_ODD
      TIMED_OUT: note
    on_completed: note
    delay_between_retries: 2s
  - task_type: retry-later
    method: SHELL
    description: again
    tags: Linux, GPU
    slots: 3
    before_script: [a]
    script:
      - b
      - c
    after_script: |
      d
      e
    environment: {A: 1}
    working_dir: sub
    timeout: 90s
    timeouts: {pending: 1m, total: 1h, grace: 1s}
    retry: 5
    backoff: {min: 2s}
    allow_failure: true
    always_run: true
    allow_start_if_completed: true
    execution: at_most_once
    report_stdout: true
    cpu_limit: 500m
    memory_limit: 64Mi
  - task_type: note
    method: SHELL
    script: x
    dependencies: [fetch]
    depends_on: [fetch, retry-later]
    container: {cpu_limit: 2, memory_limit: 1G}
`)
	p, err := def.Plan(value.Vars{"path": "a b"})
	if err != nil {
		t.Fatal(err)
	}
	if !def.Disabled || def.SemVersion != "1.2.3-rc1" || def.URL != "https://example.com" || def.Priority != 0 || def.MaxConcurrency != 4 {
		t.Errorf("%+v", def)
	}
	want := &plan.Plan{
		JobType: "io.formicary.every-field", Timeout: 3 * time.Hour, PendingTimeout: 10 * time.Minute, CleanupTimeout: time.Minute,
		Grace: 5 * time.Second, FailFast: true, Retry: 2, RetryGiven: true, PauseTime: 36 * time.Hour, MaxConcurrency: 4, HardResetAfterRetries: 3,
		Backoff: plan.Backoff{Min: time.Second, Max: time.Minute, Factor: 1.5, Jitter: true},
		Vars:    value.Vars{"path": "a b"},
		Tasks: []plan.Task{
			{
				Name: "fetch", Method: "HTTP_POST_JSON", Slots: 1, Timeout: time.Hour, Grace: 5 * time.Second,
				Backoff: plan.Backoff{Delay: 2 * time.Second}, Uses: []string{"path", "v", "w"},
				Routes: []plan.Route{
					{Key: "404", Targets: []string{"EXECUTING"}},
					{Key: "500", Targets: []string{"FATAL"}},
					{Key: "5xx", Targets: []string{"retry-later", "note"}},
					{Key: "COMPLETED", Targets: []string{"note"}},
					{Key: "TIMED_OUT", Targets: []string{"note"}},
					{Key: "*", Targets: []string{"ERR_ODD"}},
				},
				Spec: plan.Spec{
					Method: "HTTP_POST_JSON", URL: "https://example.com/a b", Headers: map[string]string{"X-Id": "1", "Accept": "*/*"},
					Query:     map[string]string{"a": "b", "c": "2"},
					Variables: map[string]any{"v": map[string]any{"k": []any{int64(1), "yes"}}, "w": nil},
				},
			},
			{
				Name: "retry-later", Description: "again", Method: "SHELL", Tags: []string{"gpu", "linux"}, Slots: 3, Timeout: 90 * time.Second,
				PendingTimeout: time.Minute, TotalTimeout: time.Hour, Grace: time.Second, Retry: 5, RetryGiven: true,
				Backoff:      plan.Backoff{Min: 2 * time.Second, Factor: 2},
				AllowFailure: true, AlwaysRun: true, AllowStartIfCompleted: true, AtMostOnce: true, ReportStdout: true,
				Spec: plan.Spec{
					Method: "SHELL", Shell: true, BeforeScript: []string{"a"}, Script: []string{"b", "c"}, AfterScript: []string{"d\ne\n"},
					Environment: map[string]string{"A": "1"}, WorkingDir: "sub", ReportStdout: true, CPUMillis: 500, MemoryBytes: 64 << 20,
				},
			},
			{
				Name: "note", Method: "SHELL", Slots: 1, Timeout: time.Hour, Grace: 5 * time.Second, DependsOn: []string{"fetch", "retry-later"}, Requires: []string{"fetch", "retry-later"}, Downloads: []string{"fetch"},
				Backoff: plan.Backoff{Delay: time.Second, Jitter: true},
				Spec: plan.Spec{Method: "SHELL", Shell: true, Script: []string{"x"}, CPUMillis: 2000, MemoryBytes: 1e9, Options: &plan.Options{
					Container: &plan.Container{Limits: plan.Limits{CPULimit: 2000, MemoryLimit: 1e9}},
				}},
			},
		},
	}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Error(diff)
	}
	raw, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var back plan.Plan
	if err := json.Unmarshal(raw, &back); err != nil || len(back.Tasks) != 3 || back.Tasks[1].Timeout != 90*time.Second {
		t.Errorf("%v %+v", err, back)
	}
}

func TestAnchorsAndMergeKeys(t *testing.T) {
	p := planOf(t, `job_type: j
job_variables:
  common: &common {A: 1, B: 2}
tasks:
  - &first
    task_type: a
    method: SHELL
    script: &s [x, y]
    environment: {<<: *common, B: 3}
  - <<: *first
    task_type: b
    script: *s
`, nil)
	if p.Tasks[1].Name != "b" || p.Tasks[1].Method != "SHELL" || len(p.Tasks[1].Spec.Script) != 2 {
		t.Errorf("%+v", p.Tasks[1])
	}
	if diff := cmp.Diff(map[string]string{"A": "1", "B": "3"}, p.Tasks[1].Spec.Environment); diff != "" {
		t.Error(diff)
	}
}

const hidden = `job_type: j
x-shell: &shell
  method: SHELL
  environment: &env {A: 1, B: 2}
  retry: 2
x-notes: [anything, {goes: here}]
x-env:
  <<: *env
  C: '{{.c}}'
tasks:
  - <<: *shell
    task_type: a
    script: [x]
    retry: 1
  - {<<: [*shell], task_type: b, script: 'echo {{.c}}', environment: {<<: *env, B: 3}}
`

// TestHiddenKeys keeps anchors below keys that nothing reads.
func TestHiddenKeys(t *testing.T) {
	def, warnings, err := jobspec.Parse("job.yaml", []byte(hidden))
	if err != nil || len(warnings) > 1 { // of the value that becomes part of a script
		t.Fatal(warnings, err)
	}
	p, err := def.Plan(value.Vars{"c": "d"})
	if err != nil {
		t.Fatal(err)
	}
	a, b := p.Tasks[0], p.Tasks[1]
	if a.Retry != 1 || b.Retry != 2 || a.Method != "SHELL" || b.Spec.Script[0] != "echo d" {
		t.Errorf("%+v %+v", a, b)
	}
	if diff := cmp.Diff(map[string]string{"A": "1", "B": "3"}, b.Spec.Environment); diff != "" {
		t.Error(diff)
	}
	doc, ok := asJSON([]byte("job_type: j\nx-a: {b: c}\ntasks: [{task_type: a, method: SHELL, script: x}]\n"))
	if err := compiledSchema(t).Validate(doc); !ok || err != nil {
		t.Error(err)
	}
	for _, text := range []string{
		"job_type: j\nx: 1\ntasks: [{task_type: a, method: SHELL, script: x}]\n",
		"job_type: j\nX-a: 1\ntasks: [{task_type: a, method: SHELL, script: x}]\n",
		"job_type: j\ntasks: [{task_type: a, method: SHELL, script: x, x-a: 1}]\n",
	} {
		if _, _, err := jobspec.Parse("job.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), "is not known") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestStartClasses(t *testing.T) {
	for _, c := range []struct {
		name, text string
		vars       value.Vars
		want       string
	}{
		{"values elsewhere", "job_type: j\ntasks:\n  - {task_type: a, method: SHELL, script: 'echo {{.x}}', on_completed: b}\n  - {task_type: b, method: HTTP_GET, url: x}\n", nil, "SHELL||1"},
		{"tags of a variable", "job_type: j\ntasks:\n  - {task_type: a, method: SHELL, script: x, tags: '{{.x}}'}\n", value.Vars{"x": "B, a"}, "SHELL|a,b|1"},
		{"structure", "job_type: j\ntasks:\n  - task_type: a\n    method: {{if .x}}HTTP_GET{{else}}SHELL{{end}}\n    url: x\n    script: x\n", value.Vars{"x": true}, "HTTP_GET||1"},
		{"clean-up comes last", "job_type: j\ntasks:\n  - {task_type: a, method: SHELL, script: x, slots: 2}\n  - {task_type: b, method: HTTP_GET, url: x, always_run: true}\n", nil, "SHELL||2"},
	} {
		classes, err := parse(t, c.text).StartClasses(c.vars)
		if err != nil || len(classes) != 1 || classes[0].String() != c.want {
			t.Errorf("%s: %v %v", c.name, classes, err)
		}
	}
}

// TestConcurrentRenderings uses one definition from many goroutines, with shapes that differ.
func TestConcurrentRenderings(t *testing.T) {
	def := parse(t, `job_type: j
job_variables: {prefix: p}
tasks:
{{range $i := Iterate .n}}
  - {task_type: 'x{{$i}}', method: SHELL, script: 'echo {{$.prefix}} {{$.n}} {{$i}}'}
{{end}}
`)
	var group sync.WaitGroup
	for n := range 8 {
		group.Go(func() {
			for range 50 {
				p, err := def.Plan(value.Vars{"n": n + 1})
				if err != nil || len(p.Tasks) != n+1 {
					t.Errorf("%d: %v", n, err)
					return
				}
				task, err := def.Task("x0", value.Vars{"n": n + 1, "prefix": "q"})
				if err != nil || task.Spec.Script[0] != "echo q "+string(rune('1'+n))+" 0" {
					t.Errorf("%d: %v %v", n, task, err)
					return
				}
			}
		})
	}
	group.Wait()
}
