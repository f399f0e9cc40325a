package supervisor_test

import (
	"fmt"
	"slices"
	"testing"

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
