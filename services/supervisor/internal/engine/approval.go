package engine

import (
	"time"

	"github.com/formicary/formicary/libs/jobspec/plan"
)

// codeRejected is the error of a job that nobody wanted to go on.
const codeRejected = "ERR_MANUAL_REJECTION"

// ask waits for approval: of a MANUAL task, or of the outcome of an attempt (Accepted).
func (s *State) ask(t *Task, now time.Time) {
	s.begin(t, now)
	if t.Approval == nil {
		t.Approval = t.Spec.Approval
	}
	if t.Approval == nil {
		t.Approval = plan.DefaultApproval()
	}
	t.Round++
	s.move(t, TaskWaiting, GateApproval, now)
	if t.Accepted == "" { // the outcome of an attempt is judged after its time
		t.waitSince(now)
	}
	t.WaitReason = "it waits for approval"
	if t.Approval.SLA > 0 {
		t.WakeAt = later(now, t.Approval.SLA)
	}
	s.Approvals = append(s.Approvals, t.Idx)
}

// Voted says that the votes about a task have decided: outcome is plan.OutcomeApproved or OutcomeRejected, message
// says by whom and why, given are the outputs that the votes give a MANUAL task.
func (s *State) Voted(idx, round int, outcome, message string, given map[string]string, now time.Time) {
	t := s.waits(idx, round, GateApproval)
	if t == nil {
		return
	}
	s.reopen()
	if t.Accepted == "" {
		t.Outputs = given
	}
	s.voted(t, outcome, message, now)
	s.run(now)
}

// lapse is what happens when nobody decides in time.
func (s *State) lapse(t *Task, now time.Time) {
	switch t.Approval.TimeoutAction {
	case plan.AutoApprove:
		s.Lapsed = append(s.Lapsed, t.Idx)
		s.voted(t, plan.OutcomeApproved, "approved because nobody decided in time", now)
	case plan.AutoReject:
		s.Lapsed = append(s.Lapsed, t.Idx)
		s.voted(t, plan.OutcomeRejected, "rejected because nobody decided in time", now)
	default:
		s.touch(t)
		t.WakeAt, t.WaitReason = nil, "it waits for approval; the time for it is over"
		s.Escalations = append(s.Escalations, t.Idx)
	}
}

// voted applies the decision of people, or of the time.
func (s *State) voted(t *Task, outcome, message string, now time.Time) {
	s.touch(t)
	o := Outcome{
		State: t.Accepted, Claimed: true, ExitCode: t.ExitCode, FailureClass: t.FailureClass, Message: message,
		Outputs: t.Outputs, Body: t.Result,
	}
	manual := t.Accepted == ""
	t.Message, t.Accepted = message, ""
	route, ok := t.voteRoute(outcome, manual)
	if outcome == plan.OutcomeApproved {
		t.FailureClass, t.ErrorCode = "", ""
		if manual {
			o.State = AttemptSucceeded
		}
	} else {
		t.FailureClass, t.ErrorCode = ClassRejected, codeRejected
		o.State, o.FailureClass = AttemptFailed, ClassRejected
	}
	switch {
	case ok && route.IsAction():
		s.act(t, o, route.Targets[0], now)
	case outcome == plan.OutcomeApproved:
		s.complete(t, o, route.Targets, now)
	default:
		s.failWith(t, o, route.Targets, false, now)
	}
}

// voteRoute returns what follows a decision: the route of APPROVED or REJECTED, else that of COMPLETED or FAILED.
func (t *Task) voteRoute(outcome string, manual bool) (plan.Route, bool) {
	for _, r := range t.Spec.Routes {
		if r.Key == outcome {
			return r, true
		}
	}
	var route plan.Route
	var ok bool
	switch {
	case outcome != plan.OutcomeApproved:
		route, ok = t.Spec.StateRoute(plan.OutcomeFailed)
	case manual:
		route, ok = t.Spec.Match(plan.OutcomeCompleted, 0)
	default:
		route, ok = t.Spec.StateRoute(plan.OutcomeCompleted)
	}
	if ok && route.IsAction() && route.Targets[0] == plan.ActionWaitForApproval {
		return plan.Route{}, false // it has waited
	}
	return route, ok
}
