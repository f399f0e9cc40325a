// Package steptest holds runs in memory, and the suite that every store of package step has to pass.
package steptest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/jobspec/condition"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/services/supervisor/internal/approval"
	"github.com/formicary/formicary/services/supervisor/internal/definition"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
	"github.com/formicary/formicary/services/supervisor/internal/step"
)

// Memory is a step.Store. One transaction runs at a time, on a copy that becomes the state when it ends well.
type Memory struct {
	// Clock is its time; Committed are the changes of the transactions that ended well, RoundTrips those of the last one.
	Clock      func() time.Time
	Committed  []execution.Changes
	RoundTrips int

	mu    sync.Mutex
	state *state
}

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{Clock: time.Now, state: &state{
		runs: map[uuid.UUID]*run{}, attempts: map[uuid.UUID]*execution.Attempt{}, children: map[step.Round]*child{},
		approvals: map[step.Round]*approval.Approval{}, released: map[uuid.UUID]bool{},
	}}
}

// state is all that is stored. Values are replaced and never changed, so that a copy of the maps is a copy.
type state struct {
	runs      map[uuid.UUID]*run
	attempts  map[uuid.UUID]*execution.Attempt
	children  map[step.Round]*child
	approvals map[step.Round]*approval.Approval
	released  map[uuid.UUID]bool // slots that are to be given back
}

type run struct {
	execution.Run
	job         engine.Job
	vars        []byte
	submittedBy string
	created     time.Time
	tasks       map[int]*engine.Task
	edges       []engine.Edge
}

type child struct {
	step.NewChild
	state    string
	request  uuid.UUID
	ended    bool
	newsKind execution.Kind
	news     execution.ChildNews
}

func (s *state) clone() *state {
	c := &state{
		runs: make(map[uuid.UUID]*run, len(s.runs)), attempts: maps.Clone(s.attempts), children: maps.Clone(s.children),
		approvals: maps.Clone(s.approvals), released: maps.Clone(s.released),
	}
	for id, r := range s.runs {
		own := *r
		own.tasks = maps.Clone(r.tasks)
		c.runs[id] = &own
	}
	return c
}

// Now is the time by its clock.
func (m *Memory) Now() time.Time { return m.Clock() }

// Undone is true of every error: nothing is stored then.
func (*Memory) Undone(error) bool { return true }

// Transact runs f in a transaction.
func (m *Memory) Transact(ctx context.Context, f func(context.Context, step.Tx) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	x := &memoryTx{state: m.state.clone(), now: m.Clock()}
	if err := f(ctx, x); err != nil {
		return err
	}
	m.state, m.RoundTrips = x.state, x.trips+1
	m.Committed = append(m.Committed, x.changes...)
	return nil
}

// FindTask returns the execution and the index of a task.
func (m *Memory) FindTask(_ context.Context, org string, key execution.Key, task string) (uuid.UUID, int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var newest *run
	for _, r := range m.state.runs {
		if r.Request == key.Request && r.Org == org && (key.Run == 0 || r.Key.Run == key.Run) && (newest == nil || newest.Key.Run < r.Key.Run) {
			newest = r
		}
	}
	if newest != nil {
		for _, idx := range slices.Sorted(maps.Keys(newest.tasks)) {
			if newest.tasks[idx].Name() == task {
				return newest.ID, idx, nil
			}
		}
	}
	return uuid.Nil, 0, errs.NotFound("TASK_NOT_FOUND", "request %s has no task %s", key.Request, task)
}

// Run returns a run and its tasks by name.
func (m *Memory) Run(id uuid.UUID) (engine.Job, map[string]*engine.Task) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.state.runs[id]
	tasks := make(map[string]*engine.Task, len(r.tasks))
	for _, t := range r.tasks {
		tasks[t.Name()] = t
	}
	return r.job, tasks
}

// Attempt returns an attempt, nil when there is none.
func (m *Memory) Attempt(uid uuid.UUID) *execution.Attempt {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.attempts[uid]
}

// Claim makes attempts RUNNING.
func (m *Memory) Claim(uids ...uuid.UUID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, uid := range uids {
		a := *m.state.attempts[uid]
		a.State = engine.AttemptRunning
		m.state.attempts[uid] = &a
	}
}

// Wanted returns the children of a run that are to be submitted or cancelled, in order.
func (m *Memory) Wanted(id uuid.UUID, state string) []step.Round {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []step.Round
	for k, c := range m.state.children {
		if k.Execution == id && c.state == state {
			all = append(all, k)
		}
	}
	slices.SortFunc(all, byTask)
	return all
}

// Approval returns a request for approval.
func (m *Memory) Approval(r step.Round) *approval.Approval {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.approvals[r]
}

// Released says that the slots of an attempt are to be given back.
func (m *Memory) Released(uid uuid.UUID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.released[uid]
}

// Delete loses a task, as only a fault can.
func (m *Memory) Delete(id uuid.UUID, name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.state.runs[id]
	maps.DeleteFunc(r.tasks, func(_ int, t *engine.Task) bool { return t.Name() == name })
}

func byTask(a, b step.Round) int {
	return cmp.Or(cmp.Compare(a.Idx, b.Idx), cmp.Compare(a.Round, b.Round))
}

// memoryTx is a step.Tx.
type memoryTx struct {
	state   *state
	now     time.Time
	trips   int
	changes []execution.Changes
}

// copyOf is a task as a row gives it back.
func copyOf(t *engine.Task) *engine.Task {
	own := *t
	own.Spec, own.ItemValue = nil, nil
	raw, err := json.Marshal(&own)
	if err != nil {
		panic(err)
	}
	c := &engine.Task{}
	if err := json.Unmarshal(raw, c); err != nil {
		panic(err)
	}
	c.Spec, c.ItemValue, c.Changed, c.New, c.From = t.Spec, t.ItemValue, false, false, ""
	return c
}

func (x *memoryTx) loadTasks(l *step.Loaded, r *run, bare bool, want func(*engine.Task) bool) {
	for _, idx := range slices.Sorted(maps.Keys(r.tasks)) {
		t := r.tasks[idx]
		if !want(t) {
			continue
		}
		c := copyOf(t)
		if bare || t.IsItem() {
			c.Spec = &plan.Task{Name: t.Name(), AlwaysRun: t.Spec.AlwaysRun, AllowFailure: t.Spec.AllowFailure}
		}
		l.Tasks = append(l.Tasks, step.LoadedTask{Execution: r.ID, Task: c})
	}
}

func (x *memoryTx) loadRuns(l *step.Loaded, ids map[uuid.UUID]bool) {
	for _, id := range slices.SortedFunc(maps.Keys(ids), func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) }) {
		if r := x.state.runs[id]; r != nil {
			l.Runs = append(l.Runs, step.LoadedRun{Run: r.Run, Job: r.job})
		}
	}
}

// neighbours loads the edges that leave a task and those that they lead to.
func (x *memoryTx) neighbours(l *step.Loaded, t step.Task, self bool) {
	r := x.state.runs[t.Execution]
	if r == nil || r.tasks[t.Idx] == nil {
		return
	}
	near := map[int]bool{}
	if self {
		near[t.Idx] = true
		if r.tasks[t.Idx].IsItem() {
			near[r.tasks[t.Idx].Group] = true
		}
	}
	for _, e := range r.edges {
		if e.From == t.Idx {
			l.Edges = append(l.Edges, step.LoadedEdge{Execution: r.ID, Edge: e})
			near[e.To] = true
		}
	}
	x.loadTasks(l, r, false, func(t *engine.Task) bool { return near[t.Idx] })
}

// Lock reads what events are about.
func (x *memoryTx) Lock(_ context.Context, s *step.Subjects) (*step.Loaded, error) {
	x.trips++
	l := &step.Loaded{Now: x.now}
	tasks := map[step.Task]bool{}
	runs := map[uuid.UUID]bool{}
	for _, uid := range s.Attempts {
		if a := x.state.attempts[uid]; a != nil {
			own := *a
			l.Attempts = append(l.Attempts, &own)
			tasks[step.Task{Execution: a.Execution, Idx: a.Idx}], runs[a.Execution] = true, true
		}
	}
	for _, id := range s.Runs {
		runs[id] = true
	}
	for _, t := range s.Tasks {
		tasks[t] = true
	}
	x.loadRuns(l, runs)
	trailing := map[uuid.UUID]bool{}
	for t := range tasks {
		x.neighbours(l, t, true)
		trailing[t.Execution] = true
	}
	for id := range trailing {
		if r := x.state.runs[id]; r != nil && r.job.NormalOpen <= s.Ends {
			x.loadTasks(l, r, false, trails)
		}
	}
	for _, id := range s.Awaiting {
		if r := x.state.runs[id]; r != nil {
			x.loadTasks(l, r, false, func(t *engine.Task) bool {
				return t.State == engine.TaskWaiting && t.WaitGate == engine.GateChild && t.Method() == plan.MethodAwaitForkedJob
			})
		}
	}
	return l, nil
}

func trails(t *engine.Task) bool { return t.Trailing && t.State == engine.TaskBlocked }

// LockReady reads tasks without their specs.
func (x *memoryTx) LockReady(_ context.Context, tasks []step.Task) (*step.Loaded, error) {
	x.trips++
	l := &step.Loaded{Now: x.now}
	runs := map[uuid.UUID]bool{}
	for _, t := range tasks {
		runs[t.Execution] = true
		if r := x.state.runs[t.Execution]; r != nil {
			x.loadTasks(l, r, true, func(o *engine.Task) bool { return o.Idx == t.Idx })
		}
	}
	x.loadRuns(l, runs)
	return l, nil
}

// Load reads more.
func (x *memoryTx) Load(_ context.Context, n *step.Needs) (*step.Loaded, error) {
	x.trips++
	l := &step.Loaded{Open: map[step.Task]int{}}
	for _, t := range n.Out {
		x.neighbours(l, t, false)
	}
	for _, t := range n.Tasks {
		if r := x.state.runs[t.Execution]; r != nil {
			x.loadTasks(l, r, false, func(o *engine.Task) bool { return o.Idx == t.Idx })
		}
	}
	for _, id := range n.Trailing {
		x.loadTasks(l, x.state.runs[id], false, trails)
	}
	for _, id := range n.Open {
		x.loadOpen(l, x.state.runs[id], func(*engine.Task) bool { return true })
	}
	for _, g := range n.Items {
		x.loadOpen(l, x.state.runs[g.Execution], func(t *engine.Task) bool { return t.IsItem() && t.Group == g.Idx })
	}
	for _, g := range n.Results {
		x.loadResults(l, g)
	}
	x.loadPast(l, n)
	for _, g := range n.Kept {
		x.loadKept(l, g)
	}
	for _, a := range n.Children {
		x.loadChildren(l, a)
	}
	if n.Approval != nil {
		x.loadApproval(l, *n.Approval)
	}
	return l, nil
}

func (x *memoryTx) loadOpen(l *step.Loaded, r *run, want func(*engine.Task) bool) {
	for _, a := range x.state.attempts {
		if a.Execution == r.ID && a.Live() && want(r.tasks[a.Idx]) {
			own := *a
			l.Attempts = append(l.Attempts, &own)
		}
	}
	x.loadTasks(l, r, false, func(t *engine.Task) bool { return t.EndedAt == nil && want(t) })
}

func (x *memoryTx) loadResults(l *step.Loaded, g step.Task) {
	r := x.state.runs[g.Execution]
	for _, idx := range slices.Sorted(maps.Keys(r.tasks)) {
		if t := r.tasks[idx]; t.IsItem() && t.Group == g.Idx {
			result := t.ItemResult()
			result.Status = string(stored(t.State))
			l.Results = append(l.Results, step.LoadedResult{Group: g, ItemResult: result})
		}
	}
}

func (x *memoryTx) loadPast(l *step.Loaded, n *step.Needs) {
	for _, id := range n.Contexts {
		if r := x.state.runs[id]; r != nil {
			c := &execution.Context{Retries: r.job.Retries + r.job.Policy.Pauses, Vars: r.vars, StartedAt: r.job.StartedAt, CreatedAt: r.created}
			c.ID = id
			l.Contexts = append(l.Contexts, c)
		}
	}
	for _, p := range n.Past {
		r := x.state.runs[p.Execution]
		newest := map[string]step.LoadedOutput{}
		for _, idx := range slices.Sorted(maps.Keys(r.tasks)) {
			t := r.tasks[idx]
			if t.EndedAt == nil || t.IsItem() {
				continue
			}
			at := step.Task{Execution: r.ID, Idx: idx}
			for name, v := range t.Outputs {
				if (p.AllOutputs || p.Outputs[name]) && t.State.Gives() && !newest[name].At.After(*t.EndedAt) {
					newest[name] = step.LoadedOutput{Task: at, Name: name, Value: v, At: *t.EndedAt}
				}
			}
			l.Facts = append(l.Facts, factsOf(p.Wants, at, t)...)
		}
		l.Outputs = slices.AppendSeq(l.Outputs, maps.Values(newest))
	}
}

// factsOf are what is wanted of a task that has ended.
func factsOf(w definition.Wants, at step.Task, t *engine.Task) []step.LoadedFact {
	fields, ok := w.Tasks[t.Name()]
	if !ok && !w.AllTasks {
		return nil
	}
	f := step.LoadedFact{Task: at, Name: t.Name(), At: *t.EndedAt, TaskFact: condition.TaskFact{
		State: string(t.State), ExitCode: t.ExitCode, FailureClass: t.FailureClass, Message: t.Message,
	}}
	if w.AllTasks || fields.Result {
		f.Result = t.Result
	}
	for name, v := range t.Outputs {
		if w.AllTasks || fields.AllOutputs || fields.Outputs[name] {
			if f.Outputs == nil {
				f.Outputs = map[string]string{}
			}
			f.Outputs[name] = v
		}
	}
	return []step.LoadedFact{f}
}

func (x *memoryTx) loadKept(l *step.Loaded, g step.KeptGroup) {
	if l.Kept == nil {
		l.Kept = map[step.KeptGroup]map[string]engine.Kept{}
	}
	for _, r := range x.state.runs {
		for _, t := range r.tasks {
			if r.Key == g.Key && t.IsItem() && t.Spec.Name == g.Name && t.State == engine.TaskCompleted {
				if l.Kept[g] == nil {
					l.Kept[g] = map[string]engine.Kept{}
				}
				l.Kept[g][t.ItemName] = engine.Kept{Value: t.ItemValue, Reused: engine.Reused{ExitCode: t.ExitCode, Outputs: t.Outputs, Result: t.Result}}
			}
		}
	}
}

func (x *memoryTx) loadChildren(l *step.Loaded, a step.Awaited) {
	var ended []step.EndedChild
	open := 0
	for _, name := range a.Names {
		newest := map[int]step.Round{}
		for k, c := range x.state.children {
			if t := x.state.runs[a.Execution].tasks[k.Idx]; k.Execution == a.Execution && t.Spec.Name == name && !c.Chore && newest[k.Idx].Round < k.Round {
				newest[k.Idx] = k
			}
		}
		for _, idx := range slices.Sorted(maps.Keys(newest)) {
			c, t := x.state.children[newest[idx]], x.state.runs[a.Execution].tasks[idx]
			if !c.ended {
				open++
				continue
			}
			e := step.EndedChild{
				Awaits: a.Task, Name: name, Item: t.IsItem(), Outcome: c.news.State, Message: c.news.Message, Code: c.news.ErrorCode,
				Exit: c.news.ExitCode, Fork: t.Fork,
			}
			if !e.Item {
				e.Outputs = c.news.Outputs
			}
			if c.newsKind == execution.ChildRefused {
				e.Outcome, e.Code = "refused", ""
			}
			ended = append(ended, e)
		}
	}
	if open > 0 {
		l.Open[a.Task] = open
		return
	}
	l.Ended = append(l.Ended, ended...)
}

func (x *memoryTx) loadApproval(l *step.Loaded, t step.Task) {
	for k, a := range x.state.approvals {
		if k.Task == t && (l.Approval == nil || l.Approval.Round < a.Round) {
			own := *a
			own.Votes = slices.Clone(a.Votes)
			l.Approval = &own
		}
	}
}

// Insert adds runs.
func (x *memoryTx) Insert(_ context.Context, runs []*execution.NewRun) ([]execution.Existing, time.Time, error) {
	x.trips++
	var existing []execution.Existing
	for _, n := range runs {
		there := false
		for _, r := range x.state.runs {
			if r.Key == n.Key {
				there = true
				existing = append(existing, execution.Existing{ID: r.ID, Key: r.Key, State: r.job.State})
			}
		}
		if !there {
			x.state.runs[n.ID] = &run{Run: n.Run, job: *n.JobOf(), vars: n.Vars, submittedBy: n.SubmittedBy, created: x.now, tasks: map[int]*engine.Task{}}
		}
	}
	return existing, x.now, nil
}

// stored is the state of a task as its row has it: that it runs is said by its attempt.
func stored(s engine.TaskState) engine.TaskState {
	if s == engine.TaskRunning {
		return engine.TaskDispatched
	}
	return s
}

func (r *run) put(t *engine.Task) {
	c := copyOf(t)
	c.State = stored(c.State)
	r.tasks[c.Idx] = c
}

// Save stores what changed.
func (x *memoryTx) Save(w *step.Writes) error {
	for _, n := range w.Inserted {
		if n.State == nil {
			continue
		}
		r := x.state.runs[n.ID]
		for idx := range len(n.State.Tasks) {
			r.put(n.State.Tasks[idx])
			r.edges = append(r.edges, n.State.Out[idx]...)
		}
	}
	x.saveEffects(&w.Effects, w.Now)
	if v := w.Vote; v != nil {
		a := *x.state.approvals[v.Round]
		a.Votes = append(slices.Clone(a.Votes), v.Vote)
		if v.Decided {
			a.State, a.DecidedAt = v.State, &v.At
		}
		x.state.approvals[v.Round] = &a
	}
	for _, e := range w.Ends {
		a := *x.state.attempts[e.UID]
		a.State, a.Digest = e.Outcome.State, e.Digest
		x.state.attempts[e.UID], x.state.released[e.UID] = &a, true
	}
	for _, uid := range w.Stops {
		a := *x.state.attempts[uid]
		a.StopRequested = &w.Now
		x.state.attempts[uid] = &a
	}
	for _, t := range w.Tasks {
		r := x.state.runs[t.Run.ID]
		if _, ok := r.tasks[t.Idx]; ok == t.New {
			return fmt.Errorf("task %s: new %v, there %v", t.Name(), t.New, ok)
		}
		if old := r.tasks[t.Idx]; old != nil { // the spec and the item stay
			own := *t.Task
			own.Spec, own.ItemValue = old.Spec, old.ItemValue
			r.put(&own)
			continue
		}
		r.put(t.Task)
	}
	for _, c := range w.Runs {
		r := x.state.runs[c.ID]
		policy := r.job.Policy
		r.job = *c.Job
		if !c.WithPolicy {
			r.job.Policy = policy
		}
	}
	for _, a := range w.Attempts {
		x.state.attempts[a.UID] = &execution.Attempt{
			UID: a.UID, Execution: a.Execution, Idx: a.Idx, Number: a.Number, State: engine.AttemptDispatched, Ant: a.Ant, Session: a.Session,
			Slots: a.Slots, LeaseUntil: a.ClaimUntil, DispatchedAt: w.Now,
		}
	}
	for _, uid := range w.Settled {
		delete(x.state.released, uid)
	}
	for _, uid := range w.Released {
		x.state.released[uid] = true
	}
	return nil
}

func (x *memoryTx) saveEffects(f *step.Effects, now time.Time) {
	for _, c := range f.Children {
		x.state.children[c.Round] = &child{NewChild: c, state: "WANTED"}
	}
	for i := range f.News {
		x.saveNews(&f.News[i])
	}
	for _, k := range f.Halted {
		x.cancel(k, func(*child) bool { return true })
	}
	for _, id := range f.Cancelled {
		for k := range x.state.children {
			if k.Execution == id {
				x.cancel(k, func(c *child) bool { return c.Fork.Wait || c.Fork.CascadeCancel })
			}
		}
	}
	for _, n := range f.Approvals {
		r := x.state.runs[n.Execution]
		x.state.approvals[n.Round] = &approval.Approval{
			Run: r.Run, Idx: n.Idx, Round: n.Round.Round, Task: r.tasks[n.Idx].Name(), SubmittedBy: r.submittedBy, State: approval.Pending,
			Policy: n.Policy, RequestedAt: now, DueAt: n.Due,
		}
	}
	for _, k := range f.Escalated {
		a := *x.state.approvals[k]
		a.EscalatedAt = &now
		x.state.approvals[k] = &a
	}
	for _, d := range f.Decided {
		a := *x.state.approvals[d.Round]
		if a.State != approval.Pending {
			continue
		}
		a.State, a.DecidedAt = d.State, &now
		if d.Vote {
			a.Votes = append(slices.Clone(a.Votes), approval.Vote{Voter: plan.SystemVoter, Approve: d.State == approval.Approved, At: now})
		}
		x.state.approvals[d.Round] = &a
	}
}

func (x *memoryTx) saveNews(n *step.ChildNews) {
	old := x.state.children[n.Round]
	if old == nil || old.ended || n.Unsubmitted && old.request != uuid.Nil {
		return
	}
	c := *old
	if n.Request != uuid.Nil {
		c.request = n.Request
	}
	c.newsKind, c.news = n.Kind, n.ChildNews
	switch {
	case n.Kind == execution.ChildSubmitted:
		if c.state == "WANTED" {
			c.state = "SUBMITTED"
		}
	case n.Kind == execution.ChildRefused && c.state == "WANTED":
		c.state, c.ended = "REFUSED", true
	case n.Kind == execution.ChildRefused:
		c.state, c.ended, c.newsKind, c.news.State = "ENDED", true, execution.ChildEnded, string(engine.JobCancelled)
	default:
		c.state, c.ended = "ENDED", true
	}
	x.state.children[n.Round] = &c
}

func (x *memoryTx) cancel(k step.Round, which func(*child) bool) {
	if c := x.state.children[k]; c != nil && (c.state == "WANTED" || c.state == "SUBMITTED") && which(c) {
		own := *c
		own.state = "CANCEL_WANTED"
		x.state.children[k] = &own
	}
}

// Publish keeps the changes.
func (x *memoryTx) Publish(c *execution.Changes) error {
	x.changes = append(x.changes, *c)
	return nil
}
