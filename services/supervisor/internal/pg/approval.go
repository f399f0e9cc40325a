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
	"github.com/formicary/formicary/services/supervisor/internal/approval"
	"github.com/formicary/formicary/services/supervisor/internal/child"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
	"github.com/formicary/formicary/services/supervisor/internal/step"
)

// The statements about approvals are written by hand: the same ones run in the transaction of a vote, pipelined, and
// outside of it.

const approvalColumns = `a.execution_id, e.request_id, e.run, e.org_id, e.job_type, e.submitted_by, e.definition_id, a.task_idx, a.round, t.name,
	coalesce(t.spec ->> 'description', ''), a.state, a.policy, a.requested_at, a.due_at, a.escalated_at, a.decided_at`

const approvalTables = ` FROM approval a JOIN execution e ON e.id = a.execution_id
	JOIN task t ON t.execution_id = a.execution_id AND t.idx = a.task_idx `

// newestApproval finds the last round of a task's approvals.
const newestApproval = `SELECT ` + approvalColumns + approvalTables + `WHERE a.execution_id = $1 AND a.task_idx = $2 ORDER BY a.round DESC LIMIT 1`

const votesOf = `SELECT execution_id, task_idx, round, voter, approve, comment, created_at, given FROM vote
	WHERE (execution_id, task_idx, round) IN (SELECT unnest($1::uuid[]), unnest($2::int[]), unnest($3::int[])) ORDER BY created_at, voter`

func scanApproval(rows pgx.Rows) (*approval.Approval, error) {
	a := &approval.Approval{Policy: &plan.Approval{}}
	var policy []byte
	err := rows.Scan(&a.ID, &a.Request, &a.Run.Run, &a.Org, &a.JobType, &a.SubmittedBy, &a.Definition, &a.Idx, &a.Round, &a.Task,
		&a.Description, &a.State, &policy, &a.RequestedAt, &a.DueAt, &a.EscalatedAt, &a.DecidedAt)
	if err != nil {
		return nil, fmt.Errorf("read approval: %w", err)
	}
	if err := json.Unmarshal(policy, a.Policy); err != nil {
		return nil, fmt.Errorf("read policy of approval %s/%d: %w", a.ID, a.Idx, err)
	}
	return a, nil
}

// queueApproval reads the newest approval of a task with its votes.
func (x *tx) queueApproval(t step.Task, l *step.Loaded) {
	x.t.Queue(newestApproval, t.Execution, t.Idx).Query(func(rows pgx.Rows) (err error) {
		for rows.Next() {
			if l.Approval, err = scanApproval(rows); err != nil {
				return err
			}
		}
		return rows.Err()
	})
	// The votes of all rounds are few.
	x.t.Queue(`SELECT round, voter, approve, comment, created_at, given FROM vote WHERE execution_id = $1 AND task_idx = $2 ORDER BY created_at, voter`,
		t.Execution, t.Idx).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var round int
			var v approval.Vote
			if err := rows.Scan(&round, &v.Voter, &v.Approve, &v.Comment, &v.At, &v.Values); err != nil {
				return err
			}
			if l.Approval != nil && round == l.Approval.Round {
				l.Approval.Votes = append(l.Approval.Votes, v)
			}
		}
		return rows.Err()
	})
}

// FindTask returns the execution and the index of a task; of the newest run when Run is 0.
func (s *Store) FindTask(ctx context.Context, org string, key execution.Key, task string) (id uuid.UUID, idx int, err error) {
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
	id, idx, err := s.FindTask(ctx, org, key, task)
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

// PendingOf returns what tasks of a run wait for.
func (s *Store) PendingOf(ctx context.Context, id uuid.UUID, idx []int32) ([]*approval.Approval, error) {
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
		if err := votes.Scan(&k.Execution, &k.Idx, &k.Round, &v.Voter, &v.Approve, &v.Comment, &v.At, &v.Values); err != nil {
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
