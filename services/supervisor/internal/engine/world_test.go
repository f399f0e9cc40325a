package engine_test

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// fataler is what a world complains to.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

var _ fataler = (*testing.T)(nil)

// world keeps a whole run the way the database does, hands out neighbourhoods, answers what the engine asks, and keeps
// the books of children and approvals.
type world struct {
	t     fataler
	now   time.Time
	job   engine.Job
	tasks map[int]engine.Task
	out   map[int][]engine.Edge
	// decide answers Need.Decide.
	decide func(t *engine.Task) *plan.Decision
	// children are the open children and chores by task, votes the open requests for approval.
	children map[int]string // id of the request, "" while it is not submitted
	votes    map[int]bool
	forked   map[string]string // how the children of fork tasks have ended, "" while they have not
	before   map[string]string // the same when the step began
	stops    map[int]bool      // running attempts that were told to stop
	// crash says whether to throw away the answer of this round and to begin the step anew; nil: never.
	crash  func() bool
	broken bool // it happened within f
	// whole loads everything for every step.
	whole bool
	// kept are the places of the items of a group that completed in the run before.
	kept map[string][]int

	lapsed, escalated, dismissed, cancelled []int
	loads                                   int // tasks that steps have loaded
}

// begin starts a run.
func begin(t fataler, b engine.Begin, decide func(*engine.Task) *plan.Decision, kept map[string][]int) *world {
	w := &world{
		t: t, now: t0, decide: decide, kept: kept, tasks: map[int]engine.Task{}, children: map[int]string{}, votes: map[int]bool{},
		forked: map[string]string{}, stops: map[int]bool{},
	}
	s := engine.New(b, w.now)
	w.complete(s)
	w.out = s.Out
	w.save(s)
	return w
}

// row is what stands in the row of a task: what is only known during a step is gone, and nothing is shared.
func row(t *engine.Task) engine.Task {
	r := engine.Task{
		Idx: t.Idx, State: t.State, Trailing: t.Trailing, Waiting: t.Waiting, Control: t.Control, Taken: t.Taken,
		Broken: t.Broken, Handler: t.Handler, Reuse: t.Reuse, Spec: t.Spec, Attempts: t.Attempts,
		UserTries: t.UserTries, InfraTries: t.InfraTries, ReadyAt: t.ReadyAt, WakeAt: t.WakeAt, ExitCode: t.ExitCode,
		FailureClass: t.FailureClass, ErrorCode: t.ErrorCode, Message: t.Message, Outputs: maps.Clone(t.Outputs), Result: t.Result,
		WaitGate: t.WaitGate, WaitReason: t.WaitReason, StartedAt: t.StartedAt, EndedAt: t.EndedAt,
		Group: t.Group, Item: t.Item, ItemName: t.ItemName, ItemValue: t.ItemValue, Extra: t.Extra,
	}
	if t.Items != nil {
		items := *t.Items
		r.Items = &items
	}
	r.ClassTries = maps.Clone(t.ClassTries)
	return r
}

func (w *world) load(s *engine.State, idx ...int) {
	for _, i := range idx {
		t, ok := w.tasks[i]
		if !ok {
			w.t.Fatalf("no task %d to load", i)
		}
		r := row(&t)
		s.Load(&r)
		w.loads++
	}
}

func (w *world) loadOpen(s *engine.State, fits func(*engine.Task) bool) {
	for i, t := range w.tasks {
		if !t.State.Terminal() && fits(&t) {
			w.load(s, i)
		}
	}
}

// step applies f to a neighbourhood, loads what it needs and saves what changed.
func (w *world) step(f func(*engine.State), idx ...int) {
	w.t.Helper()
	w.before = maps.Clone(w.forked)
	for {
		s := &engine.State{Job: w.job, Tasks: map[int]*engine.Task{}, Out: map[int][]engine.Edge{}}
		if w.whole {
			idx = slices.Sorted(maps.Keys(w.tasks))
			s.Out, s.AllOpen, s.TrailingLoaded = maps.Clone(w.out), true, true
		}
		w.load(s, idx...)
		w.broken = false
		f(s)
		if w.broken || !w.complete(s) {
			continue
		}
		w.save(s)
		return
	}
}

// complete answers a step until it needs nothing more; false: it has crashed on the way.
func (w *world) complete(s *engine.State) bool {
	w.t.Helper()
	for round := 0; !s.Need().Empty(); round++ {
		if round > 3*len(s.Tasks)+3*len(w.tasks)+20 {
			w.t.Fatalf("the step never completes: %+v", s.Need())
		}
		if w.crash != nil && w.crash() {
			return false
		}
		w.answer(s, s.Need())
		s.Continue(w.now)
	}
	return w.crash == nil || !w.crash()
}

func (w *world) answer(s *engine.State, need engine.Need) {
	for _, from := range need.Out {
		s.Out[from] = w.out[from]
		for _, e := range w.out[from] {
			w.load(s, e.To)
		}
	}
	w.load(s, need.Tasks...)
	if need.Open || need.Trailing {
		w.loadOpen(s, func(t *engine.Task) bool { return need.Open || t.Trailing })
		s.TrailingLoaded = true
		s.AllOpen = s.AllOpen || need.Open
	}
	for _, g := range need.Items {
		w.loadOpen(s, func(t *engine.Task) bool { return t.IsItem() && t.Group == g })
		if s.ItemsLoaded == nil {
			s.ItemsLoaded = map[int]bool{}
		}
		s.ItemsLoaded[g] = true
	}
	for _, g := range need.Results {
		if s.Results == nil {
			s.Results = map[int][]plan.ItemResult{}
		}
		s.Results[g] = w.results(g)
	}
	for _, i := range need.Decide {
		s.Decide(i, w.decide(s.Tasks[i]))
	}
	for _, i := range need.Kept {
		kept := map[string]engine.Kept{}
		name := s.Tasks[i].Spec.Name
		for _, place := range w.kept[name] {
			kept[fmt.Sprintf("%s[%d]", name, place)] = engine.Kept{Value: float64(place), Reused: engine.Reused{Outputs: map[string]string{"from": "before"}}}
		}
		s.Keep(i, kept)
	}
	for _, i := range need.Children {
		s.Children(i, w.await(s.Tasks[i].Spec), w.now)
	}
}

// results are the rows of the items of a group.
func (w *world) results(g int) []plan.ItemResult {
	var results []plan.ItemResult
	for _, i := range slices.Sorted(maps.Keys(w.tasks)) {
		if t := w.tasks[i]; t.IsItem() && t.Group == g {
			results = append(results, t.ItemResult())
		}
	}
	return results
}

// await says how the children stand that a task waits for.
func (w *world) await(t *plan.Task) engine.Children {
	c := engine.Children{Outputs: map[string]string{}}
	for _, name := range t.AwaitForkedTasks {
		state, ok := w.forked[name]
		switch {
		case !ok: // never submitted
		case state == "":
			c.Open++
		case state == "COMPLETED":
			c.Outputs[name+"-status"] = state
		default:
			if c.Failed++; c.Failed == 1 {
				c.ExitCode, _ = strconv.Atoi(state)
			}
			c.Message = cmp.Or(c.Message, name+" "+state)
		}
	}
	return c
}

// save keeps what a step has changed and does what it asks for.
func (w *world) save(s *engine.State) {
	w.t.Helper()
	first := len(w.tasks) == 0
	w.job = s.Job
	for _, t := range s.New {
		if _, ok := w.tasks[t.Idx]; ok || !t.New {
			w.t.Fatalf("task %d is made twice", t.Idx)
		}
	}
	for i, t := range s.Tasks {
		old, known := w.tasks[i]
		switch {
		case !known && !t.New && !first:
			w.t.Fatalf("task %d came from nowhere", i)
		case t.Changed || !known:
			w.tasks[i] = row(t)
		case !reflect.DeepEqual(row(t), row(&old)):
			w.t.Fatalf("task %d changed without saying so:\n%+v\n%+v", i, row(t), old)
		}
	}
	w.effects(s)
}

// effects keeps the books of what goes on outside.
func (w *world) effects(s *engine.State) {
	for _, a := range s.CancelChildren {
		if w.tasks[a.Idx].Round != a.Round { // it waits for the next one already
			w.abandon(a)
		}
	}
	for _, i := range slices.Concat(s.Forks, s.Chores) {
		if w.tasks[i].WaitGate != engine.GateChild && !slices.Contains(s.CancelChildren, engine.Abandoned{Idx: i, Round: w.tasks[i].Round}) {
			w.t.Fatalf("task %d forks without waiting", i)
		}
		w.children[i] = ""
		if t := w.tasks[i]; t.Fork != nil {
			w.forked[t.Name()] = ""
		}
	}
	for _, a := range s.CancelChildren {
		if w.tasks[a.Idx].Round == a.Round {
			w.abandon(a)
		}
	}
	for _, i := range s.Approvals {
		w.votes[i] = true
	}
	for _, i := range slices.Concat(s.Lapsed, s.Dismissed) {
		if !w.votes[i] {
			w.t.Fatalf("nobody waits for the approval of task %d", i)
		}
		delete(w.votes, i)
	}
	w.lapsed, w.dismissed = append(w.lapsed, s.Lapsed...), append(w.dismissed, s.Dismissed...)
	w.escalated = append(w.escalated, s.Escalations...)
	for _, i := range s.Stop {
		w.stops[i] = true
	}
	for _, i := range s.Withdraw {
		if w.tasks[i].State != engine.TaskCancelled {
			w.t.Fatalf("task %d is withdrawn as %s", i, w.tasks[i].State)
		}
	}
}

// abandon cancels a child that is no longer waited for.
func (w *world) abandon(a engine.Abandoned) {
	w.t.Helper()
	if _, ok := w.children[a.Idx]; !ok {
		w.t.Fatalf("task %d has no child to cancel", a.Idx)
	}
	delete(w.children, a.Idx)
	if t := w.tasks[a.Idx]; t.Fork != nil {
		w.forked[t.Name()] = "CANCELLED"
	}
	w.cancelled = append(w.cancelled, a.Idx)
}

// in returns the tasks in some states, in order.
func (w *world) in(states ...engine.TaskState) []int {
	var idx []int
	for i, t := range w.tasks {
		if slices.Contains(states, t.State) {
			idx = append(idx, i)
		}
	}
	slices.Sort(idx)
	return idx
}

// gated returns the tasks that wait at a gate, in order.
func (w *world) gated(gate string) []int {
	return slices.DeleteFunc(w.in(engine.TaskWaiting), func(i int) bool { return w.tasks[i].WaitGate != gate })
}

// The events, as somebody outside would bring them.

func (w *world) dispatch(i int) { w.step(func(s *engine.State) { s.Dispatched([]int{i}, w.now) }, i) }

func (w *world) claim(i int) {
	if t := w.tasks[i]; t.State == engine.TaskDispatched {
		t.State = engine.TaskRunning
		w.tasks[i] = t
	}
}

func (w *world) end(i int, o engine.Outcome) {
	delete(w.stops, i)
	w.step(func(s *engine.State) { s.TaskEnded(i, o, w.now) }, i)
}

func (w *world) submitted(i, round int) {
	id := fmt.Sprint("child-", i, "-", round)
	w.step(func(s *engine.State) { s.Submitted(i, round, id, w.now) }, i)
	if _, ok := w.children[i]; !ok {
		return
	}
	if w.children[i] = id; w.tasks[i].State.Terminal() {
		delete(w.children, i) // it lives on without the task
	}
}

func (w *world) refused(i, round int) {
	delete(w.forked, w.name(i))
	delete(w.children, i)
	w.step(func(s *engine.State) { s.Refused(i, round, "JOB_NOT_FOUND", "no such job", w.now) }, i)
}

func (w *world) childEnded(i, round int, state string) {
	t := w.tasks[i]
	if t.Fork != nil && round == t.Round {
		w.forked[t.Name()] = state
	}
	if round == t.Round {
		delete(w.children, i)
	}
	o := engine.ChildOutcome{ID: fmt.Sprint("child-", i, "-", round), State: state, Message: "it broke", Outputs: map[string]string{"out": "1"}}
	if code, err := strconv.Atoi(state); err == nil {
		o.State, o.ExitCode, o.ErrorCode = "FAILED", code, "ERR_CHILD"
	}
	if state == "late" {
		o.State, o.ErrorCode = "FAILED", "ERR_JOB_TIMEOUT"
	}
	w.step(func(s *engine.State) { s.ChildEnded(i, round, o, w.now) }, i)
}

// tell tells the tasks that await children how these stand.
func (w *world) tell() {
	for _, i := range w.gated(engine.GateChild) {
		if t := w.tasks[i]; t.Method() == plan.MethodAwaitForkedJob {
			w.joined(i)
		}
	}
}

func (w *world) joined(i int) {
	c := w.await(w.tasks[i].Spec)
	w.step(func(s *engine.State) { s.Children(i, c, w.now) }, i)
}

func (w *world) vote(i, round int, outcome string) {
	if t := w.tasks[i]; t.WaitGate == engine.GateApproval && t.Round == round {
		delete(w.votes, i)
	}
	w.step(func(s *engine.State) { s.Voted(i, round, outcome, "by alice", map[string]string{"made": "yes"}, w.now) }, i)
}

func (w *world) wake(i int) {
	if at := w.tasks[i].WakeAt; at != nil && at.After(w.now) {
		w.now = *at
	}
	w.step(func(s *engine.State) { s.Wake(i, w.now) }, i)
}

func (w *world) overdue(i int) {
	o := engine.Outcome{State: engine.AttemptTimedOut, FailureClass: engine.ClassTimeout, Message: "too long"}
	t := w.tasks[i]
	if limit := t.Limit(); limit != nil && limit.At.After(w.now) {
		w.now = limit.At
	}
	w.step(func(s *engine.State) { s.TaskOverdue(i, o, w.now) }, i)
}

func (w *world) cancel() { w.step(func(s *engine.State) { s.Cancel("enough", w.now) }) }
func (w *world) pause()  { w.step(func(s *engine.State) { s.Pause(w.now) }) }
func (w *world) resume() { w.step(func(s *engine.State) { s.Resume(w.now) }) }

func (w *world) deadline() {
	if at := w.job.DeadlineAt; at != nil {
		w.now = *at
	}
	w.step(func(s *engine.State) { s.Deadline("no slot", w.now) })
}

func (w *world) name(i int) string {
	t := w.tasks[i]
	return t.Name()
}

// named returns the task of a name.
func (w *world) named(name string) int {
	w.t.Helper()
	for i, t := range w.tasks {
		if t.Name() == name {
			return i
		}
	}
	w.t.Fatalf("no task %s", name)
	return 0
}

// audit compares the counters with a recount and looks for what must never be.
func (w *world) audit() {
	w.t.Helper()
	var want engine.Job
	waiting, groups := map[int]int{}, map[int]*engine.Items{}
	for i, t := range w.tasks {
		w.recount(&want, i, &t, waiting)
		if t.IsItem() {
			w.recountItem(groups, &t)
		}
	}
	j := w.job
	got := engine.Job{TasksTotal: j.TasksTotal, TasksOpen: j.TasksOpen, NormalOpen: j.NormalOpen, Running: j.Running, Active: j.Active, Approvals: j.Approvals}
	if !reflect.DeepEqual(got, want) {
		w.t.Fatalf("counters\n%+v, recount\n%+v", got, want)
	}
	for i, t := range w.tasks {
		w.auditTask(i, &t, waiting[i], groups[i])
	}
	w.auditJob()
}

func (w *world) recount(want *engine.Job, i int, t *engine.Task, waiting map[int]int) {
	want.TasksTotal++
	if t.State.Terminal() {
		return
	}
	want.TasksOpen++
	if !t.Spec.AlwaysRun {
		want.NormalOpen++
	}
	for _, e := range w.out[i] {
		waiting[e.To]++
	}
	switch {
	case t.State == engine.TaskDispatched || t.State == engine.TaskRunning:
		want.Running++
		want.Active++
	case t.State == engine.TaskReady, t.WaitGate == engine.GateChild, t.WaitGate == engine.GateSchedule:
		want.Active++
	case t.WaitGate == engine.GateApproval:
		want.Approvals++
	}
}

func (w *world) recountItem(groups map[int]*engine.Items, t *engine.Task) {
	it := groups[t.Group]
	if it == nil {
		it = &engine.Items{}
		groups[t.Group] = it
	}
	it.Total++
	switch {
	case !t.State.Terminal():
		it.Open++
		if t.State != engine.TaskBlocked {
			it.Next++ // those that hold a place, for max_parallel
		}
	case t.State == engine.TaskCompleted:
		it.Succeeded++
	case t.State == engine.TaskFailed && t.MayFail:
	case t.State == engine.TaskFailed || t.State == engine.TaskCancelled:
		it.Failed++
	}
}

func (w *world) auditTask(i int, t *engine.Task, waiting int, items *engine.Items) {
	w.t.Helper()
	started := t.StartedAt != nil || t.State == engine.TaskReady || t.State == engine.TaskWaiting
	switch {
	case t.Waiting != waiting:
		w.t.Fatalf("task %d waits for %d edges, recount %d", i, t.Waiting, waiting)
	case started && t.Waiting > 0:
		w.t.Fatalf("task %d started before its edges were resolved: %+v", i, t)
	case t.InfraTries > 3:
		w.t.Fatalf("task %d spent more than its budget: %+v", i, t)
	case t.State == engine.TaskBlocked && t.Waiting == 0 && !t.Trailing && !t.IsItem():
		w.t.Fatalf("task %d is BLOCKED by nothing", i)
	case (t.State == engine.TaskWaiting) != (t.WaitGate != ""):
		w.t.Fatalf("task %d is %s at gate %q", i, t.State, t.WaitGate)
	case t.State == engine.TaskFailed && (t.ErrorCode == "" || t.FailureClass == ""):
		w.t.Fatalf("task %d failed without a reason: %+v", i, t)
	case t.WaitGate == engine.GateApproval && !w.votes[i]:
		w.t.Fatalf("nobody was asked about task %d", i)
	case t.IsGroup() && t.Attempts > 0:
		w.t.Fatalf("the group %d ran", i)
	}
	if _, ok := w.children[i]; t.WaitGate == engine.GateChild && !ok && t.Method() != plan.MethodAwaitForkedJob {
		w.t.Fatalf("task %d waits for no child", i)
	}
	if items == nil {
		return
	}
	if most := t.Spec.FanOut.MaxParallel; most > 0 && items.Next > most {
		w.t.Fatalf("%d items of group %d run, at most %d may", items.Next, i, most)
	}
	got := *t.Items
	if got.Total != items.Total || got.Open != items.Open || got.Failed != items.Failed || got.Succeeded != items.Succeeded {
		w.t.Fatalf("items of group %d: %+v, recount %+v", i, got, *items)
	}
	if t.State == engine.TaskWaiting && t.WaitGate == engine.GateItems && got.Open == 0 {
		w.t.Fatalf("the group %d waits for nothing", i)
	}
	if t.State == engine.TaskCompleted && t.WaitGate == "" && got.Open > 0 {
		w.t.Fatalf("the group %d has ended before its items", i)
	}
}

func (w *world) auditJob() {
	w.t.Helper()
	j := w.job
	switch {
	case (j.TasksOpen == 0) != j.State.Terminal():
		w.t.Fatalf("%d open tasks in state %s", j.TasksOpen, j.State)
	case j.State == engine.JobPaused && j.Running > 0:
		w.t.Fatalf("PAUSED while something runs")
	case j.State == engine.JobApproval && (j.Active > 0 || j.Approvals == 0):
		w.t.Fatalf("MANUAL_APPROVAL_REQUIRED with %d active and %d approvals", j.Active, j.Approvals)
	case j.State == engine.JobCompleted && j.Failing:
		w.t.Fatalf("COMPLETED though failing")
	case (j.State == engine.JobPaused || j.State == engine.JobApproval) && j.DeadlineAt != nil:
		w.t.Fatalf("%s with a deadline", j.State)
	case j.State == engine.JobExecuting && j.Active == 0 && (!j.Stopping || j.Approvals == 0):
		w.t.Fatalf("EXECUTING and nothing goes on: %+v", w.tasks)
	case j.State.Terminal() && len(w.votes) > 0:
		w.t.Fatalf("people are asked about a job that has ended")
	}
}
