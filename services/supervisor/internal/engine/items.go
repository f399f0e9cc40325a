package engine

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/formicary/formicary/libs/jobspec/plan"
)

// expand makes the items of a group and releases the first ones.
func (s *State) expand(g *Task, items []plan.Item, now time.Time) {
	if s.Job.TasksTotal+len(items) > MaxTasks {
		s.fault(g, fmt.Sprintf("%d items would make more than %d tasks in the run", len(items), MaxTasks), now)
		return
	}
	s.JobChanged = true
	if g.StartedAt == nil {
		g.StartedAt = &now
	}
	g.Items = &Items{Total: len(items), First: s.Job.TasksTotal, Open: len(items)}
	s.move(g, TaskWaiting, GateItems, now)
	g.WaitReason = "its items run"
	s.Job.TasksTotal += len(items)
	s.Job.TasksOpen += len(items)
	if !g.Spec.AlwaysRun {
		s.Job.NormalOpen += len(items)
	}
	kept := s.kept[g.Idx]
	delete(s.kept, g.Idx)
	g.KeepOf = 0
	for i, item := range items {
		t := &Task{
			Idx: g.Items.First + i, State: TaskBlocked, Spec: g.Spec, Handler: g.Handler,
			Group: g.Idx, Item: i, ItemName: item.Name, ItemValue: item.Value,
			Extra: Extra{Place: item.Class, MayFail: item.AllowFailure, Fault: item.Fault, Wait: item.Wait}, Changed: true, From: TaskBlocked, New: true,
		}
		s.Tasks[t.Idx] = t
		s.New = append(s.New, t)
		switch {
		case item.Off:
			t.Message = notHeld
			s.move(t, TaskSkipped, "", now)
			g.Items.Off++
			g.Items.Ahead++
		case s.keep(t, kept, now):
			g.Items.Ahead++
		}
	}
	if s.ItemsLoaded == nil {
		s.ItemsLoaded = map[int]bool{}
	}
	s.ItemsLoaded[g.Idx] = true
	s.closeGroup(g)
}

// maxForks bounds the jobs of a fan-out that run at once: each needs a decision before it is submitted, and a step that
// makes thousands of them would hold its run, and the transaction, too long.
const maxForks = 500

// parallel is how many items of a group may run beside each other.
func (t *Task) parallel() int {
	most := cmp.Or(t.Spec.FanOut.MaxParallel, MaxTasks)
	if t.Spec.Fork != nil {
		most = min(most, maxForks)
	}
	return most
}

// keptAtOnce is how many of the next items are loaded at once where some of them are kept ones.
const keptAtOnce = 64

// running is how many items are released and have not ended.
func (it *Items) running() int { return it.Next + it.Ahead - (it.Total - it.Open) }

// asked is how many items there are without those that count for nothing.
func (it *Items) asked() int { return it.Total - it.Off }

// releaseNext starts the next items of a group, as many as may run beside each other. It says whether they were loaded.
func (s *State) releaseNext(g *Task, now time.Time) (complete bool) {
	it := g.Items
	for most := g.parallel(); !it.Stopping && it.Next < it.Total; {
		if it.running() >= most {
			break
		}
		next := s.Tasks[it.First+it.Next]
		if next == nil {
			s.need.Tasks = append(s.need.Tasks, it.First+it.Next)
			for i := it.Next + 1; i < min(it.Next+keptAtOnce, it.Total) && it.Ahead > 0; i++ {
				s.need.Tasks = append(s.need.Tasks, it.First+i)
			}
			return false
		}
		if next.State.Terminal() { // kept, or off
			s.touch(g)
			it.Next++
			it.Ahead--
			continue
		}
		if !s.mayStart(next) {
			s.stopItems(g)
			break
		}
		s.touch(g)
		it.Next++
		s.touch(next)
		s.start(next, now)
	}
	return true
}

// release lets the groups in whom items have ended start others.
func (s *State) release(now time.Time) (complete bool) {
	round := s.releasing
	s.releasing = nil
	slices.Sort(round)
	for _, i := range slices.Compact(round) {
		if !s.releaseNext(s.Tasks[i], now) {
			s.releasing = append(s.releasing, i)
		}
	}
	return len(s.releasing) == 0
}

// countItems lets groups count their items that have ended.
func (s *State) countItems() (complete bool) {
	round := s.ended
	s.ended = nil
	slices.Sort(round)
	for _, i := range round {
		t := s.Tasks[i]
		if g := s.Tasks[t.Group]; g != nil {
			s.countItem(g, t)
			continue
		}
		s.ended = append(s.ended, i)
		if !slices.Contains(s.need.Tasks, t.Group) {
			s.need.Tasks = append(s.need.Tasks, t.Group)
		}
	}
	return len(s.ended) == 0
}

func (s *State) countItem(g, t *Task) {
	s.touch(g)
	it := g.Items
	it.Open--
	switch t.State {
	case TaskCompleted:
		it.Succeeded++
	case TaskFailed, TaskCancelled:
		if t.forgiven() {
			it.Off++
		} else {
			it.Failed++
		}
	case TaskSkipped, TaskBlocked, TaskReady, TaskDispatched, TaskRunning, TaskWaiting:
	}
	f := g.Spec.FanOut
	if f.FailFast && !it.Stopping && it.asked()-it.Failed < f.Needed(it.asked()) {
		s.stopItems(g)
	}
	s.closeGroup(g)
}

// stopItems releases no further item and stops those that run.
func (s *State) stopItems(g *Task) {
	s.touch(g)
	g.Items.Stopping = true
	s.halting = append(s.halting, g.Idx)
}

// haltItems stops the items of groups that want none to go on.
func (s *State) haltItems(now time.Time) (complete bool) {
	slices.Sort(s.halting)
	s.halting = slices.Compact(s.halting)
	for _, i := range s.halting {
		if !s.AllOpen && !s.ItemsLoaded[i] {
			s.need.Items = append(s.need.Items, i)
		}
	}
	if len(s.need.Items) > 0 {
		return false
	}
	for _, i := range s.halting {
		it := s.Tasks[i].Items
		for k := it.First; k < it.First+it.Total; k++ {
			if t := s.Tasks[k]; t != nil && !t.State.Terminal() {
				s.touch(t)
				t.Halted = true
				s.halt(t, now)
			}
		}
	}
	s.halting = nil
	return true
}

// closeGroup has a group whose last item has ended drawn to its conclusion, else the next items released.
func (s *State) closeGroup(g *Task) {
	if g.Items.Open == 0 {
		s.finished = append(s.finished, g.Idx)
	} else {
		s.releasing = append(s.releasing, g.Idx)
	}
}

// finishGroups ends the groups whose items have all ended.
func (s *State) finishGroups(now time.Time) (complete bool) {
	slices.Sort(s.finished)
	for _, i := range s.finished {
		if _, ok := s.Results[i]; !ok && !s.wholeGroup(s.Tasks[i]) {
			s.need.Results = append(s.need.Results, i)
		}
	}
	if len(s.need.Results) > 0 {
		return false
	}
	for _, i := range s.finished {
		s.finishGroup(s.Tasks[i], now)
	}
	s.finished = nil
	return true
}

// wholeGroup says that all items of a group are loaded.
func (s *State) wholeGroup(g *Task) bool {
	for k := g.Items.First; k < g.Items.First+g.Items.Total; k++ {
		if s.Tasks[k] == nil {
			return false
		}
	}
	return true
}

// results are those that were loaded, with what this step has changed over them.
func (s *State) results(g *Task) []plan.ItemResult {
	results := make([]plan.ItemResult, g.Items.Total)
	for _, r := range s.Results[g.Idx] {
		if r.Index >= 0 && r.Index < len(results) {
			results[r.Index] = r
		}
	}
	for i := range results {
		if t := s.Tasks[g.Items.First+i]; t != nil {
			results[i] = t.ItemResult()
		}
		results[i].Index = i
	}
	return results
}

// ItemResult is how an item stands. Only what failed has an error: other messages say what else became of it.
func (t *Task) ItemResult() plan.ItemResult {
	r := plan.ItemResult{Index: t.Item, Status: string(t.State), ExitCode: t.ExitCode, AllowFailure: t.MayFail, Outputs: t.Outputs}
	if t.State == TaskFailed {
		r.ErrorCode, r.ErrorMessage, r.TimedOut = t.ErrorCode, t.Message, t.FailureClass == ClassTimeout
	}
	return r
}

// groupOutputs are the outputs of a group whose items ended so.
func (t *Task) groupOutputs(results []plan.ItemResult) map[string]string {
	mode := plan.ModeTask
	if t.Spec.Fork != nil {
		mode = plan.ModeJob
	}
	return plan.GroupOutputs(t.Spec, mode, results)
}

// finishGroup decides what the ends of its items mean for a group.
func (s *State) finishGroup(g *Task, now time.Time) {
	results := s.results(g)
	delete(s.Results, g.Idx)
	failed := slices.IndexFunc(results, func(r plan.ItemResult) bool { return r.Status == string(TaskFailed) && !r.AllowFailure })
	it := g.Items
	o := Outcome{State: AttemptSucceeded, Claimed: true, Outputs: g.groupOutputs(results)}
	needed := g.Spec.FanOut.Needed(it.asked())
	switch good := it.Succeeded >= needed; {
	case it.Overdue:
		o.State, o.FailureClass = AttemptTimedOut, ClassTimeout
		o.Message = fmt.Sprintf("%d of %d items did not end in time", it.asked()-it.Succeeded-it.Failed, it.asked())
	case good:
	case !s.mayStart(g) && (s.Job.Stopping || failed < 0):
		s.discard(g, now)
		g.Outputs = o.Outputs
		return
	default:
		o.State, o.FailureClass = AttemptFailed, ClassUser
		o.Message = fmt.Sprintf("%d of %d items failed, %d must complete", it.Failed, it.asked(), needed)
		if failed >= 0 {
			first := &results[failed]
			if first.TimedOut {
				o.State, o.FailureClass = AttemptTimedOut, ClassTimeout
			}
			o.ExitCode, o.ErrorCode = first.ExitCode, first.ErrorCode
			o.Message += fmt.Sprintf("; the first was item %d: %s", failed, first.ErrorMessage)
		}
	}
	s.record(g, o)
	s.decide(g, o, now)
}
