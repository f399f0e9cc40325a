package supervisor_test

import (
	"slices"
	"testing"
	"time"

	"github.com/formicary/formicary/libs/jobspec/plan"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
)

// planOf makes a plan of tasks; a chain follows the order when next is set.
func planOf(tasks ...plan.Task) *plan.Plan {
	p := &plan.Plan{JobType: "job", Timeout: time.Hour, CleanupTimeout: time.Minute, PauseTime: time.Minute, Priority: 50}
	for _, t := range tasks {
		if t.Method == "" {
			t.Method = "SHELL"
		}
		t.Slots = max(t.Slots, 1)
		if t.Timeout == 0 {
			t.Timeout = time.Minute
		}
		t.Spec.Method, t.Spec.Script = t.Method, []string{"true"}
		p.Tasks = append(p.Tasks, t)
	}
	return p
}

func task(name string, next ...string) plan.Task {
	t := plan.Task{Name: name}
	if len(next) > 0 {
		t.Routes = []plan.Route{{Key: plan.OutcomeCompleted, Targets: next}}
	}
	return t
}

func TestChainRunsInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.newAnt("ant1", 4, nil)
	id := w.admit(planOf(task("a", "b"), task("b", "c"), task("c")))
	e := w.becomes(id, executionv1.Execution_COMPLETED)
	if e.GetTasksTotal() != 3 || e.GetTasksOpen() != 0 {
		t.Errorf("counts %d of %d tasks open", e.GetTasksOpen(), e.GetTasksTotal())
	}
	if got := a.ran(); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("ran %v", got)
	}
	w.settled()
	if got := w.events.of(id); !slices.Equal(got, []string{"EXECUTING", "COMPLETED"}) {
		t.Errorf("events %v", got)
	}
}
