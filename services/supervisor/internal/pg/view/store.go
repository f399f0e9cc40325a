// Package view reads what people look at, on connections of its own: no number of viewers holds up a job.
package view

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/services/supervisor/internal/approval"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
	"github.com/formicary/formicary/services/supervisor/internal/pg/db"
)

// Approvals are those that tasks of a run wait for.
type Approvals interface {
	PendingOf(ctx context.Context, id uuid.UUID, idx []int32) ([]*approval.Approval, error)
}

// Store is the schema as people see it.
type Store struct {
	reads *pgxpool.Pool
	rows  Approvals
}

// New returns the schema that the pool's search path names.
func New(reads *pgxpool.Pool, a Approvals) *Store { return &Store{reads: reads, rows: a} }

// Get returns a run of an org; run 0 is the newest.
func (s *Store) Get(ctx context.Context, org string, key execution.Key) (execution.View, error) {
	r, err := db.New().GetExecution(ctx, s.reads, db.GetExecutionParams{RequestID: key.Request, OrgID: org, Run: int32(key.Run)})
	if errors.Is(err, pgx.ErrNoRows) {
		return execution.View{}, errs.NotFound("EXECUTION_NOT_FOUND", "request %s has no such run (yet)", key.Request)
	}
	if err != nil {
		return execution.View{}, fmt.Errorf("read execution of request %s: %w", key.Request, err)
	}
	return execution.View{
		Run: execution.Run{ID: r.ID, Key: execution.Key{Request: r.RequestID, Run: int(r.Run)}, Org: r.OrgID, JobType: r.JobType},
		Job: engine.Job{
			Run: int(r.Run), State: engine.JobState(r.State), Version: r.Version, TasksTotal: int(r.TasksTotal), TasksOpen: int(r.TasksOpen),
			ErrorCode: r.ErrorCode, ErrorMessage: r.ErrorMessage, StartedAt: r.StartedAt, EndedAt: r.EndedAt,
		},
		Planned: int(r.TasksPlanned), CreatedAt: r.CreatedAt,
	}, nil
}

// Log returns what is known of the log of a task's attempt; attempt 0 is the newest.
func (s *Store) Log(ctx context.Context, id uuid.UUID, task string, attempt int) (execution.Log, error) {
	r, err := db.New().FindTaskLog(ctx, s.reads, db.FindTaskLogParams{ExecutionID: id, Task: task, Attempt: int32(attempt)})
	if errors.Is(err, pgx.ErrNoRows) {
		return execution.Log{}, errs.NotFound("TASK_NOT_FOUND", "no task %s", task)
	}
	if err != nil {
		return execution.Log{}, fmt.Errorf("find log of task %s: %w", task, err)
	}
	return execution.Log{
		TaskState: engine.TaskState(r.TaskState), UID: uuid.UUID(r.Uid.Bytes), Exists: r.Uid.Valid, Attempt: int(r.Number.Int32),
		State: engine.AttemptState(r.State.String), Task: task,
		StoredLog: storedLog(r.LogKey.String, r.LogBytes.Int64, r.LogFormat.Int16, r.LogStored.Int64),
	}, nil
}

func storedLog(key string, bytes int64, format int16, stored int64) execution.StoredLog {
	if stored == 0 {
		stored = bytes
	}
	return execution.StoredLog{Key: key, Bytes: bytes, Format: execution.LogFormat(format), Stored: stored}
}

// Logs calls do with the logs of a run, task by task: those of some tasks or all, of one attempt or all.
func (s *Store) Logs(ctx context.Context, id uuid.UUID, tasks []string, attempt int, do func(execution.Log) (enough bool, err error)) error {
	p := db.ListLogsParams{ExecutionID: id, AfterIdx: -1, Tasks: append([]string{}, tasks...), Attempt: int32(attempt), Most: 500} // NULL would be no list
	for {
		rows, err := db.New().ListLogs(ctx, s.reads, p)
		if err != nil {
			return fmt.Errorf("list logs: %w", err)
		}
		for _, r := range rows {
			p.AfterIdx, p.AfterNumber = r.Idx, r.Number
			enough, err := do(execution.Log{
				Task: r.Name, TaskState: engine.TaskState(r.TaskState), UID: r.Uid, Exists: true, Attempt: int(r.Number), State: engine.AttemptState(r.State),
				StoredLog: storedLog(r.LogKey, r.LogBytes, r.LogFormat, r.LogStored),
			})
			if enough || err != nil {
				return err
			}
		}
		if len(rows) < int(p.Most) {
			return nil
		}
	}
}
