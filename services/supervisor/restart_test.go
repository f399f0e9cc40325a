package supervisor_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/formicary/formicary/libs/testkit"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

// A pause of the job by itself raises JobRetry, every attempt that was started TaskRetry, also over runs.
func TestPausesAndAttemptsAreCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	codes := []int32{7, 9, 5, 1, 7, 0}
	a := w.newAnt("ant1", 2, nil)
	a.script = func(*antv1.Work) *antv1.Result {
		a.mu.Lock()
		n := len(a.worked) - 1
		a.mu.Unlock()
		if codes[n] != 0 {
			return failed(codes[n])
		}
		return &antv1.Result{Outcome: antv1.Result_SUCCEEDED}
	}
	id := w.admitText(`job_type: job
retry: 1
tasks:
- task_type: a
  method: SHELL
  delay_between_retries: 1ms
  script: ["{{.JobRetry}} {{.TaskRetry}}"]
  on_exit_code: {7: PAUSE_JOB, 9: EXECUTING, 5: RESTART_TASK}
`)
	w.becomes(id, executionv1.Execution_PAUSED)
	w.admitRun(id, 1)
	w.becomes(id, executionv1.Execution_FAILED)
	w.jobs.mu.Lock()
	first := w.jobs.launches[fmt.Sprint(id, 1)]
	w.jobs.mu.Unlock()
	w.jobs.set(&jobv1.Launch{
		RequestId: id, Run: 2, OrgId: "default", JobType: "job", DefinitionId: first.GetDefinitionId(), Plan: first.GetPlan(), Vars: first.GetVars(),
		Priority: 50, AgeAt: first.GetAgeAt(), ReuseRun: 1, Retries: 1,
	})
	w.admitRun(id, 2)
	w.becomes(id, executionv1.Execution_PAUSED)
	w.admitRun(id, 2)
	w.becomes(id, executionv1.Execution_COMPLETED)
	var got []string
	for _, work := range a.worked {
		got = append(got, work.GetSpec().GetScript()[0]+" "+work.GetSpec().GetEnvironment()["JobRetry"])
	}
	if want := []string{"0 0 0", "1 1 1", "1 2 1", "1 3 1", "2 0 2", "3 1 3"}; !slices.Equal(got, want) {
		t.Errorf("JobRetry and TaskRetry are %q, want %q", got, want)
	}
	w.settled()
}

// Clean-up is left to the last run, so that the retries find what the set-up has made; it runs when nothing follows.
func TestCleanUpRunsOnceTheJobHasEndedForGood(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.newAnt("ant1", 4, func(work *antv1.Work) *antv1.Result {
		if work.GetTask() == "work" && work.GetRun() == 1 {
			return failed(9)
		}
		return &antv1.Result{Outcome: antv1.Result_SUCCEEDED}
	})
	id := w.admitText(`job_type: job
retry: 2
tasks:
- {task_type: up, method: SHELL, script: [up], on_completed: work}
- {task_type: work, method: SHELL, script: [work], on_completed: down}
- {task_type: down, method: SHELL, always_run: true, script: [down]}
- {task_type: tell, method: SHELL, always_run: true, depends_on: down, script: [tell]}
`)
	w.becomes(id, executionv1.Execution_FAILED)
	if got := w.tasks(id)["down"]; got.GetState() != executionv1.Task_SKIPPED || got.GetMessage() != "it runs when the job has ended for good" {
		t.Errorf("down is %s: %s", got.GetState(), got.GetMessage())
	}
	w.again(id, 2, "")
	if want := []string{"up", "work", "work", "down", "tell"}; !slices.Equal(a.ran(), want) {
		t.Errorf("ran %v, want %v", a.ran(), want)
	}

	// A later failure that is fatal: no run follows, so what was put off runs now.
	slow := w.newAnt("ant2", 4, func(work *antv1.Work) *antv1.Result {
		switch work.GetTask() {
		case "fatal":
			return nil
		case "work":
			return failed(9)
		}
		return &antv1.Result{Outcome: antv1.Result_SUCCEEDED}
	})
	w.slots.set("ant1", a.session, 0)
	id = w.admitText(`job_type: job
retry: 2
tasks:
- {task_type: fatal, method: SHELL, script: [fatal], on_failed: FATAL}
- {task_type: work, method: SHELL, script: [work], on_completed: down}
- {task_type: down, method: SHELL, always_run: true, script: [down], on_completed: tell}
- {task_type: tell, method: SHELL, always_run: true, script: [tell]}
`)
	w.taskBecomes(id, "work", executionv1.Task_FAILED)
	slow.end(slow.live("fatal"), failed(1))
	w.becomes(id, executionv1.Execution_FAILED)
	for _, name := range []string{"down", "tell"} {
		if got := w.tasks(id)[name]; got.GetState() != executionv1.Task_COMPLETED {
			t.Errorf("%s is %s: %s", name, got.GetState(), got.GetMessage())
		}
	}
	w.settled()
}

// What runs at the end of a job can ask how the job will end.
func TestTheStateOfTheJob(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.newAnt("ant1", 8, func(work *antv1.Work) *antv1.Result {
		switch {
		case work.GetTask() == "work" && work.GetSpec().GetScript()[0] == "cancelled EXECUTING":
			return nil
		case work.GetTask() == "work" && work.GetSpec().GetScript()[0] == "failed EXECUTING":
			return failed(1)
		}
		return &antv1.Result{Outcome: antv1.Result_SUCCEEDED}
	})
	for _, tt := range []struct {
		how, state string
		ends       executionv1.Execution_State
	}{
		{"completed", "COMPLETED", executionv1.Execution_COMPLETED},
		{"failed", "FAILED", executionv1.Execution_FAILED},
		{"cancelled", "CANCELLED", executionv1.Execution_CANCELLED},
	} {
		id := w.admitText(`job_type: job
tasks:
- {task_type: work, method: SHELL, script: ["` + tt.how + ` {{.JobState}}"]}
- {task_type: on-failure, method: SHELL, always_run: true, when: job.failed, script: [x]}
- {task_type: on-cancel, method: SHELL, always_run: true, when: job.cancelled, script: [x]}
- {task_type: on-success, method: SHELL, always_run: true, when: "job.state == 'COMPLETED'", script: [x]}
- {task_type: report, method: SHELL, always_run: true, script: ["{{.JobState}} {{.job.state}} {{if .job.failed}}failed{{end}}{{if .job.cancelled}}cancelled{{end}}"]}
`)
		if tt.how == "cancelled" {
			uid := a.live("work")
			w.control(id, jobv1.RequestControl_CANCEL)
			testkit.Eventually(t, waitTime, "the task is told to stop", func() bool { return len(a.sync(false).GetStop()) == 1 })
			a.end(uid, &antv1.Result{Outcome: antv1.Result_CANCELLED})
		}
		w.becomes(id, tt.ends)
		tasks := w.tasks(id)
		for name, of := range map[string]string{"on-failure": "FAILED", "on-cancel": "CANCELLED", "on-success": "COMPLETED"} {
			want := executionv1.Task_SKIPPED
			if of == tt.state {
				want = executionv1.Task_COMPLETED
			}
			if got := tasks[name]; got.GetState() != want {
				t.Errorf("%s: %s is %s: %s", tt.how, name, got.GetState(), got.GetMessage())
			}
		}
		want := tt.state + " " + tt.state + " "
		if tt.how != "completed" {
			want += tt.how
		}
		if env := a.env("report"); env["JobState"] != tt.state || env["job"] != "" {
			t.Errorf("%s: the environment says %q, %q", tt.how, env["JobState"], env["job"])
		}
		if got := a.first("report"); got != want {
			t.Errorf("%s: report runs %q, want %q: %s", tt.how, got, want, tasks["report"].GetMessage())
		}
	}
	w.settled()
}

// A job that is cancelled while it waits for its retry does the clean-up that was left to that.
func TestCleanUpOfAJobThatIsCancelledBetweenItsRuns(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"order", "launch"} {
		w := newWorld(t)
		a := w.newAnt("ant1", 4, func(work *antv1.Work) *antv1.Result {
			if work.GetTask() == "work" {
				return failed(9)
			}
			return &antv1.Result{Outcome: antv1.Result_SUCCEEDED, Outputs: map[string]string{"of": work.GetTask()}}
		})
		id := w.admitText(`job_type: job
retry: 2
tasks:
- {task_type: up, method: SHELL, script: [up], on_completed: work}
- {task_type: work, method: SHELL, script: [work], on_completed: down}
- {task_type: down, method: SHELL, always_run: true, when: job.cancelled, script: ["{{.of}} {{.JobState}}"]}
- {task_type: tell, method: SHELL, always_run: true, depends_on: down, script: [tell]}
- {task_type: other, method: SHELL, always_run: true, when: job.failed, script: [other]}
`)
		w.becomes(id, executionv1.Execution_FAILED)
		if how == "launch" { // it was admitted before
			w.jobs.mu.Lock()
			first := w.jobs.launches[fmt.Sprint(id, 1)]
			w.jobs.mu.Unlock()
			w.jobs.set(&jobv1.Launch{
				RequestId: id, Run: 2, OrgId: "default", JobType: "job", DefinitionId: first.GetDefinitionId(), AgeAt: first.GetAgeAt(), Cancelled: true, Retries: 1, ReuseRun: 1,
			})
			w.admitRun(id, 2)
			testkit.Eventually(t, waitTime, "the run is there", func() bool { return w.execution(id).GetRun() == 2 })
		}
		w.publish("formicary.event.job.control", &jobv1.RequestControl{
			RequestId: id, Run: 2, Action: jobv1.RequestControl_CANCEL, Reason: "asked by a test", OrgId: "default", JobType: "job",
		})
		testkit.Eventually(t, waitTime, "the second run is cancelled", func() bool {
			e := w.execution(id)
			return e.GetRun() == 2 && e.GetState() == executionv1.Execution_CANCELLED
		})
		if want := []string{"up", "work", "down", "tell"}; !slices.Equal(a.ran(), want) {
			t.Errorf("%s: ran %v, want %v", how, a.ran(), want)
		}
		if got := a.first("down"); got != "up CANCELLED" {
			t.Errorf("%s: down runs %q", how, got)
		}
		w.settled()
	}
}

// A retry that cannot begin does the clean-up that was left to it, and the job keeps the error that it had.
func TestCleanUpOfAJobWhoseRetryIsNotBegun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.newAnt("ant1", 4, func(work *antv1.Work) *antv1.Result {
		if work.GetTask() == "work" {
			return failed(9)
		}
		return &antv1.Result{Outcome: antv1.Result_SUCCEEDED, Outputs: map[string]string{"of": work.GetTask()}}
	})
	id := w.admitText(`job_type: job
retry: 2
tasks:
- {task_type: up, method: SHELL, script: [up], on_completed: work}
- {task_type: work, method: SHELL, script: [work], on_completed: down}
- {task_type: down, method: SHELL, always_run: true, when: job.failed, script: ["{{.of}} {{.JobState}}"]}
- {task_type: tell, method: SHELL, always_run: true, depends_on: down, script: [tell]}
`)
	w.becomes(id, executionv1.Execution_FAILED)
	w.jobs.mu.Lock()
	first := w.jobs.launches[fmt.Sprint(id, 1)]
	w.jobs.mu.Unlock()
	w.jobs.set(&jobv1.Launch{
		RequestId: id, Run: 2, OrgId: "default", JobType: "job", DefinitionId: first.GetDefinitionId(), AgeAt: first.GetAgeAt(), Retries: 1, ReuseRun: 1,
		ErrorCode: "ERR_JOB_TIMEOUT", ErrorMessage: "it did not start within 1m",
	})
	w.admitRun(id, 2)
	testkit.Eventually(t, waitTime, "the second run has failed", func() bool {
		e := w.execution(id)
		return e.GetRun() == 2 && e.GetState() == executionv1.Execution_FAILED
	})
	if want := []string{"up", "work", "down", "tell"}; !slices.Equal(a.ran(), want) {
		t.Errorf("ran %v, want %v", a.ran(), want)
	}
	if got := a.first("down"); got != "up FAILED" {
		t.Errorf("down runs %q", got)
	}
	e := w.execution(id)
	if e.GetErrorCode() != "ERR_TASK_EXECUTE" || !strings.HasSuffix(e.GetErrorMessage(), "its next run did not begin: it did not start within 1m") {
		t.Errorf("%s: %s", e.GetErrorCode(), e.GetErrorMessage())
	}
	w.settled()
}
