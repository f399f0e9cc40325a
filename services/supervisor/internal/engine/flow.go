package engine

import (
	"slices"
	"time"

	"github.com/formicary/formicary/libs/jobspec"
)

// Gates of tasks, as they are stored and shown.
const (
	GatePause    = "pause"
	GateSchedule = "schedule"
)

// mayStart says whether the state of the job allows the task to start.
func (s *State) mayStart(t *Task) bool {
	switch {
	case s.Job.Stopping:
		// no deadline: the clean-up's own time is over too
		return t.Spec.AlwaysRun && s.Job.StartedAt != nil && s.Job.DeadlineAt != nil
	case s.Job.Failing:
		return t.Spec.AlwaysRun || t.Handler
	}
	return true
}

// makeReady lets a task run at a time, or when a pause ends.
func (s *State) makeReady(t *Task, at, now time.Time) {
	s.touch(t)
	switch {
	case s.Job.PauseRequested:
		s.move(t, TaskWaiting, now)
		t.WakeAt, t.WaitGate, t.WaitReason = nil, GatePause, "the job is paused"
	case at.After(now):
		s.move(t, TaskWaiting, now)
		t.WakeAt, t.WaitGate = &at, GateSchedule
	default:
		s.move(t, TaskReady, now)
		t.ReadyAt, t.WakeAt, t.WaitGate, t.WaitReason = &now, nil, "", ""
	}
}

// activate decides about a BLOCKED task whose edges are all resolved.
func (s *State) activate(t *Task, now time.Time) {
	s.touch(t)
	runs := !t.Broken
	if t.Control > 0 {
		runs = t.Taken > 0
	}
	switch {
	case !runs && !t.Spec.AlwaysRun:
		t.Message = "no path led here"
		if t.Control == 0 {
			t.Message = "a task it depends on did not complete"
		}
		s.move(t, TaskSkipped, now)
	case !s.mayStart(t):
		s.drop(t, now)
	case t.Spec.Skip:
		t.Message, t.taken = "skipped by its condition", t.tasksOf(jobspec.OutcomeCompleted)
		s.move(t, TaskCompleted, now)
	case t.Reuse:
		route, _ := t.Spec.Match(jobspec.OutcomeCompleted, t.ExitCode)
		if len(route.Targets) == 1 && jobspec.IsAction(route.Targets[0]) {
			route.Targets = t.tasksOf(jobspec.OutcomeCompleted)
		}
		t.Message, t.taken = "completed in an earlier run", route.Targets
		s.move(t, TaskCompleted, now)
	default:
		s.makeReady(t, now, now)
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
				s.needOut = append(s.needOut, i)
			}
		}
	}
	s.queue = slices.Clone(s.needOut)
	return len(s.needOut) == 0
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
	usable := t.State == TaskCompleted || t.State == TaskFailed && t.Spec.AllowFailure
	taken := make(map[string]bool, len(t.taken))
	for _, name := range t.taken {
		taken[name] = true
	}
	for _, e := range edges {
		next := s.Tasks[e.To]
		s.touch(next)
		next.Waiting--
		switch {
		case e.Control && taken[next.Spec.Name]:
			next.Taken++
			next.Handler = next.Handler || t.handled || t.Handler
		case !e.Control && !usable:
			next.Broken = true
		}
		if next.Waiting == 0 && next.State == TaskBlocked {
			s.activate(next, now)
		}
	}
}

// sweep applies the gravest of what is to be done with every open task.
func (s *State) sweep(now time.Time) {
	var each func(*Task, time.Time)
	switch what := s.sweeping; {
	case what&sweepEnd != 0:
		s.sweeping, each = sweepNone, s.halt
	case what&sweepStop != 0:
		s.sweeping, each = sweepNone, s.wind
	case what&sweepFail != 0:
		s.sweeping, each = what&^sweepFail, s.hold
	case what&sweepPause != 0:
		s.sweeping, each = what&^sweepPause, s.freeze
	default:
		s.sweeping, each = sweepNone, s.thaw
	}
	for _, i := range s.open() {
		each(s.Tasks[i], now)
	}
}

// wind applies a cancel or the job's timeout to a task.
func (s *State) wind(t *Task, now time.Time) {
	switch {
	case !t.Spec.AlwaysRun:
		s.halt(t, now)
	case !s.mayStart(t) && !t.State.live():
		s.drop(t, now)
	case t.State == TaskWaiting && t.WaitGate == GatePause:
		s.makeReady(t, now, now)
	}
}

// freeze applies a pause to a task.
func (s *State) freeze(t *Task, now time.Time) {
	if t.State == TaskReady {
		s.makeReady(t, now, now)
	}
}

// thaw applies the end of a pause to a task.
func (s *State) thaw(t *Task, now time.Time) {
	if t.State == TaskWaiting && t.WaitGate == GatePause {
		s.makeReady(t, now, now)
	}
}

// hold applies an unhandled failure of the job to a task.
func (s *State) hold(t *Task, now time.Time) {
	switch {
	case t.State == TaskReady || t.State == TaskWaiting:
		if !s.mayStart(t) {
			s.drop(t, now)
		}
	case t.State.live() && s.Job.Policy.FailFast && !t.Spec.AlwaysRun && !t.Handler:
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
		t.FailureClass, t.Message = ClassCancelled, s.whyNot()
		s.move(t, TaskCancelled, now)
	default:
		s.drop(t, now)
	}
}
