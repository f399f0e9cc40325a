package supervisor_test

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/formicary/formicary/libs/testkit"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

const partly = `job_type: job
tasks:
- task_type: m
  method: SHELL
  fan_out: {items: [a, b, c], item_var: it}
  script: [work]
  on_completed: done
  on_failed: [explain, when]
- task_type: done
  method: SHELL
  script: [done]
- task_type: explain
  method: SHELL
  script: ["{{.m_results | shellquote}} {{.it_0_u}} {{.it_1_status}} {{.it_1_exit_code}} {{.it_1_error_message}} {{.it_1_u}}"]
- task_type: when
  method: SHELL
  when: vars.it_1_status == 'FAILED' && tasks.m.outputs.it_0_u == 'x'
  script: [when]
- task_type: clean
  method: SHELL
  always_run: true
  script: ["{{.it_2_status}}"]
`

// What follows a fan-out that failed sees its results, and a run after it runs what did not complete.
func TestAfterAFailedFanOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var bad atomic.Bool
	bad.Store(true)
	a := w.newAnt("ant1", 8, func(work *antv1.Work) *antv1.Result {
		outputs := map[string]string{"u": "x"}
		if work.GetTask() == "m[1]" && bad.Load() {
			return &antv1.Result{Outcome: antv1.Result_FAILED, ExitCode: 3, Message: "it broke", Outputs: outputs}
		}
		return &antv1.Result{Outcome: antv1.Result_SUCCEEDED, Outputs: outputs}
	})
	id := w.admitText(partly)
	w.becomes(id, executionv1.Execution_FAILED)
	for name, want := range map[string]executionv1.Task_State{"done": executionv1.Task_SKIPPED, "explain": executionv1.Task_COMPLETED, "when": executionv1.Task_COMPLETED} {
		if got := w.tasks(id)[name]; got.GetState() != want {
			t.Errorf("%s is %s: %s", name, got.GetState(), got.GetMessage())
		}
	}
	for task, want := range map[string]string{"explain": "x FAILED 3 it broke x", "clean": "COMPLETED"} {
		if got := a.first(task); !strings.HasSuffix(got, want) {
			t.Errorf("%s runs %q, want %q", task, got, want)
		}
	}
	if got := a.first("explain"); !strings.Contains(got, `"status":"FAILED","exit_code":3`) {
		t.Errorf("explain runs %q", got)
	}

	before := len(a.ran())
	bad.Store(false)
	w.again(id, 2, "")
	ran := a.ran()[before:]
	slices.Sort(ran)
	if want := []string{"clean", "done", "m[1]"}; !slices.Equal(ran, want) {
		t.Errorf("the second run ran %v, want %v", ran, want)
	}
	var outputs string
	if err := w.pool.QueryRow(t.Context(), `SELECT o.value FROM output o JOIN execution e ON e.id = o.execution_id
		WHERE e.request_id = $1 AND e.run = 2 AND o.name = 'it_0_u'`, id).Scan(&outputs); err != nil || outputs != "x" {
		t.Errorf("outputs of an item that was kept: %s, %v", outputs, err)
	}
	w.settled()
}

// again admits a further run that keeps what the one before it has completed, and waits until it has completed.
func (w *world) again(id string, run int32, from string) {
	w.t.Helper()
	w.jobs.mu.Lock()
	first := w.jobs.launches[fmt.Sprint(id, run-1)]
	w.jobs.mu.Unlock()
	w.jobs.set(&jobv1.Launch{
		RequestId: id, Run: run, OrgId: "default", JobType: "job", DefinitionId: first.GetDefinitionId(), Plan: first.GetPlan(), Vars: first.GetVars(),
		Priority: 50, AgeAt: first.GetAgeAt(), ReuseRun: run - 1, FromTask: from,
	})
	w.admitRun(id, run)
	testkit.Eventually(w.t, waitTime, "the next run completes", func() bool {
		e := w.execution(id)
		return e.GetRun() == run && e.GetState() == executionv1.Execution_COMPLETED
	})
}

// first is the first line of the script of the newest attempt of a task.
func (a *ant) first(task string) string {
	if work := a.newest(task); work != nil {
		return work.GetSpec().GetScript()[0]
	}
	return ""
}

func (a *ant) env(task string) map[string]string { return a.newest(task).GetSpec().GetEnvironment() }

// newest is the newest attempt of a task.
func (a *ant) newest(task string) *antv1.Work {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, work := range slices.Backward(a.worked) {
		if work.GetTask() == task {
			return work
		}
	}
	return nil
}

// The outputs of a task that failed, or was cancelled, are variables of what follows.
func TestOutputsOfATaskThatFailed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.newAnt("ant1", 8, func(work *antv1.Work) *antv1.Result {
		if work.GetTask() == "long" {
			return nil
		}
		r := &antv1.Result{Outcome: antv1.Result_SUCCEEDED, Outputs: map[string]string{"vm": work.GetTask()}}
		if work.GetTask() == "up" {
			r.Outcome, r.ExitCode = antv1.Result_FAILED, 1
		}
		return r
	})
	id := w.admitText(`job_type: job
tasks:
- {task_type: up, method: SHELL, retry: 1, script: [up], on_failed: [tell, no], on_completed: tell}
- {task_type: tell, method: SHELL, script: ["{{.vm}}"]}
- {task_type: no, method: SHELL, when: "vars.vm != 'up'", script: [no]}
`)
	w.becomes(id, executionv1.Execution_FAILED)
	if got := a.first("tell"); got != "up" {
		t.Errorf("tell runs %q: %s", got, w.tasks(id)["tell"].GetMessage())
	}
	if got := w.tasks(id)["no"]; got.GetState() != executionv1.Task_SKIPPED {
		t.Errorf("no is %s: %s", got.GetState(), got.GetMessage())
	}

	id = w.admitText(`job_type: job
tasks:
- {task_type: long, method: SHELL, script: [long]}
- {task_type: down, method: SHELL, always_run: true, script: ["{{.vm}}"]}
`)
	uid := a.live("long")
	w.control(id, jobv1.RequestControl_CANCEL)
	testkit.Eventually(t, waitTime, "the task is told to stop", func() bool { return len(a.sync(false).GetStop()) == 1 })
	a.end(uid, &antv1.Result{Outcome: antv1.Result_CANCELLED, Outputs: map[string]string{"vm": "v-1"}})
	w.becomes(id, executionv1.Execution_CANCELLED)
	if got := a.first("down"); got != "v-1" {
		t.Errorf("down runs %q: %s", got, w.tasks(id)["down"].GetMessage())
	}
	w.settled()
}
