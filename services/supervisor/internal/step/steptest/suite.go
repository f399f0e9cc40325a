package steptest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/jobspec/value"
	"github.com/formicary/formicary/services/supervisor/internal/approval"
	"github.com/formicary/formicary/services/supervisor/internal/definition"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
	"github.com/formicary/formicary/services/supervisor/internal/step"
)

// Job is what the suite runs: a task that leads to two, of which one fans out, and clean-up.
const Job = `job_type: job
tasks:
- task_type: find
  method: SHELL
  script: [find]
  on_completed: [work, last]
- task_type: work
  method: SHELL
  fan_out: {source: hosts, item_var: host, max_parallel: 1}
  script: [work]
- task_type: last
  method: SHELL
  script: [last]
- task_type: sweep
  method: SHELL
  always_run: true
  script: [sweep]
`

// NewRun is a run of a job that has not been stored.
func NewRun(t testing.TB, text string, number int) *execution.NewRun {
	t.Helper()
	def, _, err := jobspec.Parse("job.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	p, err := def.Plan(value.Vars{})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	return &execution.NewRun{
		Run: execution.Run{
			ID: uuid.New(), Key: execution.Key{Request: uuid.New(), Run: number}, Org: "o", JobType: "job", Definition: uuid.NewString(), Priority: 50, AgeAt: now,
		},
		Vars: []byte(`{"N":1}`), SubmittedBy: "ann", State: engine.New(engine.Begin{Run: number, Plan: p}, now),
	}
}

// Suite runs the cases that every store has to pass, each on an empty store.
func Suite(t *testing.T, open func(testing.TB) step.Store) {
	cases := map[string]func(*testing.T, *seam){
		"a run is inserted once":                    insertedOnce,
		"a transaction that fails changes nothing":  failsWhole,
		"a lock reads the neighbourhood":            readsNeighbourhood,
		"trailing tasks come when little is open":   readsTrailing,
		"what is open comes with its live attempts": readsOpen,
		"an item is read with its group":            readsItems,
		"a policy is written when it changed":       keepsPolicy,
		"an attempt ends once":                      endsAttempts,
		"ready tasks come without their specs":      readsReady,
		"a load sees what was saved":                seesChildren,
		"of children the newest round counts":       countsNewest,
		"an ended child says how":                   readsEnded,
		"a vote is kept with its round":             keepsVotes,
		"of the past comes what is wanted":          readsPast,
		"completed items are kept":                  keepsItems,
	}
	if len(cases) != 15 {
		t.Fatalf("%d cases", len(cases))
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) { test(t, &seam{t, open(t)}) })
	}
}

// seam is a store under test.
type seam struct {
	*testing.T
	store step.Store
}

func (s *seam) transact(f func(context.Context, step.Tx) error) {
	s.Helper()
	if err := s.store.Transact(s.Context(), f); err != nil {
		s.Fatal(err)
	}
}

// launch stores a new run.
func (s *seam) launch(r *execution.NewRun) *execution.NewRun {
	s.Helper()
	s.transact(func(ctx context.Context, tx step.Tx) error {
		_, now, err := tx.Insert(ctx, []*execution.NewRun{r})
		if err != nil {
			return err
		}
		return tx.Save(&step.Writes{Now: now, Inserted: []*execution.NewRun{r}})
	})
	return r
}

// save stores what changed of a locked run.
func (s *seam) save(id uuid.UUID, w *step.Writes) {
	s.Helper()
	s.transact(func(ctx context.Context, tx step.Tx) error {
		l, err := tx.Lock(ctx, &step.Subjects{Runs: []uuid.UUID{id}})
		if err != nil {
			return err
		}
		w.Now = l.Now
		return tx.Save(w)
	})
}

func (s *seam) lock(subjects step.Subjects) (l *step.Loaded) {
	s.Helper()
	s.transact(func(ctx context.Context, tx step.Tx) (err error) {
		l, err = tx.Lock(ctx, &subjects)
		return err
	})
	return l
}

func (s *seam) load(n step.Needs) (l *step.Loaded) {
	s.Helper()
	s.transact(func(ctx context.Context, tx step.Tx) (err error) {
		l, err = tx.Load(ctx, &n)
		return err
	})
	return l
}

// names are those of the tasks that were read.
func names(l *step.Loaded) []string {
	var all []string
	for _, t := range l.Tasks {
		all = append(all, t.Name())
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (s *seam) want(what string, got, want []string) {
	s.Helper()
	if !slices.Equal(got, want) {
		s.Errorf("%s: %q, want %q", what, got, want)
	}
}

func (s *seam) ok(what string, ok bool) {
	s.Helper()
	if !ok {
		s.Error(what)
	}
}

func at(r *execution.NewRun, idx int) step.Task { return step.Task{Execution: r.ID, Idx: idx} }

func insertedOnce(_ *testing.T, s *seam) {
	r := s.launch(NewRun(s, Job, 1))
	again := NewRun(s, Job, 1)
	again.Key = r.Key
	s.transact(func(ctx context.Context, tx step.Tx) error {
		existing, now, err := tx.Insert(ctx, []*execution.NewRun{again, NewRun(s, Job, 1)})
		s.ok("a run is not told to exist", len(existing) == 1 && existing[0].ID == r.ID && existing[0].Key == r.Key && existing[0].State == engine.JobReady)
		s.ok("no time", !now.IsZero())
		return err
	})
	l := s.lock(step.Subjects{Runs: []uuid.UUID{r.ID, again.ID}})
	s.ok("not one run", len(l.Runs) == 1 && l.Runs[0].Org == "o" && l.Runs[0].Priority == 50 && l.Runs[0].Job.TasksTotal == 4 && l.Runs[0].Job.NormalOpen == 3)
}

func failsWhole(_ *testing.T, s *seam) {
	r := NewRun(s, Job, 1)
	broken := errors.New("broken")
	err := s.store.Transact(s.Context(), func(ctx context.Context, tx step.Tx) error {
		_, now, err := tx.Insert(ctx, []*execution.NewRun{r})
		return errors.Join(err, tx.Save(&step.Writes{Now: now, Inserted: []*execution.NewRun{r}}), broken)
	})
	s.ok("another error", errors.Is(err, broken))
	s.ok("a run is left", len(s.lock(step.Subjects{Runs: []uuid.UUID{r.ID}}).Runs) == 0)
}

func readsNeighbourhood(_ *testing.T, s *seam) {
	r := s.launch(NewRun(s, Job, 1))
	l := s.lock(step.Subjects{Runs: []uuid.UUID{r.ID}, Tasks: []step.Task{at(r, 0)}})
	s.want("tasks", names(l), []string{"find", "last", "work"})
	s.ok("not its two edges", len(l.Edges) == 2 && l.Edges[0].To == 1 && l.Edges[1].To == 2 && l.Edges[0].Control)
	s.ok("no spec", l.Tasks[0].Spec.Method != "")
	l = s.load(step.Needs{Out: []step.Task{at(r, 0)}})
	s.want("beyond", names(l), []string{"last", "work"})
	s.want("by index", names(s.load(step.Needs{Tasks: []step.Task{at(r, 3)}})), []string{"sweep"})
}

func readsTrailing(_ *testing.T, s *seam) {
	r := s.launch(NewRun(s, Job, 1))
	subjects := step.Subjects{Runs: []uuid.UUID{r.ID}, Tasks: []step.Task{at(r, 2)}, Ends: 2}
	s.want("with three open", names(s.lock(subjects)), []string{"last"})
	subjects.Ends = 3
	s.want("when all may end", names(s.lock(subjects)), []string{"last", "sweep"})
	s.want("asked for", names(s.load(step.Needs{Trailing: []uuid.UUID{r.ID}})), []string{"sweep"})
}

// dispatch makes an attempt of a READY task.
func (s *seam) dispatch(r *execution.NewRun, t *engine.Task) uuid.UUID {
	s.Helper()
	p := execution.Placed{Candidate: execution.CandidateOf(&r.Run, t), UID: uuid.New(), Ant: "ant1", Session: uuid.New()}
	r.State.Dispatched([]int{t.Idx}, time.Now())
	s.save(r.ID, &step.Writes{
		Runs: []step.ChangedRun{{ID: r.ID, Job: &r.State.Job}}, Tasks: []step.ChangedTask{{Run: &r.Run, Task: t}},
		Attempts: []step.NewAttempt{{Placed: p, Number: 1, ClaimUntil: time.Now().Add(time.Minute)}},
	})
	return p.UID
}

func readsOpen(_ *testing.T, s *seam) {
	r := s.launch(NewRun(s, Job, 1))
	uid := s.dispatch(r, r.State.Tasks[0])
	l := s.load(step.Needs{Open: []uuid.UUID{r.ID}})
	s.want("open", names(l), []string{"find", "last", "sweep", "work"})
	s.ok("not its attempt", len(l.Attempts) == 1 && l.Attempts[0].UID == uid && l.Attempts[0].State == engine.AttemptDispatched && l.Attempts[0].Slots == 1)
	for _, t := range l.Tasks {
		s.ok("a task is "+string(t.State), t.State == map[bool]engine.TaskState{true: engine.TaskDispatched, false: engine.TaskBlocked}[t.Idx == 0])
	}
}

// expand makes the items of the fan-out of Job.
func (s *seam) expand(r *execution.NewRun, items ...string) {
	s.Helper()
	now := time.Now()
	st := r.State
	list := make([]plan.Item, len(items))
	for i, name := range items {
		list[i] = plan.Item{Name: "work[" + name + "]", Value: name}
	}
	st.Dispatched([]int{0}, now)
	st.TaskEnded(0, engine.Outcome{State: engine.AttemptSucceeded, Claimed: true}, now)
	st.Decide(1, &plan.Decision{Items: list})
	st.Continue(now)
	w := &step.Writes{Runs: []step.ChangedRun{{ID: r.ID, Job: &st.Job, WithPolicy: st.PolicyChanged}}}
	for idx := range len(st.Tasks) {
		if t := st.Tasks[idx]; t.Changed {
			w.Tasks = append(w.Tasks, step.ChangedTask{Run: &r.Run, Task: t})
		}
	}
	s.save(r.ID, w)
	for _, t := range st.Tasks {
		t.Changed, t.New = false, false
	}
}

func readsItems(_ *testing.T, s *seam) {
	r := s.launch(NewRun(s, Job, 1))
	s.expand(r, "a", "b")
	l := s.lock(step.Subjects{Runs: []uuid.UUID{r.ID}, Tasks: []step.Task{at(r, 4)}})
	s.want("an item", names(l), []string{"work", "work[a]"})
	for _, t := range l.Tasks {
		if t.IsItem() {
			s.ok("its own spec", t.Spec.FanOut == nil && t.Group == 1 && t.ItemValue == "a" && t.State == engine.TaskReady)
		} else {
			s.ok("its group", t.Items != nil && t.Items.Total == 2 && t.Items.First == 4 && t.Spec.FanOut != nil && t.WaitGate == engine.GateItems)
		}
	}
	uid := s.dispatch(r, r.State.Tasks[4])
	l = s.load(step.Needs{Items: []step.Task{at(r, 1)}, Results: []step.Task{at(r, 1)}})
	s.want("items", names(l), []string{"work[a]", "work[b]"})
	s.ok("not their attempt", len(l.Attempts) == 1 && l.Attempts[0].UID == uid)
	s.ok("not their results", len(l.Results) == 2 && l.Results[0].Status == "DISPATCHED" && l.Results[1].Index == 1 && l.Results[1].Status == "BLOCKED")
	now := time.Now()
	for i, state := range map[int]engine.TaskState{4: engine.TaskFailed, 5: engine.TaskCompleted} {
		t := r.State.Tasks[i]
		t.State, t.Message, t.FailureClass, t.ErrorCode, t.EndedAt, t.Changed = state, "said", engine.ClassTimeout, "E", &now, true
		s.save(r.ID, &step.Writes{Tasks: []step.ChangedTask{{Run: &r.Run, Task: t}}})
	}
	l = s.load(step.Needs{Results: []step.Task{at(r, 1)}})
	s.ok("not what failed", len(l.Results) == 2 && l.Results[0].ErrorMessage == "said" && l.Results[0].ErrorCode == "E" && l.Results[0].TimedOut)
	s.ok("an error of what did not fail", len(l.Results) == 2 && l.Results[1].ErrorMessage == "" && l.Results[1].ErrorCode == "" && !l.Results[1].TimedOut)
}

func keepsPolicy(_ *testing.T, s *seam) {
	r := s.launch(NewRun(s, Job, 1))
	j := r.State.Job
	j.Policy.Pauses, j.Failing, j.ErrorCode = 7, true, "E"
	s.save(r.ID, &step.Writes{Runs: []step.ChangedRun{{ID: r.ID, Job: &j}}})
	got := s.lock(step.Subjects{Runs: []uuid.UUID{r.ID}}).Runs[0].Job
	s.ok("not what changed", got.Policy.Pauses == 0 && got.Failing && got.ErrorCode == "E")
	s.save(r.ID, &step.Writes{Runs: []step.ChangedRun{{ID: r.ID, Job: &j, WithPolicy: true}}})
	s.ok("not the policy", s.lock(step.Subjects{Runs: []uuid.UUID{r.ID}}).Runs[0].Job.Policy.Pauses == 7)
}

func endsAttempts(_ *testing.T, s *seam) {
	r := s.launch(NewRun(s, Job, 1))
	uid := s.dispatch(r, r.State.Tasks[0])
	s.save(r.ID, &step.Writes{Stops: []uuid.UUID{uid}})
	l := s.lock(step.Subjects{Attempts: []uuid.UUID{uid, uuid.New()}})
	s.want("its task", names(l), []string{"find", "last", "work"})
	s.ok("not it", len(l.Runs) == 1 && len(l.Attempts) == 1 && l.Attempts[0].Live() && l.Attempts[0].StopRequested != nil && l.Attempts[0].Execution == r.ID)
	s.save(r.ID, &step.Writes{Ends: []step.EndedAttempt{{UID: uid, End: execution.End{
		Outcome: engine.Outcome{State: engine.AttemptCancelled}, Digest: []byte("d"),
	}}}})
	a := s.lock(step.Subjects{Attempts: []uuid.UUID{uid}}).Attempts[0]
	s.ok("it lives", !a.Live() && string(a.Digest) == "d")
	s.ok("it is open", len(s.load(step.Needs{Open: []uuid.UUID{r.ID}}).Attempts) == 0)
}

func readsReady(_ *testing.T, s *seam) {
	r := s.launch(NewRun(s, Job, 1))
	s.transact(func(ctx context.Context, tx step.Tx) error {
		l, err := tx.LockReady(ctx, []step.Task{at(r, 0), {Execution: uuid.New()}})
		s.ok("not the run", len(l.Runs) == 1 && l.Runs[0].ID == r.ID && !l.Now.IsZero())
		s.ok("not the task", len(l.Tasks) == 1 && l.Tasks[0].State == engine.TaskReady && l.Tasks[0].Name() == "find" && l.Tasks[0].Spec.Method == "")
		return err
	})
}

const forking = `job_type: job
tasks:
- {task_type: one, method: FORK_JOB, fork_job_type: other}
- {task_type: two, method: FORK_JOB, fork_job_type: other}
- {task_type: join, method: AWAIT_FORKED_JOB, await_forked_tasks: [two, one], dependencies: [one, two]}
`

// forked stores a run with a child of each of its first two tasks.
func (s *seam) forked() (*execution.NewRun, [2]step.Round) {
	s.Helper()
	r := NewRun(s, forking, 1)
	s.launch(r)
	var rounds [2]step.Round
	var w step.Writes
	for i := range rounds {
		rounds[i] = step.Round{Task: at(r, i), Round: 1}
		w.Children = append(w.Children, step.NewChild{Round: rounds[i], Fork: &plan.Fork{JobType: "other", Wait: true}})
	}
	s.save(r.ID, &w)
	return r, rounds
}

func (s *seam) ended(k step.Round, c execution.ChildNews) {
	s.Helper()
	s.save(k.Execution, &step.Writes{Effects: step.Effects{News: []step.ChildNews{{Round: k, Kind: execution.ChildEnded, ChildNews: c}}}})
}

func (s *seam) awaited(r *execution.NewRun) *step.Loaded {
	s.Helper()
	return s.load(step.Needs{Children: []step.Awaited{{Task: at(r, 2), Names: []string{"two", "one"}}}})
}

func seesChildren(_ *testing.T, s *seam) {
	r, rounds := s.forked()
	needs := step.Needs{Children: []step.Awaited{{Task: at(r, 2), Names: []string{"two", "one"}}}}
	s.transact(func(ctx context.Context, tx step.Tx) error {
		l, err := tx.Lock(ctx, &step.Subjects{Runs: []uuid.UUID{r.ID}})
		if err != nil {
			return err
		}
		w := &step.Writes{Now: l.Now}
		for _, k := range rounds {
			w.News = append(w.News, step.ChildNews{Round: k, Kind: execution.ChildEnded, ChildNews: execution.ChildNews{State: "COMPLETED"}})
		}
		before, err := tx.Load(ctx, &needs)
		if err != nil {
			return err
		}
		if err := tx.Save(w); err != nil {
			return err
		}
		after, err := tx.Load(ctx, &needs)
		s.ok("not two were open", before.Open[at(r, 2)] == 2 && len(before.Ended) == 0)
		s.ok("not two have ended", err == nil && len(after.Open) == 0 && len(after.Ended) == 2)
		return err
	})
}

func countsNewest(_ *testing.T, s *seam) {
	r, rounds := s.forked()
	for _, k := range rounds {
		s.ended(k, execution.ChildNews{State: "FAILED"})
	}
	again := rounds[0]
	again.Round = 2
	s.save(r.ID, &step.Writes{Effects: step.Effects{Children: []step.NewChild{{Round: again, Fork: &plan.Fork{JobType: "other", Wait: true}}}}})
	l := s.awaited(r)
	s.ok("the new round is not open", l.Open[at(r, 2)] == 1 && len(l.Ended) == 0)
	s.ended(again, execution.ChildNews{State: "COMPLETED"})
	l = s.awaited(r)
	s.ok("not the new round", len(l.Open) == 0 && len(l.Ended) == 2 && l.Ended[1].Outcome == "COMPLETED")
}

func readsEnded(_ *testing.T, s *seam) {
	r, rounds := s.forked()
	s.ended(rounds[0], execution.ChildNews{Request: uuid.New(), State: "FAILED", ExitCode: 3, ErrorCode: "E", Message: "no", Outputs: map[string]string{"A": "1"}})
	s.ended(rounds[0], execution.ChildNews{State: "COMPLETED"}) // it has ended
	s.save(r.ID, &step.Writes{Effects: step.Effects{News: []step.ChildNews{
		{Round: rounds[1], Kind: execution.ChildRefused, ChildNews: execution.ChildNews{ErrorCode: "GONE", Message: "no such job"}},
	}}})
	l := s.awaited(r)
	if len(l.Ended) != 2 {
		s.Fatalf("%+v", l.Ended)
	}
	two, one := l.Ended[0], l.Ended[1] // as they are named
	s.ok("not the refused one", two.Name == "two" && two.Outcome == "refused" && two.Code == "" && two.Message == "no such job")
	s.ok("not the failed one", one.Name == "one" && one.Outcome == "FAILED" && one.Exit == 3 && one.Code == "E" && one.Outputs["A"] == "1" && !one.Item)
}

func keepsVotes(_ *testing.T, s *seam) {
	r := NewRun(s, "job_type: job\ntasks:\n- {task_type: ask, method: MANUAL}\n", 1)
	s.launch(r)
	k := step.Round{Task: at(r, 0), Round: 1}
	load := func() *approval.Approval { return s.load(step.Needs{Approval: &k.Task}).Approval }
	s.ok("an approval", load() == nil)
	t := r.State.Tasks[0]
	s.save(r.ID, &step.Writes{Effects: step.Effects{Approvals: []step.NewApproval{{Round: k, Org: "o", Policy: t.Approval}}}})
	a := load()
	s.ok("not pending", a != nil && a.State == approval.Pending && a.Task == "ask" && a.SubmittedBy == "ann" && a.Round == 1 && len(a.Votes) == 0)
	s.save(r.ID, &step.Writes{Vote: &step.CastVote{Round: k, Vote: approval.Vote{Voter: "bob", Approve: true, At: time.Now()}}})
	a = load()
	s.ok("not its vote", a.State == approval.Pending && len(a.Votes) == 1 && a.Votes[0].Voter == "bob" && a.Votes[0].Approve)
	s.save(r.ID, &step.Writes{Effects: step.Effects{Decided: []step.Decided{{Round: k, State: approval.Rejected, Vote: true}}}})
	a = load()
	s.ok("not rejected by time", a.State == approval.Rejected && len(a.Votes) == 2)
	s.save(r.ID, &step.Writes{Effects: step.Effects{Decided: []step.Decided{{Round: k, State: approval.Cancelled}}}})
	s.ok("what is decided changed", load().State == approval.Rejected)
	k.Round = 2
	s.save(r.ID, &step.Writes{Effects: step.Effects{Approvals: []step.NewApproval{{Round: k, Org: "o", Policy: t.Approval}}}})
	a = load()
	s.ok("not the newest round", a.Round == 2 && len(a.Votes) == 0)
}

func readsPast(_ *testing.T, s *seam) {
	r := NewRun(s, Job, 1)
	s.launch(r)
	now := time.Now()
	end := func(idx int, outputs map[string]string) {
		t := r.State.Tasks[idx]
		r.State.Dispatched([]int{idx}, now)
		now = now.Add(time.Second)
		r.State.TaskEnded(idx, engine.Outcome{State: engine.AttemptSucceeded, Claimed: true, Outputs: outputs, Body: "body"}, now)
		s.save(r.ID, &step.Writes{Tasks: []step.ChangedTask{{Run: &r.Run, Task: t}}})
	}
	end(0, map[string]string{"A": "1", "B": "2"})
	r.State.Decide(1, &plan.Decision{Off: true})
	r.State.Continue(now)
	end(2, map[string]string{"A": "3"})
	l := s.load(step.Needs{Contexts: []uuid.UUID{r.ID}, Past: []step.Past{{Execution: r.ID, Wants: definition.Wants{
		Outputs: map[string]bool{"A": true, "C": true},
		Tasks:   map[string]template.TaskFields{"find": {Result: true, Outputs: map[string]bool{"B": true}}, "sweep": {}},
	}}}})
	s.ok("not the variables", len(l.Contexts) == 1 && l.Contexts[0].ID == r.ID && string(l.Contexts[0].Vars) == `{"N":1}`)
	s.ok("not the newest output", len(l.Outputs) == 1 && l.Outputs[0].Name == "A" && l.Outputs[0].Value == "3" && l.Outputs[0].Idx == 2)
	var past definition.Past
	for _, f := range l.Facts {
		past.AddFact(f.Idx, f.Name, f.At, f.TaskFact)
	}
	f, ok := past.Facts()["find"]
	s.ok("not the fact", len(past.Facts()) == 1 && ok && f.State == "COMPLETED" && f.Result == "body" && f.Outputs["B"] == "2" && f.Outputs["A"] == "")
	l = s.load(step.Needs{Past: []step.Past{{Execution: r.ID, Wants: definition.Wants{AllOutputs: true, AllTasks: true}}}})
	s.ok("not everything", len(l.Outputs) == 2 && len(l.Facts) == 2)
}

func keepsItems(_ *testing.T, s *seam) {
	r := s.launch(NewRun(s, Job, 1))
	s.expand(r, "a", "b")
	t := r.State.Tasks[4]
	r.State.Dispatched([]int{4}, time.Now())
	r.State.TaskEnded(4, engine.Outcome{State: engine.AttemptSucceeded, Claimed: true, ExitCode: 2, Outputs: map[string]string{"A": "1"}}, time.Now())
	s.save(r.ID, &step.Writes{Tasks: []step.ChangedTask{{Run: &r.Run, Task: t}}})
	g := step.KeptGroup{Key: r.Key, Name: "work"}
	kept := s.load(step.Needs{Kept: []step.KeptGroup{g}}).Kept[g]
	s.ok("not what completed", len(kept) == 1 && kept["work[a]"].Value == "a" && kept["work[a]"].Outputs["A"] == "1")
}
