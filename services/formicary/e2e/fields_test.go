package e2e

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/formicary/formicary/libs/testkit"
)

// fieldTasks each fail, or stay SKIPPED, when what runs them ignores the field that they are named after. % stands for
// the address of a server, ~ for a directory.
const fieldTasks = `job_type: e2e-fields
timeouts: {grace: 100ms}
tasks:
  - task_type: before_script
    method: SHELL
    before_script: [x=1]
    script: [test "$x" = 1]
  - task_type: script
    method: SHELL
    script: ["true", exit 7]
    on_exit_code: {7: script-7}
  - {task_type: script-7, method: SHELL, script: ["true"]}
  - task_type: after_script
    method: SHELL
    script: ["true"]
    after_script: [echo "after=ran" >> "$FORMICARY_OUTPUT"]
    on_completed: after_script-ran
  - {task_type: after_script-ran, method: SHELL, script: ['test "{{.after}}" = ran']}
  - task_type: environment
    method: SHELL
    environment: {E2E_FIELD: '{{print "a" "b"}}'}
    script: [test "$E2E_FIELD" = ab]
  - task_type: variables
    method: SHELL
    variables: {own: 5}
    script: [test "$own" = 5]
  - task_type: working_dir
    method: SHELL
    working_dir: below
    script: [test "$(basename "$PWD")" = below]
  - task_type: report_stdout
    method: SHELL
    report_stdout: true
    script: [echo reported]
    on_completed: report_stdout-seen
  - {task_type: report_stdout-seen, method: SHELL, script: ["true"], when: tasks.report_stdout.result.contains('reported')}
  - task_type: outputs
    method: SHELL
    script: ['echo "promised=x" >> "$FORMICARY_OUTPUT"']
    outputs: [{name: promised, required: true}]
  - task_type: grace
    method: SHELL
    timeout: 1s
    allow_failure: true
    script: ["trap '' TERM", sleep 6, touch "~/survived"]
    on_completed: grace-over
  - {task_type: grace-over, method: SHELL, script: ['test ! -e "~/survived"']}
  - {task_type: url, method: HTTP_GET, url: "%/plain", on_exit_code: {204: COMPLETED}}
  - {task_type: query, method: HTTP_GET, url: "%/query", query: {q: "1"}, on_exit_code: {200: COMPLETED}}
  - {task_type: headers, method: HTTP_GET, url: "%/headers", headers: {X-Field: "1"}, on_exit_code: {200: COMPLETED}}
`

// TestFieldsReachTheAnt runs a definition that checks itself.
func TestFieldsReachTheAnt(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/plain":
			w.WriteHeader(http.StatusNoContent)
		case r.URL.Path == "/query" && r.URL.Query().Get("q") == "1", r.URL.Path == "/headers" && r.Header.Get("X-Field") == "1":
		default:
			w.WriteHeader(http.StatusBadRequest)
		}
	}))
	t.Cleanup(server.Close)
	w := newWorld(t)
	w.embedded()
	w.define(strings.NewReplacer("%", server.URL, "~", t.TempDir()).Replace(fieldTasks))
	id := w.submit("e2e-fields", "", nil)
	w.finishes(id, "COMPLETED")
	for name, state := range w.taskStates(id) {
		want := "COMPLETED"
		if name == "script" || name == "grace" {
			want = "FAILED"
		}
		if state != want {
			t.Errorf("%s is %s, want %s", name, state, want)
		}
	}
}

// limitTasks fail when the limit that they are named after is not the one of a control group that their shell is in.
const limitTasks = `job_type: e2e-limits
job_variables:
  limits: for f in $(grep -rlx --include=cgroup.procs $$ /sys/fs/cgroup 2>/dev/null); do d=$(dirname $f); cat $d/cpu.max $d/cpu.cfs_quota_us $d/memory.max $d/memory.limit_in_bytes 2>/dev/null || true; done | tee limits
x-limited: &limited {method: SHELL, before_script: ['{{.limits}}']}
tasks:
  - {<<: *limited, task_type: cpu_limit, cpu_limit: 500m, script: ["grep -Eqx '50000( 100000)?' limits"]}
  - {<<: *limited, task_type: memory_limit, memory_limit: 64Mi, script: [grep -qx 67108864 limits]}
  - {<<: *limited, task_type: container, container: {cpu_limit: 0.25, memory_limit: 32Mi}, script: ["grep -Eqx '25000( 100000)?' limits", grep -qx 33554432 limits]}
`

// TestFieldsThatLimit needs control groups for memory and processors.
func TestFieldsThatLimit(t *testing.T) {
	w := newWorld(t)
	w.embedded()
	w.define(limitTasks)
	id := w.submit("e2e-limits", "", nil)
	ended := w.ends(patience, id)
	for name, state := range w.taskStates(id) {
		log, _ := w.cli("request", "logs", id, name)
		if strings.Contains(log, "this ant cannot limit") {
			testkit.Missing(t, "no control groups here")
		}
		if state != "COMPLETED" {
			t.Errorf("%s is %s, the job %s: %s", name, state, ended.State, log)
		}
	}
}
