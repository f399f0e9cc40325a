package step_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/services/supervisor/internal/approval"
	"github.com/formicary/formicary/services/supervisor/internal/definition"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
	"github.com/formicary/formicary/services/supervisor/internal/step"
	"github.com/formicary/formicary/services/supervisor/internal/step/steptest"
)

// source gives the same definition for every id, or an error.
type source struct {
	text string
	err  error
}

func (s *source) Definition(context.Context, string, string) (*jobspec.Definition, error) {
	if s.err != nil {
		return nil, s.err
	}
	def, _, err := jobspec.Parse("job.yaml", []byte(s.text))
	return def, err
}

// world is a run in memory.
type world struct {
	*testing.T
	store  *steptest.Memory
	source *source
	*step.Stepper
	run *execution.NewRun
	now time.Time
}

func newWorld(t *testing.T, text string) *world {
	t.Helper()
	w := &world{T: t, store: steptest.NewMemory(), source: &source{text: text}, now: time.Now()}
	w.store.Clock = func() time.Time { return w.now }
	w.Stepper = step.New(w.store, definition.NewCache(w.source), slog.New(slog.DiscardHandler))
	w.run = steptest.NewRun(t, text, 1)
	w.decide()
	if _, err := w.Launch(t.Context(), []*execution.NewRun{w.run}, time.Time{}, nil); err != nil {
		t.Fatal(err)
	}
	return w
}

// decide answers what the run asks before it is stored.
func (w *world) decide() {
	w.Helper()
	def, err := w.source.Definition(w.Context(), "", "")
	if err != nil {
		w.Fatal(err)
	}
	s := w.run.State
	for !s.Need().Empty() {
		asker, err := definition.NewAsker(&execution.Context{Run: w.run.Run, Vars: w.run.Vars, Now: w.now}, &definition.Past{})
		if err != nil {
			w.Fatal(err)
		}
		for _, idx := range s.Need().Decide {
			s.Decide(idx, asker.Ask(def, s.Tasks[idx], nil))
		}
		for _, idx := range s.Need().Children {
			s.Children(idx, engine.Children{}, w.now)
		}
		s.Continue(w.now)
	}
}

func placed(r *execution.NewRun, idx int) execution.Placed {
	return execution.Placed{Candidate: execution.Candidate{Execution: r.ID, Idx: idx, Slots: 1}, UID: uuid.New(), Ant: "ant1", Session: uuid.New()}
}

// start dispatches and claims the READY tasks by these names.
func (w *world) start(names ...string) []uuid.UUID {
	w.Helper()
	_, tasks := w.store.Run(w.run.ID)
	var uids []uuid.UUID
	for _, name := range names {
		p := placed(w.run, tasks[name].Idx)
		if err := w.Dispatch(w.Context(), []execution.Placed{p}, w.now.Add(time.Minute), nil); err != nil || w.store.Attempt(p.UID) == nil {
			w.Fatalf("%s is not dispatched: %v", name, err)
		}
		uids = append(uids, p.UID)
	}
	w.store.Claim(uids...)
	return uids
}

func ended(uid uuid.UUID, state engine.AttemptState, outputs map[string]string) execution.Event {
	return execution.Event{Kind: execution.AttemptEnded, UID: uid, End: execution.End{
		Ant: "ant1", Digest: uid[:], Outcome: engine.Outcome{State: state, Outputs: outputs},
	}}
}

// step applies events and returns the verdict about the first.
func (w *world) step(events ...execution.Event) execution.Verdict {
	w.Helper()
	v, err := w.Step(w.Context(), events)
	if err != nil {
		w.Fatal(err)
	}
	return v[0]
}

// end ends attempts well.
func (w *world) end(uids []uuid.UUID, outputs map[string]string) {
	w.Helper()
	events := make([]execution.Event, len(uids))
	for i, uid := range uids {
		events[i] = ended(uid, engine.AttemptSucceeded, outputs)
	}
	if v := w.step(events...); v != execution.Applied {
		w.Fatalf("a result is %s", v)
	}
}

// want compares the states of the run and of tasks.
func (w *world) want(job engine.JobState, states map[string]engine.TaskState) {
	w.Helper()
	j, tasks := w.store.Run(w.run.ID)
	if j.State != job {
		w.Errorf("the run is %s, want %s (%s)", j.State, job, j.ErrorMessage)
	}
	for name, state := range states {
		if t := tasks[name]; t == nil || t.State != state {
			w.Errorf("task %s is %+v, want %s", name, t, state)
		}
	}
}

// hosts is a JSON list of n items.
func hosts(n int) map[string]string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("%q", fmt.Sprintf("host-%d", i))
	}
	return map[string]string{"hosts": "[" + strings.Join(list, ",") + "]"}
}

func TestVerdicts(t *testing.T) {
	w := newWorld(t, steptest.Job)
	uid := w.start("find")[0]
	other := ended(uid, engine.AttemptSucceeded, nil)
	other.End.Ant = "ant2"
	doubt := execution.Event{Kind: execution.AttemptEnded, UID: uid, End: execution.End{
		Outcome: engine.Outcome{State: engine.AttemptLost}, Still: func(*execution.Attempt, time.Time) bool { return false },
	}}
	later := ended(uid, engine.AttemptFailed, nil)
	later.End.Digest = []byte("another")
	of := func(k execution.Kind) execution.Event { return execution.Event{Kind: k, Execution: w.run.ID} }
	for _, tt := range []struct {
		name  string
		event execution.Event
		want  execution.Verdict
	}{
		{"no such attempt", ended(uuid.New(), engine.AttemptSucceeded, nil), execution.Unknown},
		{"no such run", execution.Event{Kind: execution.Cancelled, Execution: uuid.New()}, execution.Ignored},
		{"another ant", other, execution.Stale},
		{"no doubt under the lock", doubt, execution.Ignored},
		{"a timer of a task that does not wait", of(execution.TaskWakes), execution.Ignored},
		{"a task that may take its time", of(execution.TaskOverdue), execution.Ignored},
		{"no deadline", of(execution.Deadline), execution.Ignored},
		{"no vote is asked for", of(execution.Voted), execution.Ignored},
		{"a result", ended(uid, engine.AttemptSucceeded, hosts(1)), execution.Applied},
		{"the same result", ended(uid, engine.AttemptSucceeded, hosts(1)), execution.Replayed},
		{"another result", later, execution.Stale},
	} {
		if got := w.step(tt.event); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	w.want(engine.JobExecuting, map[string]engine.TaskState{"find": engine.TaskCompleted, "work": engine.TaskWaiting, "last": engine.TaskReady})
	if !w.store.Released(uid) {
		t.Error("its slots are kept")
	}
}

// A step loads what it concerns with the locks and saves with the commit; what it needs beyond comes in rounds.
func TestAStepTakesTwoRoundTrips(t *testing.T) {
	w := newWorld(t, steptest.Job)
	trips := func(want int) {
		t.Helper()
		if w.store.RoundTrips != want {
			t.Errorf("%d round trips, want %d", w.store.RoundTrips, want)
		}
	}
	w.end(w.start("find"), hosts(3))
	trips(4) // variables for the decision about the fan-out, then what it looks at
	last := w.start("last")
	trips(2)
	w.end(last, nil)
	trips(2)
	for i := range 3 {
		w.end(w.start(fmt.Sprintf("work[%d]", i)), nil)
		trips([]int{3, 3, 5}[i]) // the next item; at the end the results and what they lead to
	}
	w.end(w.start("sweep"), nil)
	trips(2)
	w.want(engine.JobCompleted, nil)
}

const forks = `job_type: job
tasks:
- {task_type: find, method: SHELL, script: [find], on_completed: work}
- task_type: work
  method: FORK_JOB
  fan_out: {source: hosts, item_var: host, fork_job_type: other}
`

func child(k step.Round, kind execution.Kind, c execution.ChildNews) execution.Event {
	return execution.Event{Kind: kind, Execution: k.Execution, Idx: k.Idx, Round: k.Round, Child: c}
}

// Of many jobs a step decides about a bounded number.
func TestJobsOfAFanOutAreReleasedInChunks(t *testing.T) {
	w := newWorld(t, forks)
	w.end(w.start("find"), hosts(700))
	wanted := w.store.Wanted(w.run.ID, "WANTED")
	if len(wanted) != 500 {
		t.Fatalf("%d jobs are to be submitted", len(wanted))
	}
	events := make([]execution.Event, 200)
	for i := range events {
		events[i] = child(wanted[i], execution.ChildEnded, execution.ChildNews{Request: uuid.New(), State: "COMPLETED"})
	}
	w.step(events...)
	if wanted = w.store.Wanted(w.run.ID, "WANTED"); len(wanted) != 500 {
		t.Errorf("%d jobs are to be submitted", len(wanted))
	}
}

const joins = `job_type: job
tasks:
- {task_type: one, method: FORK_JOB, fork_job_type: other}
- {task_type: two, method: FORK_JOB, fork_job_type: other}
- {task_type: join, method: AWAIT_FORKED_JOB, await_forked_tasks: [one, two]}
`

// Children that end in one batch are counted together, what the batch itself writes included.
func TestAwaitedChildrenAreCountedOnce(t *testing.T) {
	for _, state := range []string{"COMPLETED", "FAILED"} {
		w := newWorld(t, joins)
		wanted := w.store.Wanted(w.run.ID, "WANTED")
		if len(wanted) != 2 {
			t.Fatalf("%v", wanted)
		}
		w.step(
			child(wanted[0], execution.ChildEnded, execution.ChildNews{Request: uuid.New(), State: "COMPLETED"}),
			child(wanted[1], execution.ChildEnded, execution.ChildNews{Request: uuid.New(), State: state, ErrorCode: "E"}),
		)
		if state == "COMPLETED" {
			w.want(engine.JobCompleted, map[string]engine.TaskState{"join": engine.TaskCompleted})
		} else {
			w.want(engine.JobFailed, map[string]engine.TaskState{"one": engine.TaskCompleted, "two": engine.TaskCompleted, "join": engine.TaskFailed})
		}
	}
}

// A row that is gone must end the step that asks for it: to ask again and again would hold the run's lock for ever.
func TestAMissingRowEndsTheStep(t *testing.T) {
	for gone, want := range map[string]string{"work[1]": "has no task 5", "work": "has no task 1", "last": "has no task 2"} {
		w := newWorld(t, steptest.Job)
		uid := w.start("find")[0]
		if gone != "last" { // which an edge leads to
			w.end([]uuid.UUID{uid}, hosts(3))
			uid = w.start("work[0]")[0]
		}
		w.store.Delete(w.run.ID, gone)
		_, err := w.Step(t.Context(), []execution.Event{ended(uid, engine.AttemptSucceeded, nil)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("without %s: %v, want %q", gone, err, want)
		}
		if w.store.Released(uid) {
			t.Error("a step that failed is stored")
		}
	}
}

// Runs whose definition is away wait; those whose definition can never be had fail.
func TestDefinitionsAreAskedForOutside(t *testing.T) {
	w := newWorld(t, steptest.Job)
	uids := w.start("find")
	w.source.err = errs.Unavailable("AWAY", "away")
	if v := w.step(ended(uids[0], engine.AttemptSucceeded, hosts(2))); v != execution.Postponed {
		t.Errorf("the result is %s", v)
	}
	w.want(engine.JobExecuting, map[string]engine.TaskState{"find": engine.TaskDispatched})
	w.source.err = errs.NotFound("GONE", "no such definition")
	w.Stepper = step.New(w.store, definition.NewCache(w.source), slog.New(slog.DiscardHandler))
	w.end(uids, hosts(2))
	w.want(engine.JobExecuting, map[string]engine.TaskState{"work": engine.TaskFailed, "last": engine.TaskSkipped, "sweep": engine.TaskReady})
}

// A cancel takes back what was not claimed, stops what runs and cancels what was forked, in one transaction.
func TestCancelReachesAttemptsAndChildren(t *testing.T) {
	w := newWorld(t, `job_type: job
tasks:
- {task_type: runs, method: SHELL, script: [x]}
- {task_type: placed, method: SHELL, script: [x]}
- {task_type: forks, method: FORK_JOB, fork_job_type: other}
- {task_type: asks, method: MANUAL}
`)
	running := w.start("runs")[0]
	p := placed(w.run, 1)
	if err := w.Dispatch(t.Context(), []execution.Placed{p}, w.now.Add(time.Minute), nil); err != nil {
		t.Fatal(err)
	}
	w.step(execution.Event{Kind: execution.Cancelled, Execution: w.run.ID, Reason: "enough"})
	if a := w.store.Attempt(running); !a.Live() || a.StopRequested == nil {
		t.Errorf("what runs: %+v", a)
	}
	if a := w.store.Attempt(p.UID); a.State != engine.AttemptCancelled {
		t.Errorf("what was placed: %+v", a)
	}
	if n := len(w.store.Wanted(w.run.ID, "CANCEL_WANTED")); n != 1 {
		t.Errorf("%d children are to be cancelled", n)
	}
	if a := w.store.Approval(step.Round{Task: step.Task{Execution: w.run.ID, Idx: 3}, Round: 1}); a.State != approval.Cancelled {
		t.Errorf("the approval is %s", a.State)
	}
	c := w.store.Committed[len(w.store.Committed)-1]
	if len(c.Stops) != 2 || len(c.Freed) != 1 || !c.Children {
		t.Errorf("others hear %+v", c)
	}
	w.step(ended(running, engine.AttemptCancelled, nil))
	w.want(engine.JobCancelled, map[string]engine.TaskState{"runs": engine.TaskCancelled})
}

func TestVotes(t *testing.T) {
	w := newWorld(t, "job_type: job\ntasks:\n- {task_type: ask, method: MANUAL}\n")
	ballot := func(user, task string, approve bool) approval.Ballot {
		return approval.Ballot{Key: execution.Key{Request: w.run.Request}, Org: "o", Task: task, User: user, Approve: approve}
	}
	k := step.Round{Task: step.Task{Execution: w.run.ID}, Round: 1}
	for _, tt := range []struct {
		ballot approval.Ballot
		want   string
	}{
		{ballot("bob", "other", true), "TASK_NOT_FOUND"},
		{ballot("ann", "ask", true), "SELF_APPROVAL_FORBIDDEN"},
		{ballot("bob", "ask", false), "COMMENT_REQUIRED"},
		{ballot("bob", "ask", true), ""},
		{ballot("eve", "ask", true), "APPROVAL_NOT_PENDING"},
	} {
		if _, err := w.Vote(t.Context(), tt.ballot); errs.Reason(err) != tt.want {
			t.Errorf("%s: %v, want %q", tt.ballot.User, err, tt.want)
		}
	}
	if a := w.store.Approval(k); a.State != approval.Approved || len(a.Votes) != 1 {
		t.Errorf("%+v", a)
	}
	w.want(engine.JobCompleted, map[string]engine.TaskState{"ask": engine.TaskCompleted})
}

// Slots of attempts that are not made are given back, whatever kept them from being made.
func TestSlotsComeBack(t *testing.T) {
	w := newWorld(t, steptest.Job)
	late, gone, twice := placed(w.run, 0), placed(w.run, 3), placed(w.run, 0)
	if err := w.Dispatch(t.Context(), []execution.Placed{late}, w.now, nil); !errors.Is(err, step.ErrLate) {
		t.Errorf("too late: %v", err)
	}
	if err := w.Dispatch(t.Context(), []execution.Placed{gone}, w.now.Add(time.Minute), nil); err != nil {
		t.Error(err)
	}
	again := steptest.NewRun(t, steptest.Job, 1)
	again.Key = w.run.Key
	again.Placed = []execution.Placed{twice}
	existing, err := w.Launch(t.Context(), []*execution.NewRun{again}, time.Time{}, nil)
	if err != nil || len(existing) != 1 || existing[0].ID != w.run.ID {
		t.Errorf("%v, %v", existing, err)
	}
	for name, p := range map[string]execution.Placed{"too late": late, "not READY": gone, "launched before": twice} {
		if !w.store.Released(p.UID) || w.store.Attempt(p.UID) != nil {
			t.Errorf("%s: its slots are kept", name)
		}
	}
	next := steptest.NewRun(t, steptest.Job, 1)
	next.Placed = []execution.Placed{placed(next, 0)}
	if _, err := w.Launch(t.Context(), []*execution.NewRun{next}, w.now, nil); !errors.Is(err, step.ErrLate) || !w.store.Released(next.Placed[0].UID) {
		t.Errorf("a launch that is too late: %v", err)
	}
}

// Tasks that are decided together may each look at something else of the same earlier task.
func TestTasksThatAreDecidedTogetherSeeWhatEachLooksAt(t *testing.T) {
	w := newWorld(t, `job_type: job
tasks:
- {task_type: build, method: SHELL, script: [x], on_completed: check}
- {task_type: check, method: SHELL, script: [x], on_completed: [one, two, three]}
- {task_type: one, method: SHELL, script: [x], when: "tasks.build.outputs.a == '1'"}
- {task_type: two, method: SHELL, script: [x], when: "tasks.build.outputs.b == '2'"}
- {task_type: three, method: SHELL, script: [x], when: "tasks.build.outputs.c == '4'"}
`)
	w.end(w.start("build"), map[string]string{"a": "1", "b": "2", "c": "3"})
	w.end(w.start("check"), nil)
	w.want(engine.JobExecuting, map[string]engine.TaskState{"one": engine.TaskReady, "two": engine.TaskReady, "three": engine.TaskSkipped})
}
