package step

import (
	"time"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/services/supervisor/internal/approval"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// collect moves what the engine has asked for from its lists into the effects.
func (f *Effects) collect(r execution.Run, s *engine.State, now time.Time, c *execution.Changes) {
	round := func(t *engine.Task) Round { return Round{Task{r.ID, t.Idx}, t.Round} }
	for _, idx := range s.Forks {
		t := s.Tasks[idx]
		f.Children = append(f.Children, NewChild{Round: round(t), Org: r.Org, Fork: t.Fork})
	}
	for _, idx := range s.Chores {
		t := s.Tasks[idx]
		f.Children = append(f.Children, NewChild{Round: round(t), Org: r.Org, Chore: true, Fork: &plan.Fork{Wait: true, Params: t.Variables}})
	}
	for _, idx := range s.Approvals {
		t := s.Tasks[idx]
		f.Approvals = append(f.Approvals, NewApproval{round(t), r.Org, t.Approval, t.WakeAt})
		if n := execution.Requested(r, t, t.Approval, t.Round, now); n != nil {
			c.Notices = append(c.Notices, *n)
		}
	}
	for _, idx := range s.Lapsed {
		t, state := s.Tasks[idx], approval.Rejected
		if t.Approval.TimeoutAction == plan.AutoApprove {
			state = approval.Approved
		}
		f.Decided = append(f.Decided, Decided{round(t), state, true})
	}
	for _, idx := range s.Escalations {
		t := s.Tasks[idx]
		f.Escalated = append(f.Escalated, round(t))
		if n := execution.Escalated(r, t, t.Approval, t.Round, now); n != nil {
			c.Notices = append(c.Notices, *n)
		}
	}
	for _, idx := range s.Dismissed {
		f.Decided = append(f.Decided, Decided{round(s.Tasks[idx]), approval.Cancelled, false})
	}
	for _, a := range s.CancelChildren {
		f.Halted = append(f.Halted, Round{Task{r.ID, a.Idx}, a.Round})
	}
	c.Children = c.Children || len(s.Forks)+len(s.CancelChildren) > 0
	c.Chores = c.Chores || len(s.Chores)+len(s.CancelChildren) > 0
	s.Forks, s.Chores, s.Approvals, s.Lapsed, s.Escalations, s.Dismissed, s.CancelChildren = nil, nil, nil, nil, nil, nil, nil
}
