package engine

import (
	"cmp"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/formicary/formicary/libs/jobspec/errorrule"
	"github.com/formicary/formicary/libs/jobspec/param"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/services/supervisor/internal/reason"
)

// Failure classes that the engine itself looks at.
const (
	ClassUser      = plan.ClassUser
	ClassTimeout   = plan.ClassTimeout
	ClassOOM       = plan.ClassOOM
	ClassInfra     = plan.ClassInfra
	ClassCancelled = "cancelled"
	ClassRejected  = "rejected"
)

// Error codes of failures that nothing else names.
const (
	codeExecute  = "ERR_TASK_EXECUTE"
	codeTimedOut = "ERR_TASK_TIMED_OUT"
	codeFatal    = "ERR_FATAL"
	codeRestart  = "ERR_RESTART_JOB"
	// codeJobTimeout is that of a run.
	codeJobTimeout = "ERR_JOB_TIMEOUT"
)

// record keeps what is known of the last attempt with the task.
func (s *State) record(t *Task, o Outcome) {
	s.touch(t)
	t.ExitCode, t.FailureClass, t.ErrorCode, t.Message = o.ExitCode, o.FailureClass, o.ErrorCode, o.Message
	t.Outputs, t.Result = o.Outputs, o.Body
}

// conclude decides what the end of an attempt means for its task.
func (s *State) conclude(t *Task, o Outcome, now time.Time) {
	o.Outputs = t.given(&o)
	s.record(t, o)
	if o.State == AttemptLost || o.State == AttemptCancelled {
		s.replaceAttempt(t, o, now)
		return
	}
	s.decide(t, o, now)
}

// maxBody bounds the body that becomes an output, in bytes: what all outputs of a task may have.
const maxBody = 64 << 10

// given are the outputs of an attempt; the body of an HTTP task is among them unless only a part of it is known, and so are
// the addresses of artifacts.
func (t *Task) given(o *Outcome) map[string]string {
	body := o.Body != "" && !o.BodyCut && len(o.Body) <= maxBody && plan.GivesBody(t.Method())
	if !body && len(o.Artifacts) == 0 {
		return o.Outputs
	}
	outputs := map[string]string{}
	maps.Copy(outputs, o.Outputs)
	if body {
		outputs[plan.ResultVar(t.Spec.Name)] = o.Body
	}
	for i, address := range o.Artifacts {
		outputs[plan.ArtifactVar(t.Spec.Name, i+1)] = address
	}
	return outputs
}

// outcome is what routes call the end of an attempt.
func (o *Outcome) outcome() string {
	switch o.State {
	case AttemptSucceeded:
		return plan.OutcomeCompleted
	case AttemptTimedOut:
		return plan.OutcomeTimedOut
	case AttemptFailed, AttemptLost, AttemptCancelled, AttemptDispatched, AttemptRunning:
	}
	return plan.OutcomeFailed
}

// replaceAttempt handles an attempt that was lost, taken back or stopped. Unless the job stops the task, that was not its
// fault.
func (s *State) replaceAttempt(t *Task, o Outcome, now time.Time) {
	switch {
	case !s.mayStart(t):
		s.drop(t, now)
	case !o.Claimed:
		t.Unstarted++
		s.start(t, now) // it was never started, which costs nothing
	case t.Spec.AtMostOnce:
		s.fail(t, o, now)
	case s.spend(t, ClassInfra, 0):
		s.startAt(t, o.NotBefore, now)
		t.WaitReason = "its attempt was lost and is replaced"
	default:
		s.fail(t, o, now)
	}
}

// spend takes one from the budget of a class of failures; it says whether there was one left.
func (s *State) spend(t *Task, class string, exitCode int) bool {
	n, shared := t.Spec.Budget(class, exitCode)
	switch {
	case shared:
		if t.UserTries >= n {
			return false
		}
		t.UserTries++
	case class == ClassInfra:
		if t.InfraTries >= n {
			return false
		}
		t.InfraTries++
	default:
		if t.ClassTries[class] >= n {
			return false
		}
		tries := maps.Clone(t.ClassTries)
		if tries == nil {
			tries = map[string]int{}
		}
		tries[class]++
		t.ClassTries = tries
	}
	return true
}

// decide handles an attempt that ended by itself or by its timeout. A route for its very code wins over error rules and
// retry, error rules win over retry, and a route for its state applies when no retry is left.
func (s *State) decide(t *Task, o Outcome, now time.Time) {
	route, coded := t.route(&o)
	if o.State == AttemptSucceeded {
		t.FailureClass, t.ErrorCode, t.Message = "", "", ""
	} else if s.again(t, &o, coded, now) {
		return
	}
	switch {
	case route.IsAction():
		s.act(t, o, route.Targets[0], now)
	case o.State == AttemptSucceeded:
		s.complete(t, o, route.Targets, now)
	default:
		s.failWith(t, o, route.Targets, coded, now)
	}
}

// route returns the route of an outcome and whether it is one for its very code. Of a fan-out, what runs something
// again and actions for a code are the items' affair; what leads on from it, and actions for a state, the group's.
func (t *Task) route(o *Outcome) (route plan.Route, coded bool) {
	route, ok := t.Spec.Match(o.outcome(), o.ExitCode)
	if !ok {
		return plan.Route{}, false
	}
	coded = route.OfCode()
	if t.Spec.FanOut == nil || !t.IsItem() && t.Items == nil {
		return route, coded
	}
	items := route.IsAction() && (coded || repeats(route.Targets[0]))
	switch {
	case items == t.IsItem():
	case items: // the code has had its answer: what follows the group is what follows its state
		route.Targets, coded = t.Spec.TasksOf(o.outcome()), false
	default:
		route.Targets = nil
	}
	return route, coded
}

// repeats says that an action runs the task again.
func repeats(action string) bool {
	return action == plan.ActionRestartTask || action == plan.ActionExecuting || action == plan.ActionPauseJob
}

// again tries a failed task again, or does what an error rule says, if that is to be.
func (s *State) again(t *Task, o *Outcome, coded bool, now time.Time) bool {
	if t.IsGroup() && t.Items != nil {
		return false // the items were
	}
	rule := errorrule.Match(s.Job.Policy.Rules, errorrule.Failure{
		JobType: s.Job.Policy.JobType, Task: t.Spec.Name, Platform: s.Job.Policy.Platform, Script: t.Spec.Spec.Script,
		ExitCode: o.ExitCode, Message: o.Message,
	})
	if rule != nil {
		label(t, o, rule)
	}
	switch {
	case coded:
		return false
	case rule != nil && rule.Action != "":
		return s.obey(t, o, rule, now)
	}
	return s.retry(t, o, now)
}

// retry starts another attempt of a failed one while the budget of its class lasts.
func (s *State) retry(t *Task, o *Outcome, now time.Time) bool {
	class := o.FailureClass
	switch class {
	case ClassRejected, ClassCancelled:
		return false
	case "":
		class = ClassUser
	}
	if !s.mayStart(t) || class == ClassInfra && t.Spec.AtMostOnce || !s.spend(t, class, o.ExitCode) {
		return false
	}
	s.tryAgain(t, o, now)
	return true
}

// tryAgain starts another attempt after the delay.
func (s *State) tryAgain(t *Task, o *Outcome, now time.Time) {
	tries := t.UserTries + t.InfraTries
	for _, n := range t.ClassTries {
		tries += n
	}
	s.startAt(t, now.Add(t.Spec.Backoff.For(tries, o.Random)), now)
	if t.State == TaskWaiting && t.WaitGate == GateSchedule {
		t.WaitReason = fmt.Sprintf("attempt %d failed and is tried again", max(t.Attempts, t.Round))
	}
}

// complete ends a task as COMPLETED and takes the edges to targets, unless it lacks an output that it has declared.
func (s *State) complete(t *Task, o Outcome, targets []string, now time.Time) {
	s.touch(t)
	if err := s.checkOutputs(t); err != nil {
		t.FailureClass, t.Message = ClassUser, err.Error()
		failed := Outcome{
			State: AttemptFailed, Claimed: true, ExitCode: o.ExitCode, FailureClass: ClassUser, Message: t.Message, Random: o.Random,
		}
		if o.State == AttemptSucceeded {
			failed.ExitCode = 0
			s.decide(t, failed, now)
		} else {
			s.failWith(t, failed, t.Spec.TasksOf(plan.OutcomeFailed), false, now)
		}
		return
	}
	t.FailureClass, t.ErrorCode, t.taken = "", "", targets
	s.move(t, TaskCompleted, "", now)
}

// checkOutputs compares the outputs of a task with the declared ones. Those of a fan-out are declared for its items.
func (s *State) checkOutputs(t *Task) error {
	if t.IsGroup() {
		return nil
	}
	return param.CheckOutputs(t.Spec, t.Outputs)
}

// fail ends a task that failed and is not tried again, by the route for its state.
func (s *State) fail(t *Task, o Outcome, now time.Time) {
	route, _ := t.Spec.StateRoute(o.outcome())
	if !route.IsAction() {
		s.failWith(t, o, route.Targets, false, now)
		return
	}
	action := route.Targets[0]
	waited := action == plan.ActionWaitForApproval && t.WaitGate == GateApproval
	if t.IsItem() || repeats(action) || waited {
		s.failWith(t, o, nil, false, now)
		return
	}
	s.act(t, o, action, now)
}

// failWith ends a task as FAILED, and the job with it, unless the failure is allowed, was foreseen (targets are those of
// a route for its very code: a branch like any other) or is that of an item, which its group judges. Other targets are
// post-processing: they run, and the job fails all the same.
func (s *State) failWith(t *Task, o Outcome, targets []string, foreseen bool, now time.Time) {
	s.touch(t)
	if t.FailureClass == "" {
		t.FailureClass = ClassUser
	}
	code := codeExecute
	if o.State == AttemptTimedOut {
		code = codeTimedOut
	}
	code = cmp.Or(t.ErrorCode, code)
	foreseen = foreseen && len(targets) > 0
	switch {
	case t.IsItem():
	case foreseen:
		t.taken = targets
	case len(targets) > 0:
		t.taken, t.post = targets, true
	case t.mayFail():
		t.taken = t.Spec.TasksOf(plan.OutcomeCompleted)
	}
	if !foreseen && !t.IsItem() && !t.mayFail() {
		s.failTask(t, code, o, now)
		return
	}
	t.ErrorCode = code
	s.move(t, TaskFailed, "", now)
}

// failTask ends a task as FAILED and the job with it.
func (s *State) failTask(t *Task, code string, o Outcome, now time.Time) {
	s.touch(t)
	t.ErrorCode = code
	if !s.Job.Failing {
		s.sweeping |= sweepFail // once is enough: what comes later is asked whether it may start
		if t.ExitCode != 0 {
			s.PolicyChanged, s.Job.Policy.ExitCode = true, t.ExitCode
		}
	}
	s.failJob(code, describe(t, o))
	s.move(t, TaskFailed, "", now)
}

// describe says in one line what happened to a task: the cause, and what was said last.
func describe(t *Task, o Outcome) string {
	what := fmt.Sprintf("task %q failed", t.Name())
	switch {
	case o.FailureClass == ClassRejected && t.ErrorCode == codeRejected:
		what = fmt.Sprintf("task %q was rejected", t.Name())
	case o.State == AttemptTimedOut && o.ErrorCode == "":
		what = fmt.Sprintf("task %q did not end within its timeout", t.Name())
	case o.State == AttemptLost:
		what = fmt.Sprintf("task %q was lost with its ant", t.Name())
	case o.ExitCode != 0:
		what = fmt.Sprintf("task %q failed with code %d", t.Name(), o.ExitCode)
	}
	cause, last := reason.Ends(o.Message)
	if o.ExitCode != 0 && cause == fmt.Sprintf("exit code %d", o.ExitCode) { // it says so already
		cause, last = last, ""
	}
	if cause != "" {
		what += ": " + cause
	}
	if last != "" {
		what += " … " + last
	}
	return what
}

// act does what a route names instead of tasks.
func (s *State) act(t *Task, o Outcome, action string, now time.Time) {
	s.touch(t)
	switch action {
	case plan.ActionCompleted:
		s.complete(t, o, t.Spec.TasksOf(plan.OutcomeCompleted), now)
	case plan.ActionFailed:
		s.failWith(t, o, t.Spec.TasksOf(plan.OutcomeFailed), false, now)
	case plan.ActionFatal:
		s.noRestart()
		s.refuse(t, codeFatal, o, now)
	case plan.ActionRestartJob:
		s.JobChanged, s.PolicyChanged = true, true
		s.Job.Policy.Restart = true
		s.refuse(t, codeRestart, o, now)
	case plan.ActionWaitForApproval:
		s.submitForApproval(t, o, now)
	case plan.ActionRestartTask, plan.ActionExecuting, plan.ActionPauseJob:
		s.repeat(t, o, action, now)
	default:
		s.refuse(t, action, o, now) // ERR_…
	}
}

// noRestart lets the job end for good.
func (s *State) noRestart() {
	s.JobChanged, s.PolicyChanged = true, true
	s.Job.Policy.Final = true
}

// submitForApproval keeps the outcome of an attempt until somebody has judged it.
func (s *State) submitForApproval(t *Task, o Outcome, now time.Time) {
	if !s.mayStart(t) {
		s.discard(t, now)
		return
	}
	t.Accepted, t.Approval = o.State, t.Spec.Approval
	s.ask(t, now)
}

// refuse ends a task as FAILED, and the job, whatever else the task says about failures.
func (s *State) refuse(t *Task, code string, o Outcome, now time.Time) {
	if t.FailureClass == "" {
		t.FailureClass = ClassUser
	}
	s.failTask(t, code, o, now)
}

// repeat runs a task again without calling it a failure: a poll, a restart, or after a pause. Restarts are tries of its
// retry; pauses count as retries of the job, up to a bound. When there are no more of them the task fails.
func (s *State) repeat(t *Task, o Outcome, action string, now time.Time) {
	spent := t.StartedAt != nil && t.Spec.Timeout > 0 && !now.Before(t.StartedAt.Add(t.Spec.Timeout))
	hopeless := o.FailureClass == ClassRejected && t.ErrorCode != codeRejected // it would be refused again
	switch {
	case !s.mayStart(t), hopeless, t.IsGroup() && t.Items != nil: // a group does not run
		s.failWith(t, o, nil, false, now)
	case action == plan.ActionPauseJob && s.Job.Policy.Pauses >= plan.MaxRestarts:
		s.exhausted(t, o, fmt.Sprintf("the job has paused itself %d times", s.Job.Policy.Pauses), now)
	case action == plan.ActionPauseJob:
		s.JobChanged, s.PolicyChanged = true, true
		s.Job.Policy.Pauses++
		s.pauseFor(t, now)
	case action == plan.ActionExecuting && spent:
		o.State, o.FailureClass = AttemptTimedOut, ClassTimeout
		t.FailureClass = ClassTimeout
		s.fail(t, o, now)
	case action == plan.ActionRestartTask && t.UserTries >= plan.Restarts(t.Spec.Retry, t.Spec.RetryGiven):
		s.exhausted(t, o, fmt.Sprintf("it was started again %d times", t.UserTries), now)
	case action == plan.ActionRestartTask:
		t.UserTries++
		s.runAgain(t, o, now)
	default:
		s.runAgain(t, o, now)
	}
}

// pauseFor has a task run again after a pause. Clean-up is not kept waiting.
func (s *State) pauseFor(t *Task, now time.Time) {
	if s.Job.Stopping {
		s.startAt(t, now.Add(max(s.Job.Policy.PauseTime, minDelay)), now)
		return
	}
	s.pause(true)
	s.start(t, now)
}

// runAgain starts a task again after its delay.
func (s *State) runAgain(t *Task, o Outcome, now time.Time) {
	s.startAt(t, now.Add(max(t.Spec.Backoff.For(max(t.Attempts, t.Round), o.Random), minDelay)), now)
	if t.WaitGate == GateSchedule {
		t.WaitReason = "it is to run again"
	}
}

// exhausted fails a task that may not be repeated any more.
func (s *State) exhausted(t *Task, o Outcome, why string, now time.Time) {
	s.touch(t)
	if o.State == AttemptSucceeded {
		o.State = AttemptFailed
	}
	o.Message = strings.TrimSpace(why + "\n" + o.Message)
	t.Message = o.Message
	s.fail(t, o, now)
}
