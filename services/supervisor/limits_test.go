package supervisor_test

import (
	"strings"
	"testing"
	"time"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/testkit"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

// The timeout of a task holds for every method, also where no ant executes it.
func TestTimeoutsOfTasksWithoutAnAnt(t *testing.T) {
	t.Parallel()
	const short = time.Second
	loose := func(f *plan.Fork) { f.Wait = false }
	timed := func(x plan.Task) plan.Task {
		x.Timeout, x.WaitBounded = short, true
		return x
	}
	for name, tasks := range map[string][]plan.Task{
		"fork":       {timed(fork("x", nil))},
		"await":      {fork("f", loose, "x"), timed(plan.Task{Name: "x", Method: plan.MethodAwaitForkedJob, AwaitForkedTasks: []string{"f"}})},
		"manual":     {timed(plan.Task{Name: "x", Method: plan.MethodManual})},
		"fan-out":    nil,
		"both tries": {func() plan.Task { x := timed(fork("x", nil)); x.Retry = 1; return x }()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var id string
			if tasks == nil {
				id = w.admitText("job_type: job\ntasks:\n- {task_type: x, method: FORK_JOB, fan_out: {items: [1, 2], fork_job_type: child-job}, timeout: 1s}\n")
			} else {
				id = w.admit(planOf(tasks...))
			}
			e := w.becomes(id, executionv1.Execution_FAILED)
			if e.GetErrorCode() != "ERR_TASK_TIMED_OUT" || !strings.Contains(e.GetErrorMessage(), `"x`) {
				t.Errorf("%s: %s", e.GetErrorCode(), e.GetErrorMessage())
			}
			w.children.mu.Lock()
			keys := make([]string, 0, len(w.children.known))
			for key := range w.children.known {
				keys = append(keys, key)
			}
			w.children.mu.Unlock()
			for _, key := range keys {
				// Children that a task has submitted and not waited for live on.
				testkit.Eventually(t, waitTime, "the child is cancelled, or not", func() bool { return w.children.cancelled(key) == (name != "await") })
			}
			if want := map[string]int{"fork": 1, "await": 1, "fan-out": 2, "both tries": 2}[name]; len(keys) > want { // one may be given up before it is submitted
				t.Errorf("%d children, want at most %d", len(keys), want)
			}
			w.settled()
		})
	}
}

// A task that waits for a job ends as the job does: with the exit code of the task that failed it, and its error code.
func TestExitCodesOfChildren(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.newAnt("ant1", 4, func(work *antv1.Work) *antv1.Result {
		if work.GetTask() == "compile" {
			return &antv1.Result{Outcome: antv1.Result_FAILED, ExitCode: 42, FailureClass: "user"}
		}
		return &antv1.Result{Outcome: antv1.Result_SUCCEEDED}
	})
	routes := []plan.Route{{Key: "42", Targets: []string{"after"}}}
	waits := fork("f", nil)
	waits.Routes = routes
	join := plan.Task{Name: "join", Method: plan.MethodAwaitForkedJob, AwaitForkedTasks: []string{"f"}, Routes: routes}
	for name, p := range map[string]*plan.Plan{
		"f":    planOf(waits, task("after")),
		"join": planOf(fork("f", func(f *plan.Fork) { f.Wait = false }, "join"), join, task("after")),
	} {
		id := w.admit(p)
		key, child := w.submitted(id, "f")
		w.waiting(id, name)
		w.jobs.add(planOf(task("compile")), func(l *jobv1.Launch) { l.RequestId = child })
		w.admitRun(child, 1)
		e := w.becomes(child, executionv1.Execution_FAILED)
		w.childEnds(key, child, jobv1.JobRequest_FAILED, e.GetErrorCode(), e.GetErrorMessage())
		w.taskBecomes(id, "after", executionv1.Task_COMPLETED)
		if got := w.tasks(id)[name]; got.GetExitCode() != 42 {
			t.Errorf("%s ended with %d", name, got.GetExitCode())
		}
	}
	w.settled()
}
