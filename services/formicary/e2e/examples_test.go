package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/formicary/formicary/services/formicary/examples"
)

// story is how an example is run and how it must end.
type story struct {
	example string
	params  map[string]any
	want    string
	// code is the error code of a job that must fail.
	code string
	// votes are given to the task that waits for them: user and decision.
	task  string
	votes [][2]string
	// values are given with the votes.
	values map[string]string
	// tasks are states that some of its tasks must have.
	tasks map[string]string
}

func stories(service string) []story {
	const done = "COMPLETED"
	return []story{
		{example: "hello", want: done, tasks: map[string]string{"done": done}},
		{example: "ci-build-test", want: done, tasks: map[string]string{"package": done, "clean": done}},
		{example: "ci-matrix", want: done, tasks: map[string]string{"report": done}},
		{example: "ci-changed-services", want: done, tasks: map[string]string{"build": done, "report": done}},
		{example: "ci-changed-services", params: map[string]any{"changed": []string{}}, want: done, tasks: map[string]string{"build": done, "report": done}},
		{example: "ci-experimental", want: done, tasks: map[string]string{"test": done, "report": done}},
		{example: "ci-deploy-approval", want: done, task: "approve", votes: [][2]string{{"alice", "APPROVED"}}, tasks: map[string]string{"deploy": done, "discard": "SKIPPED"}},
		{example: "ci-deploy-approval", want: "FAILED", code: "ERR_MANUAL_REJECTION", task: "approve", votes: [][2]string{{"alice", "REJECTED"}}, tasks: map[string]string{"deploy": "SKIPPED", "discard": done}},
		{example: "ci-release-version", want: done, task: "release", votes: [][2]string{{"alice", "APPROVED"}}, values: map[string]string{"version": "1.2.0", "replicas": "3"}, tasks: map[string]string{"deploy": done}},
		{example: "ci-canary", want: done, tasks: map[string]string{"extend": "SKIPPED", "promote": done, "rollback": "SKIPPED"}},
		{example: "ci-canary", params: map[string]any{"errors": 5}, want: done, tasks: map[string]string{"extend": done, "promote": done}},
		{example: "ci-canary", params: map[string]any{"errors": 50}, want: done, tasks: map[string]string{"promote": "SKIPPED", "rollback": done}},
		{example: "ci-flaky-retry", want: done},
		{example: "ci-monorepo", want: done, tasks: map[string]string{"test-web": done, "publish": done}},
		{example: "ci-monorepo", params: map[string]any{"services": []string{"one"}}, want: done, tasks: map[string]string{"build-one": done}},
		{example: "ci-feature-branch", want: done, tasks: map[string]string{"deploy": done, "preview": "SKIPPED"}},
		{example: "ci-feature-branch", params: map[string]any{"branch": "feature/x"}, want: done, tasks: map[string]string{"deploy": "SKIPPED", "preview": done}},
		{example: "ci-feature-branch", params: map[string]any{"draft": true}, want: "SKIPPED"},
		{example: "com.example.ci.build-image", params: map[string]any{"service": "api"}, want: done},
		{example: "ci-with-plugin", want: done, tasks: map[string]string{"deploy": done}},
		{example: "ci-fail-fast", want: "FAILED", code: "ERR_TASK_EXECUTE", tasks: map[string]string{"slow-suite": "CANCELLED", "collect-logs": done}},
		{example: "etl-pipeline", want: done},
		{example: "etl-partitions", want: done, tasks: map[string]string{"load": done, "report": done}},
		{example: "etl-tables", want: done, tasks: map[string]string{"customers": done, "refresh-views": done}},
		{example: "etl-quality-gate", want: done, tasks: map[string]string{"quarantine": done, "load": done}},
		{example: "etl-quality-gate", params: map[string]any{"faults": 500}, want: "FAILED", code: "ERR_DATA_BROKEN"},
		{example: "etl-day", params: map[string]any{"day": "2026-02-01"}, want: done},
		{example: "etl-backfill", want: done, tasks: map[string]string{"publish": done}},
		{example: "etl-http-sync", params: map[string]any{"url": service + "/orders"}, want: done, tasks: map[string]string{"store": done}},
		{example: "etl-http-sync", params: map[string]any{"url": service + "/missing"}, want: done, tasks: map[string]string{"nothing": done}},
		{example: "batch-fan-out", want: done},
		{example: "batch-map-reduce", want: done},
		{example: "batch-child", params: map[string]any{"part": "alone"}, want: done},
		{example: "batch-fork-join", want: done, tasks: map[string]string{"join": done, "report": done}},
		{example: "batch-payments", want: done, tasks: map[string]string{"manual-check": "SKIPPED"}},
		{example: "batch-deadline", want: done, tasks: map[string]string{"estimate": done, "report": done}},
		{example: "batch-optional-steps", want: done, tasks: map[string]string{"warm-cache": "FAILED", "finish": done}},
		{example: "infra-provision", want: done},
		{example: "infra-machine", params: map[string]any{"size": "large"}, want: done},
		{example: "infra-wait-for-service", want: done},
		{example: "infra-cool-down", want: done, tasks: map[string]string{"cool-down": done, "stop": done}},
		{example: "infra-maintenance-pause", want: done, tasks: map[string]string{"patch": done}},
		{example: "infra-rolling-update", want: "FAILED", code: "ERR_TASK_EXECUTE", tasks: map[string]string{"update": "FAILED", "roll-back": done, "announce": "SKIPPED"}},
		{example: "infra-rolling-update", params: map[string]any{"broken": ""}, want: done, tasks: map[string]string{"announce": done}},
		{example: "infra-change-quorum", want: done, task: "agree", votes: [][2]string{{"alice", "APPROVED"}, {"bob", "APPROVED"}}, tasks: map[string]string{"apply": done}},
		{example: "infra-change-quorum", want: "FAILED", task: "agree", votes: [][2]string{{"alice", "REJECTED"}, {"carol", "REJECTED"}}, tasks: map[string]string{"apply": "SKIPPED"}},
		{example: "infra-teardown", want: "FAILED", code: "ERR_TASK_EXECUTE", tasks: map[string]string{"benchmark": "SKIPPED", "destroy": done}},
		{example: "infra-restart-once", want: done, tasks: map[string]string{"verify": done}},
		{example: "infra-expire-artifacts", want: done},
		{example: "ci-artifacts", want: done, tasks: map[string]string{"test": done}},
		{example: "ci-signed-release", want: done, tasks: map[string]string{"publish": done}},
	}
}

// Examples that other tests run: they need something that is not in a colony.
var elsewhere = map[string]bool{
	"build-formicary":      true, // the demo
	"batch-message-worker": true, // TestMessageWorker
	"ci-docker":            true, // TestDocker
	"ci-services":          true, // TestDocker
	"ci-cache":             true, // TestCaches: it runs twice
}

func TestExamplesEndAsTheySay(t *testing.T) {
	w := newWorld(t)
	w.embedded()
	service := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/orders" {
			http.NotFound(rw, r)
			return
		}
		_, _ = rw.Write([]byte(`[{"id": 1}]`))
	}))
	t.Cleanup(service.Close)
	list, err := examples.List()
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 30 {
		t.Fatalf("there are %d examples, want at least 30", len(list))
	}
	if out, code := w.cliIn("-----BEGIN KEY-----", "secret", "set", "RELEASE_KEY"); code != 0 {
		t.Fatal(out)
	}
	told := map[string]bool{}
	for _, e := range list {
		if e.Category == "" || e.Title == "" {
			t.Errorf("the example %s does not say what it is for", e.Name)
		}
		w.define(e.Text)
	}
	ids := make([]string, 0, len(list))
	all := stories(service.URL)
	for i, s := range all {
		told[s.example] = true
		ids = append(ids, w.submit(s.example, fmt.Sprintf("example-%d", i), s.params))
	}
	for _, e := range list {
		if !told[e.Name] && !elsewhere[e.Name] {
			t.Errorf("the example %s is run by no test", e.Name)
		}
	}
	for i, s := range all {
		t.Run(fmt.Sprintf("%s-%d", s.example, i), func(t *testing.T) { w.tell(t, ids[i], s) })
	}
	w.audit()
}

// tell follows one example to its end.
func (w *world) tell(t *testing.T, id string, s story) {
	t.Helper()
	if s.task != "" {
		w.eventually("request "+id+" waits for approval", func() bool {
			r, ok := w.get(id)
			return ok && r.State == "MANUAL_APPROVAL_REQUIRED"
		})
	}
	for _, v := range s.votes {
		w.vote(t, id, s.task, v[0], v[1], s.values)
	}
	r := w.ends(90*time.Second, id)
	if r.State != s.want || s.code != "" && r.ErrorCode != s.code {
		t.Errorf("it ended %s %s (%s), want %s %s", r.State, r.ErrorCode, r.ErrorMessage, s.want, s.code)
	}
	states := w.taskStates(id)
	for task, want := range s.tasks {
		if states[task] != want {
			t.Errorf("task %s is %q, want %s; all: %v", task, states[task], want, states)
		}
	}
}

func (w *world) vote(t *testing.T, id, task, user, decision string, values ...map[string]string) {
	t.Helper()
	vote := map[string]any{"decision": decision, "comments": "by the test"}
	if len(values) > 0 && values[0] != nil {
		vote["values"] = values[0]
	}
	body, err := json.Marshal(vote)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.callAs(user, http.MethodPost, "/api/v1/jobs/requests/"+id+"/tasks/"+task+"/vote", body); err != nil {
		t.Fatalf("%s votes %s: %v", user, decision, err)
	}
}

// taskStates returns the states of the tasks of a request's newest run.
func (w *world) taskStates(id string) map[string]string {
	tasks := w.tasks(id, "")
	states := make(map[string]string, len(tasks))
	for _, t := range tasks {
		states[t.Name] = t.State
	}
	return states
}
