package e2e

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// fieldTasks each fail, or stay SKIPPED, when what runs them ignores the field that they are named after. % stands for
// the address of a server.
const fieldTasks = `job_type: e2e-fields
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
	w.define(strings.ReplaceAll(fieldTasks, "%", server.URL))
	id := w.submit("e2e-fields", "", nil)
	w.finishes(id, "COMPLETED")
	for name, state := range w.taskStates(id) {
		want := "COMPLETED"
		if name == "script" {
			want = "FAILED"
		}
		if state != want {
			t.Errorf("%s is %s, want %s", name, state, want)
		}
	}
}
