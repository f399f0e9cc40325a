package engine

import (
	"fmt"
	"strings"
	"time"

	"github.com/formicary/formicary/libs/jobspec"
)

// infraBudget is how many lost attempts of a task are replaced.
const infraBudget = 3

// Failure classes that the engine itself looks at.
const (
	ClassUser      = "user"
	ClassTimeout   = "timeout"
	ClassInfra     = "infra"
	ClassCancelled = "cancelled"
	ClassRejected  = "rejected"
)

// note keeps what is known of the last attempt with the task.
func (s *State) note(t *Task, o Outcome) {
	s.touch(t)
	t.ExitCode, t.FailureClass, t.Message, t.Outputs, t.Result = o.ExitCode, o.FailureClass, o.Message, o.Outputs, o.Body
}

// conclude decides what the end of an attempt means for its task.
func (s *State) conclude(t *Task, o Outcome, now time.Time) {
	s.note(t, o)
	switch o.State {
	case AttemptSucceeded:
		s.decide(t, o, jobspec.OutcomeCompleted, now)
	case AttemptTimedOut:
		s.decide(t, o, jobspec.OutcomeTimedOut, now)
	case AttemptLost, AttemptCancelled:
		s.vanished(t, o, now)
	case AttemptFailed, AttemptDispatched, AttemptRunning:
		s.decide(t, o, jobspec.OutcomeFailed, now)
	}
}

// vanished handles an attempt that was lost, taken back or stopped. Unless the job stops the task, that was not its
// fault.
func (s *State) vanished(t *Task, o Outcome, now time.Time) {
	switch {
	case !s.mayStart(t):
		s.drop(t, now)
	case !o.Claimed:
		s.makeReady(t, now, now) // it was never started, which costs nothing
	case t.Spec.AtMostOnce:
		s.fail(t, o, now)
	case t.InfraTries < infraBudget:
		t.InfraTries++
		s.makeReady(t, o.NotBefore, now)
		t.WaitReason = "its attempt was lost and is replaced"
	default:
		s.fail(t, o, now)
	}
}

// drop ends a task that may not run any more: SKIPPED when it never did, CANCELLED otherwise.
func (s *State) drop(t *Task, now time.Time) {
	s.touch(t)
	if t.Message == "" {
		t.Message = s.whyNot()
	}
	if t.Attempts == 0 && !s.Job.CancelRequested {
		s.move(t, TaskSkipped, now)
		return
	}
	t.FailureClass = ClassCancelled
	s.move(t, TaskCancelled, now)
}

func (s *State) whyNot() string {
	switch {
	case s.Job.CancelRequested:
		return "the job was cancelled"
	case s.Job.Stopping:
		return "the job is being stopped"
	}
	return "the job failed before it could start"
}

// decide handles an attempt that ended by itself or by its timeout. A route for its very code wins over retry, a route
// for its state applies when no retry is left.
func (s *State) decide(t *Task, o Outcome, outcome string, now time.Time) {
	route, ok := t.Spec.Match(outcome, o.ExitCode)
	if outcome == jobspec.OutcomeCompleted {
		t.FailureClass, t.Message = "", ""
	} else if (!ok || !isCode(route.Key)) && s.retry(t, o, now) {
		return
	}
	if ok && len(route.Targets) == 1 && jobspec.IsAction(route.Targets[0]) {
		s.act(t, o, route.Targets[0], now)
		return
	}
	if outcome == jobspec.OutcomeCompleted {
		s.complete(t, route.Targets, now)
		return
	}
	s.failWith(t, o, route.Targets, now)
}

// isCode says that a route names exit codes and not a state.
func isCode(key string) bool {
	switch key {
	case jobspec.OutcomeCompleted, jobspec.OutcomeFailed, jobspec.OutcomeTimedOut, "APPROVED", "REJECTED", "*":
		return false
	}
	return true
}

// retry starts another attempt of a failed one while the budget lasts.
func (s *State) retry(t *Task, o Outcome, now time.Time) bool {
	if t.UserTries >= t.Spec.Retry || o.FailureClass == ClassRejected || !s.mayStart(t) {
		return false
	}
	t.UserTries++
	s.makeReady(t, now.Add(t.Spec.Backoff.For(t.UserTries, o.Random)), now)
	t.WaitReason = fmt.Sprintf("attempt %d failed and is retried (%d of %d)", t.Attempts, t.UserTries, t.Spec.Retry)
	return true
}

// complete ends a task as COMPLETED and takes the edges to targets.
func (s *State) complete(t *Task, targets []string, now time.Time) {
	s.touch(t)
	t.FailureClass, t.taken = "", targets
	s.move(t, TaskCompleted, now)
}

// fail ends a task that failed and is not retried, by the route for its state.
func (s *State) fail(t *Task, o Outcome, now time.Time) {
	outcome := jobspec.OutcomeFailed
	if o.State == AttemptTimedOut {
		outcome = jobspec.OutcomeTimedOut
	}
	s.failWith(t, o, t.tasksOf(outcome), now)
}

// failWith ends a task as FAILED. Targets handle the failure; without any it is the job's, unless it is allowed.
func (s *State) failWith(t *Task, o Outcome, targets []string, now time.Time) {
	s.touch(t)
	if t.FailureClass == "" {
		t.FailureClass = ClassUser
	}
	switch {
	case len(targets) > 0:
		t.taken, t.handled = targets, true
	case t.Spec.AllowFailure:
		t.taken = t.tasksOf(jobspec.OutcomeCompleted)
	default:
		code := "ERR_TASK_EXECUTE"
		if o.State == AttemptTimedOut {
			code = "ERR_TASK_TIMED_OUT"
		}
		s.failTask(t, code, o, now)
		return
	}
	s.move(t, TaskFailed, now)
}

// failTask ends a task as FAILED and the job with it.
func (s *State) failTask(t *Task, code string, o Outcome, now time.Time) {
	s.failJob(code, describe(t, o))
	s.sweeping |= sweepFail
	s.move(t, TaskFailed, now)
}

// describe says in one line what happened to a task.
func describe(t *Task, o Outcome) string {
	what := fmt.Sprintf("task %q failed", t.Spec.Name)
	switch {
	case o.State == AttemptTimedOut:
		what = fmt.Sprintf("task %q did not end within its timeout", t.Spec.Name)
	case o.State == AttemptLost:
		what = fmt.Sprintf("task %q was lost with its ant", t.Spec.Name)
	case o.ExitCode != 0:
		what = fmt.Sprintf("task %q failed with code %d", t.Spec.Name, o.ExitCode)
	}
	last := strings.TrimSpace(o.Message)
	if i := strings.LastIndexByte(last, '\n'); i >= 0 {
		last = strings.TrimSpace(last[i:])
	}
	const most = 300
	if len(last) > most {
		last = strings.ToValidUTF8(last[:most], "") + "…"
	}
	if last == "" {
		return what
	}
	return what + ": " + last
}

// tasksOf returns the tasks that the route of a state names; an action is none.
func (t *Task) tasksOf(outcome string) []string {
	for _, r := range t.Spec.Routes {
		matches := r.Key == outcome || r.Key == "*" ||
			r.Key == jobspec.OutcomeFailed && outcome == jobspec.OutcomeTimedOut
		if !matches {
			continue
		}
		if len(r.Targets) == 1 && jobspec.IsAction(r.Targets[0]) {
			return nil
		}
		return r.Targets
	}
	return nil
}

// act does what a route names instead of tasks.
func (s *State) act(t *Task, o Outcome, action string, now time.Time) {
	switch action {
	case jobspec.ActionCompleted:
		s.complete(t, t.tasksOf(jobspec.OutcomeCompleted), now)
	case jobspec.ActionFailed:
		if o.State == AttemptSucceeded {
			t.FailureClass = ClassUser
		}
		s.failWith(t, o, t.tasksOf(jobspec.OutcomeFailed), now)
	case jobspec.ActionFatal:
		s.JobChanged = true
		s.Job.Policy.Retry, s.Job.Policy.Restart = 0, false
		s.refuse(t, "ERR_FATAL", o, now)
	case jobspec.ActionRestartJob:
		s.JobChanged = true
		s.Job.Policy.Restart = true
		s.refuse(t, "ERR_RESTART_JOB", o, now)
	case jobspec.ActionRestartTask, jobspec.ActionExecuting, jobspec.ActionPauseJob:
		s.repeat(t, o, action, now)
	default:
		s.refuse(t, action, o, now) // ERR_…
	}
}

// refuse ends a task as FAILED, and the job, whatever else the task says about failures.
func (s *State) refuse(t *Task, code string, o Outcome, now time.Time) {
	if t.FailureClass == "" {
		t.FailureClass = ClassUser
	}
	s.failTask(t, code, o, now)
}

// repeat runs a task again without calling it a failure: a poll, a restart, or after a pause.
func (s *State) repeat(t *Task, o Outcome, action string, now time.Time) {
	spent := t.StartedAt != nil && t.Spec.Timeout > 0 && !now.Before(t.StartedAt.Add(t.Spec.Timeout))
	switch {
	case !s.mayStart(t):
		s.failTask(t, "ERR_TASK_EXECUTE", o, now)
	case action == jobspec.ActionPauseJob:
		s.pause(now, true)
		s.makeReady(t, now, now)
	case action == jobspec.ActionExecuting && spent:
		o.State, o.FailureClass = AttemptTimedOut, ClassTimeout
		t.FailureClass = ClassTimeout
		s.fail(t, o, now)
	default:
		s.makeReady(t, now.Add(max(t.Spec.Backoff.For(t.Attempts, o.Random), minDelay)), now)
		t.WaitReason = "it is to run again"
	}
}
