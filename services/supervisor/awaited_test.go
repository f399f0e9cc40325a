package supervisor_test

import (
	"testing"
	"time"

	"github.com/formicary/formicary/libs/jobspec/plan"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
)

// A fork that was given up before its job could be submitted has ended: what awaits it must hear of that.
func TestAwaitHearsOfAChildThatWasNeverSubmitted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.children.mu.Lock()
	w.children.away = 1 << 30
	w.children.mu.Unlock()
	a := fork("a", nil)
	a.TotalTimeout, a.AllowFailure = time.Second, true
	a.Routes = []plan.Route{{Key: "FAILED", Targets: []string{"join"}}}
	join := plan.Task{Name: "join", Method: plan.MethodAwaitForkedJob, AwaitForkedTasks: []string{"a"}}
	id := w.admit(planOf(a, join))
	w.taskBecomes(id, "a", executionv1.Task_FAILED)
	w.taskBecomes(id, "join", executionv1.Task_FAILED)
	w.becomes(id, executionv1.Execution_FAILED)
}

// Whoever ends a child without telling the tasks that wait for it costs them seconds, not for ever.
func TestALostEndOfAChildIsFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	loose := func(f *plan.Fork) { f.Wait = false }
	join := plan.Task{Name: "join", Method: plan.MethodAwaitForkedJob, AwaitForkedTasks: []string{"a"}}
	awaits := w.admit(planOf(fork("a", loose, "join"), join))
	waits := w.admit(planOf(fork("b", nil)))
	_, childA := w.submitted(awaits, "a")
	_, childB := w.submitted(waits, "b")
	w.waiting(awaits, "join")
	w.waiting(waits, "b")
	_, err := w.pool.Exec(t.Context(), `UPDATE child SET state = 'ENDED', outcome = 'COMPLETED', outputs = '{"k": "v"}', ended_at = now()
		WHERE request_id = ANY($1)`, []string{childA, childB})
	if err != nil {
		t.Fatal(err)
	}
	w.becomes(awaits, executionv1.Execution_COMPLETED)
	w.becomes(waits, executionv1.Execution_COMPLETED)
	for id, name := range map[string]string{awaits: "join", waits: "b"} {
		if got := w.tasks(id)[name].GetOutputs().AsMap()["k"]; got != "v" {
			t.Errorf("%s has got %v", name, got)
		}
	}
}

// A refusal and a submission may be lost, too.
func TestALostAnswerOfAChildIsFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.children.mu.Lock()
	w.children.away = 1 << 30
	w.children.mu.Unlock()
	refused := w.admit(planOf(fork("a", nil)))
	loose := w.admit(planOf(fork("b", func(f *plan.Fork) { f.Wait = false })))
	w.taskBecomes(refused, "a", executionv1.Task_WAITING)
	w.taskBecomes(loose, "b", executionv1.Task_WAITING)
	for sql, id := range map[string]string{
		`UPDATE child SET state = 'REFUSED', error_code = 'NO_SUCH_JOB', ended_at = now() WHERE execution_id = (SELECT id FROM execution WHERE request_id = $1)`: refused,
		`UPDATE child SET state = 'SUBMITTED', request_id = gen_random_uuid() WHERE execution_id = (SELECT id FROM execution WHERE request_id = $1)`:             loose,
	} {
		if _, err := w.pool.Exec(t.Context(), sql, id); err != nil {
			t.Fatal(err)
		}
	}
	w.becomes(refused, executionv1.Execution_FAILED)
	w.becomes(loose, executionv1.Execution_COMPLETED)
}
