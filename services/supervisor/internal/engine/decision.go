package engine

import (
	"slices"
	"time"

	"github.com/formicary/formicary/libs/jobspec/plan"
)

// undecided says that the task needs a decision before it starts. What has started once is asked again only for what it
// does by then, as an ant renders each attempt anew.
func (t *Task) undecided() bool {
	switch {
	case t.StartedAt != nil:
		return t.Spec.Decide && t.Spec.Late && t.rendered()
	case t.IsItem():
		return t.Spec.Fork != nil
	}
	return t.Spec.Decide || t.Spec.FanOut != nil
}

// rendered says that what the task does stands in the decision about it: no ant renders it.
func (t *Task) rendered() bool {
	switch t.Method() {
	case plan.MethodForkJob:
		return !t.IsGroup()
	case plan.MethodManual, plan.MethodWait, plan.MethodExpireArtifacts:
		return t.Spec.FanOut == nil
	}
	return false
}

// Decide answers Need.Decide about a task; Continue goes on with it.
func (s *State) Decide(idx int, d *plan.Decision) {
	if s.decisions == nil {
		s.decisions = map[int]*plan.Decision{}
	}
	s.decisions[idx] = d
}

// starting takes the tasks of a list that may still start, in order. Those that a pause or the end of the job has
// overtaken are dealt with.
func (s *State) starting(list *[]int, now time.Time) []int {
	round := *list
	*list = nil
	slices.Sort(round)
	return slices.DeleteFunc(slices.Compact(round), func(i int) bool { return s.overtaken(s.Tasks[i], now) })
}

// overtaken deals with a task that is about to start when it no longer may; it says whether that is so.
func (s *State) overtaken(t *Task, now time.Time) bool {
	switch {
	case t.State.Terminal():
	case !s.mayStart(t):
		s.drop(t, now)
	case s.Job.PauseRequested:
		s.start(t, now)
	default:
		return false
	}
	return true
}

// applyDecisions applies the decisions about all tasks that need one, once all are there: their order is that of the
// plan then, whatever was loaded when.
func (s *State) applyDecisions(now time.Time) (complete bool) {
	round := s.starting(&s.undecided, now)
	for _, i := range round {
		if s.decisions[i] == nil {
			s.need.Decide = append(s.need.Decide, i)
		}
		if _, ok := s.kept[i]; s.Tasks[i].KeepOf > 0 && !ok {
			s.need.Kept = append(s.need.Kept, i)
		}
	}
	if len(s.need.Decide)+len(s.need.Kept) > 0 {
		s.undecided = round
		return false
	}
	for _, i := range round {
		d := s.decisions[i]
		delete(s.decisions, i)
		s.decided(s.Tasks[i], d, now)
	}
	return true
}

// decided starts a task by the decision about it.
func (s *State) decided(t *Task, d *plan.Decision, now time.Time) {
	if s.overtaken(t, now) { // by another one of this round
		return
	}
	s.touch(t)
	again := t.StartedAt != nil // whether it runs, and may fail, is decided
	if d.Class != nil && !again {
		t.Place = d.Class
	}
	if t.Spec.Webhook != nil && t.Spec.Webhook.Late {
		t.Webhook = d.Webhook
	}
	t.MayFail = t.MayFail || d.AllowFailure && !t.Spec.AllowFailure && !again
	switch {
	case d.Fault != "":
		s.fault(t, d.Fault, now)
	case again:
		s.launchAs(t, d, now)
	case d.Off:
		t.Message = notHeld
		s.move(t, TaskSkipped, "", now)
	case d.Skip:
		s.skip(t, now)
	case t.IsGroup():
		s.expand(t, d.Items, now)
	default:
		s.launchAs(t, d, now)
	}
}

// launchAs starts a task with what the decision about it says that it does.
func (s *State) launchAs(t *Task, d *plan.Decision, now time.Time) {
	if d.Fork != nil {
		t.Fork = d.Fork
	}
	if d.Approval != nil {
		t.Approval = d.Approval
	}
	t.Variables, t.Wait = d.Variables, d.Wait
	s.launch(t, now)
}

const notHeld = "its condition does not hold"

// fault fails a task that cannot be started. The results of a group are there even so, for what handles its failure: none.
func (s *State) fault(t *Task, message string, now time.Time) {
	o := Outcome{State: AttemptFailed, Claimed: true, FailureClass: ClassRejected, Message: message}
	if t.IsGroup() {
		o.Outputs = t.groupOutputs(nil)
	}
	s.conclude(t, o, now)
}
