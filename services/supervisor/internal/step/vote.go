package step

import (
	"context"
	"fmt"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/services/supervisor/internal/approval"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// Vote casts a ballot and goes on with the run when that decides, in one transaction: of a vote, a cancel and another
// vote the first to hold the run's lock decides.
func (s *Stepper) Vote(ctx context.Context, ballot approval.Ballot) (*approval.Approval, error) {
	id, idx, err := s.store.FindTask(ctx, ballot.Org, ballot.Key, ballot.Task)
	if err != nil {
		return nil, err
	}
	var v *vote
	e := execution.Event{Kind: execution.Voted, Execution: id, Idx: idx}
	// What follows the task has to be decided, too: no lock is held while somebody is asked.
	err = s.withDefinitions(ctx, func(k *known) error {
		return s.store.Transact(ctx, func(ctx context.Context, tx Tx) error {
			v = &vote{batch: newBatch(tx, []execution.Event{e}, k), ballot: ballot}
			if err := v.load(ctx, false); err != nil {
				return err
			}
			if err := v.read(ctx, Task{id, idx}); err != nil {
				return err
			}
			if err := v.cast(ctx); err != nil {
				return err
			}
			return v.save()
		})
	})
	if err != nil {
		return nil, fmt.Errorf("vote on task %s: %w", ballot.Task, err)
	}
	return v.approval, nil
}

// vote is a step that a ballot may make.
type vote struct {
	*batch
	ballot   approval.Ballot
	approval *approval.Approval
}

// read reads the approval as it is under the lock of its run.
func (v *vote) read(ctx context.Context, t Task) error {
	l, err := v.tx.Load(ctx, &Needs{Approval: &t})
	if err != nil {
		return fmt.Errorf("read approval of task %d of execution %s: %w", t.Idx, t.Execution, err)
	}
	if v.approval = l.Approval; v.approval == nil {
		return errs.Precondition("APPROVAL_NOT_PENDING", "task %s does not wait for votes", v.ballot.Task)
	}
	return nil
}

// cast casts the ballot and lets the run go on when that decides.
func (v *vote) cast(ctx context.Context) error {
	a := v.approval
	a.Takes = v.takes()
	outcome, decided, err := a.Cast(v.ballot, v.now)
	if err != nil {
		return err
	}
	v.writes.Vote = &CastVote{
		Round: Round{Task{a.ID, a.Idx}, a.Round}, Vote: a.Votes[len(a.Votes)-1], Decided: decided, State: a.State,
	}
	if !decided {
		for _, r := range v.order {
			r.events = nil
		}
		return nil
	}
	e := &v.events[0]
	e.Round, e.Outcome, e.Reason, e.Values = a.Round, outcome, decidedBy(v.ballot, outcome), a.Given()
	if err := v.advance(ctx); err != nil {
		return err
	}
	switch v.verdicts[0] { //nolint:exhaustive // the others say what the last one does
	case execution.Applied:
		return nil
	case execution.Postponed:
		return errs.Unavailable("DEFINITION_UNAVAILABLE", "the definition of the job cannot be read just now; vote again")
	}
	return errs.Precondition("APPROVAL_NOT_PENDING", "task %s does not wait for votes any more", v.ballot.Task)
}

// takes are the outputs that votes may give: those that a MANUAL task declares.
func (v *vote) takes() []plan.Output {
	for _, r := range v.order {
		if t := r.state.Tasks[v.events[0].Idx]; t != nil && t.Method() == plan.MethodManual && t.Accepted == "" {
			return t.Spec.Outputs
		}
	}
	return nil
}

// decidedBy says who decided.
func decidedBy(b approval.Ballot, outcome string) string {
	what := "approved by "
	if outcome == plan.OutcomeRejected {
		what = "rejected by "
	}
	if b.Comment == "" {
		return what + b.User
	}
	return what + b.User + ": " + b.Comment
}
