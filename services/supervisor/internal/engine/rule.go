package engine

import (
	"cmp"
	"time"

	"github.com/formicary/formicary/libs/jobspec/errorrule"
)

// label gives a failure the code and the text of an error rule.
func label(t *Task, o *Outcome, rule *errorrule.Rule) {
	t.ErrorCode = rule.ErrorCode
	text := cmp.Or(rule.Message, o.Message)
	if rule.DisplayCode != "" {
		text = rule.DisplayCode + ": " + text
	}
	t.Message, o.Message = text, text
}

// obey does what an error rule says about a failure; false: the failure takes its course.
func (s *State) obey(t *Task, o *Outcome, rule *errorrule.Rule, now time.Time) bool {
	switch rule.Action {
	case errorrule.ActionRetryTask:
		most := cmp.Or(rule.Retry, t.Spec.Retry, 1)
		if o.FailureClass == ClassRejected || !s.mayStart(t) || t.UserTries >= most {
			return false
		}
		t.UserTries++
		s.tryAgain(t, o, now)
	case errorrule.ActionSuspendJob:
		if !s.mayStart(t) || s.Job.Stopping {
			return false
		}
		s.pause(false)
		s.start(t, now)
		t.WaitReason = "the job is suspended: " + t.ErrorCode + ": " + t.Message
	case errorrule.ActionRetryJob:
		s.JobChanged, s.PolicyChanged = true, true
		s.Job.Policy.Retry = cmp.Or(rule.Retry, s.Job.Policy.Retry, 1)
		s.refuse(t, rule.ErrorCode, *o, now)
	case errorrule.ActionHardFailure:
		s.noRestart()
		s.refuse(t, rule.ErrorCode, *o, now)
	default:
		return false
	}
	return true
}
