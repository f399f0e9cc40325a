package engine

import (
	"slices"
	"time"

	"github.com/formicary/formicary/libs/jobspec/plan"
)

// Gates of tasks, as they are stored and shown.
const (
	GatePause    = "pause"    // until the job is resumed
	GateSchedule = "schedule" // until WakeAt
	GateChild    = "child"    // until its child, or all that it awaits, has ended
	GateItems    = "items"    // a group, until its items have ended
	GateApproval = "approval" // until somebody decides, or WakeAt
)

// mayStart says whether the state of the job allows the task to start.
func (s *State) mayStart(t *Task) bool {
	switch {
	case t.Halted:
		return false
	case s.Job.Stopping:
		return t.Spec.AlwaysRun && (s.Job.StartedAt != nil || s.leftCleanUp()) && !s.over()
	case s.Job.Failing:
		return t.Spec.AlwaysRun || t.Handler
	}
	return true
}

// leftCleanUp says that the run before has left its clean-up to this one.
func (s *State) leftCleanUp() bool { return s.Job.Policy.Before != nil && s.Job.Policy.Before.Left }

// over says that the time of the clean-up has passed too. While a job waits for people no time passes.
func (s *State) over() bool {
	return s.Job.DeadlineAt == nil && s.Job.State != JobPaused && s.Job.State != JobApproval
}

// activate decides about a BLOCKED task whose edges are all resolved.
func (s *State) activate(t *Task, now time.Time) {
	s.touch(t)
	led := t.Control == 0 || t.Taken > 0
	switch {
	case (!led || t.Broken) && !t.Spec.AlwaysRun:
		t.Message = "a task it depends on did not complete"
		if !led {
			t.Message = "no path led here"
		}
		s.dontReuse(t)
		s.move(t, TaskSkipped, "", now)
	case t.Spec.AlwaysRun && s.Job.restartAt(now) != nil:
		t.Trailing, t.Postponed = true, true // whether another run follows is certain when nothing else runs
	case !s.mayStart(t):
		s.drop(t, now)
	case t.Spec.Skip:
		s.skip(t, now)
	case t.Reuse:
		route, _ := t.Spec.Match(plan.OutcomeCompleted, t.ExitCode)
		if route.IsAction() {
			route.Targets = t.Spec.TasksOf(plan.OutcomeCompleted)
		}
		t.Message, t.taken = completedBefore, route.Targets
		s.move(t, TaskCompleted, "", now)
	default:
		s.start(t, now)
	}
}

// skip completes a task whose `except` holds.
func (s *State) skip(t *Task, now time.Time) {
	s.dontReuse(t)
	t.Message, t.taken = "skipped by its condition", t.Spec.TasksOf(plan.OutcomeCompleted)
	s.move(t, TaskCompleted, "", now)
}

// dontReuse forgets how a task completed in the run before.
func (s *State) dontReuse(t *Task) {
	if t.KeepOf > 0 {
		s.touch(t)
		t.KeepOf = 0
	}
	if t.Reuse {
		s.touch(t)
		t.Reuse, t.ExitCode, t.Outputs, t.Result = false, 0, nil, ""
	}
}

// startAt lets a task start at a time, or when a pause ends.
func (s *State) startAt(t *Task, at, now time.Time) {
	if s.Job.PauseRequested || !at.After(now) {
		s.start(t, now)
		return
	}
	s.move(t, TaskWaiting, GateSchedule, now)
	t.WakeAt = &at
}

// start is the moment in which a task may start: the first time and for every repetition.
func (s *State) start(t *Task, now time.Time) {
	switch {
	case s.Job.PauseRequested:
		s.held = true
		s.move(t, TaskWaiting, GatePause, now)
		t.WaitReason = "the job is paused"
	case t.undecided():
		s.undecided = append(s.undecided, t.Idx)
	default:
		s.launch(t, now)
	}
}

// launch starts a task in the way of its method.
func (s *State) launch(t *Task, now time.Time) {
	if t.Fault != "" {
		s.fault(t, t.Fault, now)
		return
	}
	switch t.Method() {
	case plan.MethodManual:
		s.ask(t, now)
	case plan.MethodForkJob:
		s.fork(t, now)
	case plan.MethodWait:
		s.wait(t, now)
	case plan.MethodExpireArtifacts:
		s.chore(t, now)
	case plan.MethodAwaitForkedJob:
		s.joining = append(s.joining, t.Idx)
	default:
		s.move(t, TaskReady, "", now)
		t.ReadyAt = &now
	}
}

// begin notes that the job and the task have started.
func (s *State) begin(t *Task, now time.Time) {
	s.JobChanged = true
	if t.StartedAt == nil {
		t.StartedAt = &now
	}
	if s.Job.StartedAt == nil {
		s.Job.StartedAt = &now
		if s.Job.Policy.PendingUntil != nil {
			s.PolicyChanged, s.Job.Policy.PendingUntil = true, nil
			s.Job.DeadlineAt = s.Job.timeout(now)
		}
	}
	if s.Job.State == JobReady {
		s.moveJob(JobExecuting)
	}
}

// resolveQueue resolves the outgoing edges of the tasks that ended. It says whether all could be.
func (s *State) resolveQueue(now time.Time) bool {
	for len(s.queue) > 0 {
		round := s.queue
		s.queue = nil
		slices.Sort(round)
		for _, i := range round {
			if edges, ok := s.Out[i]; ok && s.loaded(edges) {
				s.resolve(s.Tasks[i], edges, now)
			} else {
				s.need.Out = append(s.need.Out, i)
			}
		}
	}
	s.queue = slices.Clone(s.need.Out)
	return len(s.need.Out) == 0
}

// loaded says that every task the edges lead to is.
func (s *State) loaded(edges []Edge) bool {
	for _, e := range edges {
		if s.Tasks[e.To] == nil {
			return false
		}
	}
	return true
}

func (s *State) resolve(t *Task, edges []Edge, now time.Time) {
	taken := make(map[string]bool, len(t.taken))
	for _, name := range t.taken {
		taken[name] = true
	}
	for _, e := range edges {
		next := s.Tasks[e.To]
		s.touch(next)
		next.Waiting--
		if t.StartedAt != nil {
			s.dontReuse(next) // what it built on has been made anew
		}
		switch {
		case e.Control && taken[next.Spec.Name]:
			next.Taken++
			next.Handler = next.Handler || t.post || t.Handler
		case e.Control:
		case t.breaks(next, taken[next.Spec.Name]):
			next.Broken = true
		case next.Control == 0:
			next.Handler = next.Handler || t.Handler
		}
		if next.Waiting == 0 && next.State == TaskBlocked {
			s.activate(next, now)
		}
	}
}

// mayFail says that a failure of the task is allowed.
func (t *Task) mayFail() bool { return t.MayFail || t.Spec.AllowFailure && !t.IsItem() }

// forgiven says that the task failed and was allowed to.
func (t *Task) forgiven() bool { return t.State == TaskFailed && t.mayFail() }

// breaks says that a task has ended in a way that keeps one from running that waits for it. Beside control edges
// `dependencies` only delay, and `depends_on` does not contradict an edge that was taken from the same task.
func (t *Task) breaks(next *Task, taken bool) bool {
	usable := t.State == TaskCompleted || t.forgiven()
	if next.Control == 0 {
		return !usable
	}
	return !usable && !taken && t.State != TaskSkipped && slices.Contains(next.Spec.Requires, t.Spec.Name)
}

// sweep applies the gravest of what is to be done with every open task.
func (s *State) sweep(now time.Time) {
	var each func(*Task, time.Time)
	switch what := s.sweeping; {
	case what&sweepEnd != 0:
		s.sweeping, each = sweepNone, s.halt
	case what&sweepStop != 0:
		s.sweeping, each = sweepNone, s.stopTask
	case what&sweepFail != 0:
		s.sweeping, each = what&^sweepFail, s.skipAfterFailure
	case what&sweepPause != 0:
		s.sweeping, each = what&^sweepPause, s.pauseTask
	default:
		s.sweeping, each = sweepNone, s.resumeTask
	}
	for _, i := range s.open() {
		each(s.Tasks[i], now)
	}
}

// stopTask applies a cancel or the job's timeout to a task.
func (s *State) stopTask(t *Task, now time.Time) {
	switch {
	case !t.Spec.AlwaysRun:
		if t.State == TaskRunning {
			s.waitForGrace(t, now)
		}
		s.halt(t, now)
	case !s.mayStart(t) && !t.State.live():
		s.drop(t, now)
	case t.State == TaskWaiting && t.WaitGate == GatePause:
		s.start(t, now)
	}
}

// pauseTask applies a pause to a task.
func (s *State) pauseTask(t *Task, now time.Time) {
	if t.State == TaskReady {
		s.start(t, now)
	}
}

// resumeTask applies the end of a pause to a task.
func (s *State) resumeTask(t *Task, now time.Time) {
	if t.State == TaskWaiting && t.WaitGate == GatePause {
		s.start(t, now)
	}
}

// skipAfterFailure applies the failure of the job to a task. What goes on in a child goes on like what runs.
func (s *State) skipAfterFailure(t *Task, now time.Time) {
	goes := t.State.live() || t.State == TaskWaiting && t.WaitGate == GateChild
	switch {
	case s.mayStart(t) || t.State == TaskBlocked && !t.IsItem():
	case !goes:
		s.drop(t, now)
	case s.Job.Policy.FailFast:
		s.halt(t, now)
	}
}

// halt ends a task that has not started and tells a running one to stop.
func (s *State) halt(t *Task, now time.Time) {
	switch t.State {
	case TaskRunning:
		if !slices.Contains(s.Stop, t.Idx) {
			s.Stop = append(s.Stop, t.Idx)
		}
	case TaskDispatched:
		s.Withdraw = append(s.Withdraw, t.Idx)
		s.touch(t)
		t.FailureClass, t.Message = ClassCancelled, s.whyNot(t)
		s.move(t, TaskCancelled, "", now)
	case TaskBlocked, TaskReady, TaskWaiting, TaskCompleted, TaskFailed, TaskSkipped, TaskCancelled:
		s.drop(t, now)
	}
}

// drop ends a task that may not run any more: SKIPPED when it never did, CANCELLED otherwise. A group ends when its
// items have.
func (s *State) drop(t *Task, now time.Time) {
	s.touch(t)
	if t.State == TaskWaiting && t.WaitGate == GateItems {
		t.Items.Stopping = true
		return
	}
	s.stopWaiting(t)
	s.discard(t, now)
}

// discard ends a task that was kept from running, or from going on.
func (s *State) discard(t *Task, now time.Time) {
	s.dontReuse(t)
	if t.Message == "" {
		t.Message = s.whyNot(t)
	}
	if t.StartedAt == nil && !s.Job.CancelRequested {
		s.move(t, TaskSkipped, "", now)
		return
	}
	t.FailureClass = ClassCancelled
	s.move(t, TaskCancelled, "", now)
}

// stopWaiting gives up what a WAITING task waits for.
func (s *State) stopWaiting(t *Task) {
	switch {
	case t.State != TaskWaiting:
	case t.WaitGate == GateApproval:
		s.Dismissed = append(s.Dismissed, t.Idx)
	case t.WaitGate == GateChild && t.Method() != plan.MethodAwaitForkedJob:
		s.CancelChildren = append(s.CancelChildren, Abandoned{t.Idx, t.Round})
	}
}

func (s *State) whyNot(t *Task) string {
	switch {
	case s.Job.CancelRequested:
		return "the job was cancelled"
	case s.Job.Stopping:
		return "the job is being stopped"
	case s.Job.Failing && t.StartedAt != nil && t.State != TaskDispatched:
		return "it was stopped because the job failed"
	case s.Job.Failing:
		return "the job failed before it could start"
	case t.IsItem():
		return "its group was stopped"
	}
	return "it was stopped"
}
