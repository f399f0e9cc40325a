package e2e

import (
	"net/http"
	"syscall"
	"testing"
	"time"
)

const gatedJob = `job_type: e2e-gated
max_concurrency: 1
params: [{name: ask, type: bool, default: true}]
tasks:
  - {task_type: before, method: SHELL, script: ["true"], on_completed: [ask, after]}
  - {task_type: ask, method: MANUAL, when: params.ask, on_completed: after}
  - task_type: after
    method: SHELL
    script: [sleep 2]
`

// TestApprovalHoldsNothing lets a job wait for people though its type may run only once, kills the colony meanwhile, and
// lets another request of the type run.
func TestApprovalHoldsNothing(t *testing.T) {
	t.Parallel() // it waits most of the time
	w := newWorld(t)
	up := w.embedded()
	w.define(gatedJob)
	first := w.submit("e2e-gated", "first", nil)
	w.becomes(first, "MANUAL_APPROVAL_REQUIRED")
	second := w.submit("e2e-gated", "second", map[string]any{"ask": false})
	w.becomes(second, "EXECUTING")
	w.vote(t, first, "ask", "alice", "APPROVED")
	// The first may go on only after the second: its limit is one.
	w.eventually("the second has ended", func() bool {
		one, ok := w.get(first)
		if !ok {
			return false
		}
		two, ok := w.get(second)
		if ok && !terminal(two.State) && (one.State == "EXECUTING" || terminal(one.State)) {
			t.Fatalf("the first is %s beside the second", one.State)
		}
		return ok && terminal(two.State)
	})
	w.finishes(second, "COMPLETED")
	w.finishes(first, "COMPLETED")

	third := w.submit("e2e-gated", "third", nil)
	w.becomes(third, "MANUAL_APPROVAL_REQUIRED")
	up.signal(syscall.SIGKILL)
	up.start()
	w.ready()
	w.becomes(third, "MANUAL_APPROVAL_REQUIRED")
	w.vote(t, third, "ask", "alice", "APPROVED")
	w.finishes(third, "COMPLETED")
	if code, err := w.callAs("bob", http.MethodPost, "/api/v1/jobs/requests/"+third+"/tasks/ask/vote", []byte(`{"decision":"APPROVED"}`)); code/100 != 4 {
		t.Errorf("a vote after the decision is answered %d, %v", code, err)
	}
	w.audit()
}

// TestNobodyVotesInTime lets the time for a decision run out, also while the colony is dead.
func TestNobodyVotesInTime(t *testing.T) {
	t.Parallel() // it waits most of the time
	w := newWorld(t)
	up := w.embedded()
	policy := func(action, sla string) string {
		return "job_type: e2e-" + action + "\ntasks:\n  - task_type: ask\n    method: MANUAL\n    approval_policy: {sla_deadline: " + sla +
			", timeout_action: " + action + "}\n    on_exit_code: {APPROVED: yes-task, REJECTED: no-task}\n" +
			"  - {task_type: yes-task, method: SHELL, script: [\"true\"]}\n  - {task_type: no-task, method: SHELL, script: [\"true\"]}\n"
	}
	check := func(id, state, taken, left string) {
		t.Helper()
		w.finishes(id, state)
		states := w.taskStates(id)
		if states[taken] != "COMPLETED" || states[left] != "SKIPPED" {
			t.Errorf("tasks are %v", states)
		}
	}
	w.define(policy("AUTO_APPROVE", "1s"))
	w.define(policy("AUTO_REJECT", "1s"))
	approve := w.submit("e2e-AUTO_APPROVE", "approve", nil)
	reject := w.submit("e2e-AUTO_REJECT", "reject", nil)
	check(approve, "COMPLETED", "yes-task", "no-task")
	check(reject, "FAILED", "no-task", "yes-task")

	w.define("job_type: e2e-bare\ntasks:\n  - task_type: ask\n    method: MANUAL\n    approval_policy: {sla_deadline: 500ms, timeout_action: AUTO_REJECT}\n")
	if got := w.finishes(w.submit("e2e-bare", "bare", nil), "FAILED"); got.ErrorCode != "ERR_MANUAL_REJECTION" {
		t.Errorf("error code %s (%s)", got.ErrorCode, got.ErrorMessage)
	}

	w.define(policy("AUTO_APPROVE", "3s"))
	late := w.submit("e2e-AUTO_APPROVE", "late", nil)
	w.becomes(late, "MANUAL_APPROVAL_REQUIRED")
	up.signal(syscall.SIGKILL)
	<-time.After(3 * time.Second) // the time runs out while nobody looks
	up.start()
	w.ready()
	check(late, "COMPLETED", "yes-task", "no-task")
	w.audit()
}
