package pg

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/outbox"
	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/libs/storable"
	"github.com/formicary/formicary/services/supervisor/internal/approval"
	"github.com/formicary/formicary/services/supervisor/internal/child"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// The statements about approvals are written by hand: the same ones run in the transaction of a vote, pipelined, and
// outside of it.

const approvalColumns = `a.execution_id, e.request_id, e.run, e.org_id, e.job_type, e.submitted_by, a.task_idx, a.round, t.name,
	coalesce(t.spec ->> 'description', ''), a.state, a.policy, a.requested_at, a.due_at, a.escalated_at, a.decided_at`

const approvalTables = ` FROM approval a JOIN execution e ON e.id = a.execution_id
	JOIN task t ON t.execution_id = a.execution_id AND t.idx = a.task_idx `

// newestApproval finds the last round of a task's approvals.
const newestApproval = `SELECT ` + approvalColumns + approvalTables + `WHERE a.execution_id = $1 AND a.task_idx = $2 ORDER BY a.round DESC LIMIT 1`

const votesOf = `SELECT execution_id, task_idx, round, voter, approve, comment, created_at FROM vote
	WHERE (execution_id, task_idx, round) IN (SELECT unnest($1::uuid[]), unnest($2::int[]), unnest($3::int[])) ORDER BY created_at, voter`

func scanApproval(rows pgx.Rows) (*approval.Approval, error) {
	a := &approval.Approval{Policy: &plan.Approval{}}
	var policy []byte
	err := rows.Scan(&a.ID, &a.Request, &a.Run.Run, &a.Org, &a.JobType, &a.SubmittedBy, &a.Idx, &a.Round, &a.Task,
		&a.Description, &a.State, &policy, &a.RequestedAt, &a.DueAt, &a.EscalatedAt, &a.DecidedAt)
	if err != nil {
		return nil, fmt.Errorf("read approval: %w", err)
	}
	if err := json.Unmarshal(policy, a.Policy); err != nil {
		return nil, fmt.Errorf("read policy of approval %s/%d: %w", a.ID, a.Idx, err)
	}
	return a, nil
}

// Vote casts a ballot and goes on with the run when that decides, in one transaction: of a vote, a cancel and another
// vote the first to hold the run's lock decides.
func (s *Store) Vote(ctx context.Context, b approval.Ballot) (*approval.Approval, error) {
	id, idx, err := s.findTask(ctx, b.Org, b.Key, b.Task)
	if err != nil {
		return nil, err
	}
	var v *vote
	var msgs []outbox.Message
	e := execution.Event{Kind: execution.Voted, Execution: id, Idx: idx}
	// What follows the task has to be decided, too: no lock is held while somebody is asked.
	err = s.informed(ctx, func(a *answers) (err error) {
		v, msgs, err = s.vote(ctx, b, e, a)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("vote on task %s: %w", b.Task, err)
	}
	s.listener.Committed(&v.changes, msgs)
	return v.approval, nil
}

// vote is the transaction of a vote.
func (s *Store) vote(ctx context.Context, b approval.Ballot, e execution.Event, a *answers) (v *vote, msgs []outbox.Message, err error) {
	err = s.tx(ctx, func(ctx context.Context, t *pgdb.Pipeline) (err error) {
		v = &vote{step: newStep(t, []execution.Event{e}, a), ballot: b}
		if err := v.load(ctx, false); err != nil {
			return err
		}
		if err := v.read(ctx, e.Execution, e.Idx); err != nil {
			return err
		}
		if err := v.cast(ctx); err != nil {
			return err
		}
		msgs, err = v.save(s)
		return err
	})
	return v, msgs, err
}

// vote is a step that a ballot may make.
type vote struct {
	*step
	ballot   approval.Ballot
	approval *approval.Approval
}

// read reads the approval as it is under the lock of its run.
func (v *vote) read(ctx context.Context, id uuid.UUID, idx int) error {
	v.t.Queue(newestApproval, id, idx).Query(func(rows pgx.Rows) (err error) {
		for rows.Next() {
			if v.approval, err = scanApproval(rows); err != nil {
				return err
			}
		}
		return rows.Err()
	})
	// The votes of all rounds are few.
	v.t.Queue(`SELECT round, voter, approve, comment, created_at FROM vote WHERE execution_id = $1 AND task_idx = $2 ORDER BY created_at, voter`,
		id, idx).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var round int
			var x approval.Vote
			if err := rows.Scan(&round, &x.Voter, &x.Approve, &x.Comment, &x.At); err != nil {
				return err
			}
			if v.approval != nil && round == v.approval.Round {
				v.approval.Votes = append(v.approval.Votes, x)
			}
		}
		return rows.Err()
	})
	if err := v.t.Flush(ctx); err != nil {
		return fmt.Errorf("read approval of task %d of execution %s: %w", idx, id, err)
	}
	if v.approval == nil {
		return errs.Precondition("APPROVAL_NOT_PENDING", "task %s does not wait for votes", v.ballot.Task)
	}
	return nil
}

// cast casts the ballot and lets the run go on when that decides.
func (v *vote) cast(ctx context.Context) error {
	a := v.approval
	outcome, decided, err := a.Cast(v.ballot, v.now)
	if err != nil {
		return err
	}
	v.t.Queue(`INSERT INTO vote (execution_id, task_idx, round, voter, approve, comment, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		a.ID, a.Idx, a.Round, storable.Text(v.ballot.User), v.ballot.Approve, storable.Text(v.ballot.Comment), v.now)
	if !decided {
		for _, r := range v.order {
			r.events = nil
		}
		return nil
	}
	v.t.Queue(`UPDATE approval SET state = $4, decided_at = $5 WHERE execution_id = $1 AND task_idx = $2 AND round = $3`,
		a.ID, a.Idx, a.Round, a.State, v.now)
	e := &v.events[0]
	e.Round, e.Outcome, e.Reason = a.Round, outcome, verdict(v.ballot, outcome)
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

// verdict says who decided.
func verdict(b approval.Ballot, outcome string) string {
	what := "approved by "
	if outcome == plan.OutcomeRejected {
		what = "rejected by "
	}
	if b.Comment == "" {
		return what + b.User
	}
	return what + b.User + ": " + b.Comment
}

// findTask returns the execution and the index of a task; of the newest run when Run is 0.
func (s *Store) findTask(ctx context.Context, org string, key execution.Key, task string) (id uuid.UUID, idx int, err error) {
	err = s.reads.QueryRow(ctx, `SELECT e.id, t.idx FROM (SELECT id FROM execution WHERE request_id = $1 AND org_id = $2 AND ($3 = 0 OR run = $3)
			ORDER BY run DESC LIMIT 1) e JOIN task t ON t.execution_id = e.id WHERE t.name = $4 ORDER BY t.idx LIMIT 1`,
		key.Request, org, key.Run, task).Scan(&id, &idx)
	if errors.Is(err, pgx.ErrNoRows) {
		return id, 0, errs.NotFound("TASK_NOT_FOUND", "request %s has no task %s", key.Request, task)
	}
	if err != nil {
		return id, 0, fmt.Errorf("find task %s of request %s: %w", task, key.Request, err)
	}
	return id, idx, nil
}

// Approval returns the newest approval of a task.
func (s *Store) Approval(ctx context.Context, org string, key execution.Key, task string) (*approval.Approval, error) {
	id, idx, err := s.findTask(ctx, org, key, task)
	if errs.Reason(err) == "TASK_NOT_FOUND" {
		return nil, errs.NotFound("APPROVAL_NOT_FOUND", "request %s has no task %s", key.Request, task)
	}
	if err != nil {
		return nil, err
	}
	found, err := s.approvals(ctx, newestApproval, id, idx)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, errs.NotFound("APPROVAL_NOT_FOUND", "task %s of request %s has not asked for an approval", task, key.Request)
	}
	return found[0], nil
}

// Pending lists what waits for votes, the oldest first.
func (s *Store) Pending(ctx context.Context, p approval.Page) ([]*approval.Approval, error) {
	return s.approvals(ctx, `SELECT `+approvalColumns+approvalTables+`WHERE a.org_id = $1 AND a.state = 'PENDING'
			AND (a.requested_at, a.execution_id, a.task_idx) > ($2, $3, $4) ORDER BY a.requested_at, a.execution_id, a.task_idx LIMIT $5`,
		p.Org, p.After.RequestedAt, p.After.Execution, p.After.Idx, p.Size)
}

// pendingOf returns what tasks of a run wait for.
func (s *Store) pendingOf(ctx context.Context, id uuid.UUID, idx []int32) ([]*approval.Approval, error) {
	return s.approvals(ctx, `SELECT `+approvalColumns+approvalTables+`WHERE a.execution_id = $1 AND a.task_idx = ANY($2::int[]) AND a.state = 'PENDING'`, id, idx)
}

// approvals reads approvals with their votes.
func (s *Store) approvals(ctx context.Context, sql string, args ...any) ([]*approval.Approval, error) {
	rows, err := s.reads.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("read approvals: %w", err)
	}
	defer rows.Close()
	var all []*approval.Approval
	at := map[child.Key]*approval.Approval{}
	var ids []uuid.UUID
	var idx, rounds []int32
	for rows.Next() {
		a, err := scanApproval(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
		at[child.Key{Execution: a.ID, Idx: a.Idx, Round: a.Round}] = a
		ids, idx, rounds = append(ids, a.ID), append(idx, int32(a.Idx)), append(rounds, int32(a.Round))
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read approvals: %w", err)
	}
	if len(all) == 0 {
		return nil, nil
	}
	votes, err := s.reads.Query(ctx, votesOf, ids, idx, rounds)
	if err != nil {
		return nil, fmt.Errorf("read votes: %w", err)
	}
	defer votes.Close()
	for votes.Next() {
		var k child.Key
		var v approval.Vote
		if err := votes.Scan(&k.Execution, &k.Idx, &k.Round, &v.Voter, &v.Approve, &v.Comment, &v.At); err != nil {
			return nil, fmt.Errorf("read votes: %w", err)
		}
		if a := at[k]; a != nil {
			a.Votes = append(a.Votes, v)
		}
	}
	if err := votes.Err(); err != nil {
		return nil, fmt.Errorf("read votes: %w", err)
	}
	return all, nil
}
