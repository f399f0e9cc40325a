package launch

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/value"
	"github.com/formicary/formicary/services/supervisor/internal/definition"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

const text = `job_type: job
retry: 2
tasks:
- {task_type: up, method: SHELL, script: [up]}
- {task_type: down, method: SHELL, always_run: true, when: job.failed, script: [down]}
- {task_type: tell, method: SHELL, always_run: true, depends_on: down, script: [tell]}
`

func parsed(t *testing.T) (*jobspec.Definition, *plan.Plan) {
	t.Helper()
	def, _, err := jobspec.Parse("job.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	p, err := def.Plan(value.Vars{})
	if err != nil {
		t.Fatal(err)
	}
	return def, p
}

// failedBefore is a store with a run that failed, and left its clean-up or has none.
type failedBefore struct {
	Store
	plan   *plan.Plan
	before *engine.Before
}

func (f *failedBefore) Before(_ context.Context, key execution.Key) (*engine.Before, int, error) {
	if key.Run != 1 {
		return nil, 0, nil
	}
	return f.before, 3, nil
}

func (f *failedBefore) Remainder(_ context.Context, key execution.Key) (*execution.NewRun, error) {
	if f.before == nil || !f.before.Left {
		return nil, nil
	}
	past := make([]engine.Past, len(f.plan.Tasks))
	for i := range past {
		past[i] = engine.Past{Spec: &f.plan.Tasks[i], State: engine.TaskFailed}
	}
	r := &execution.NewRun{State: engine.Remainder(key.Run, 1, engine.Policy{CleanupTimeout: time.Minute}, past, time.Now())}
	r.Key = key
	return r, nil
}

type given struct{ def *jobspec.Definition }

func (g given) Get(context.Context, definition.Key) (*jobspec.Definition, error) { return g.def, nil }

// A retry that is not begun does the clean-up that was left to it, and the job ends with the error that it had.
func TestARetryThatIsNotBegunCleansUp(t *testing.T) {
	def, parsed := parsed(t)
	left := &engine.Before{Code: "ERR_BEFORE", Message: "it broke", Left: true}
	none := &engine.Before{Code: "ERR_BEFORE", Message: "it broke"}
	for _, tt := range []struct {
		name   string
		launch execution.Launch
		before *engine.Before
		state  engine.JobState
		error  string
		down   engine.TaskState
	}{
		{"too late", execution.Launch{Error: "ERR_JOB_TIMEOUT", Message: "no slot"}, left, engine.JobExecuting, "ERR_BEFORE it broke; its next run did not begin: no slot", engine.TaskReady},
		{"skipped", execution.Launch{Skipped: true}, left, engine.JobExecuting, "ERR_BEFORE it broke; its next run did not begin: skip_if holds", engine.TaskReady},
		{"an empty plan", execution.Launch{Plan: &plan.Plan{}}, left, engine.JobExecuting, "ERR_BEFORE it broke; its next run did not begin: its plan has no tasks", engine.TaskReady},
		{"cancelled", execution.Launch{Cancelled: true}, left, engine.JobExecuting, " ", engine.TaskBlocked}, // until the order comes
		{"too late, nothing left", execution.Launch{Error: "ERR_JOB_TIMEOUT", Message: "no slot"}, none, engine.JobFailed, "ERR_BEFORE it broke; its next run did not begin: no slot", ""},
		{"skipped, nothing left", execution.Launch{Skipped: true}, none, engine.JobSkipped, " skip_if holds", ""},
		{"the first run", execution.Launch{Error: "ERR_JOB_LAUNCH", Message: "no"}, nil, engine.JobFailed, "ERR_JOB_LAUNCH no", ""},
	} {
		l := New(Launcher{Store: &failedBefore{plan: parsed, before: tt.before}, Definitions: given{def}, Log: slog.New(slog.DiscardHandler)})
		x := tt.launch
		x.Key.Run, x.Retries = 2, 1
		if tt.before == nil {
			x.Key.Run, x.Retries = 1, 0
		}
		r, err := l.prepare(t.Context(), &x, time.Now())
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		j := r.JobOf()
		if got := j.ErrorCode + " " + j.ErrorMessage; j.State != tt.state || got != tt.error {
			t.Errorf("%s: %s %q, want %s %q", tt.name, j.State, got, tt.state, tt.error)
		}
		if tt.down != "" && (r.State == nil || r.State.Tasks[1].State != tt.down) {
			t.Errorf("%s: the clean-up is %+v", tt.name, r.State)
		}
	}
}

// A run knows how the one failed that it is a retry of.
func TestARetryKnowsTheRunBefore(t *testing.T) {
	def, parsed := parsed(t)
	before := &engine.Before{Code: "ERR_BEFORE", Left: true}
	l := New(Launcher{Store: &failedBefore{before: before}, Definitions: given{def}, Log: slog.New(slog.DiscardHandler)})
	x := execution.Launch{Plan: parsed, Retries: 1}
	x.Key.Run = 2
	r, err := l.prepare(t.Context(), &x, time.Now())
	if err != nil || r.State.Job.Policy.Before != before || r.State.Job.Policy.Pauses != 3 {
		t.Errorf("%+v, %v", r, err)
	}
}
