package pg

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/services/supervisor/internal/child"
	"github.com/formicary/formicary/services/supervisor/internal/chore"
)

// The statements about chores are written by hand like those about children: they share theirs.

// TakeChores returns chores that are due and hides them for the lease.
func (s *Store) TakeChores(ctx context.Context, lease time.Duration, limit int) ([]chore.Chore, error) {
	rows, err := s.pool.Query(ctx, takeWantedChores+`SELECT k.execution_id, k.task_idx, k.round, e.org_id, coalesce(k.params, t.spec -> 'spec' -> 'variables'), k.tries, k.outputs
		FROM taken k JOIN execution e ON e.id = k.execution_id JOIN task t ON t.execution_id = k.execution_id AND t.idx = k.task_idx`, lease, limit)
	if err != nil {
		return nil, fmt.Errorf("take chores: %w", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c chore.Chore, err error) {
		var done []byte
		err = row.Scan(&c.Execution, &c.Idx, &c.Round, &c.Org, &c.Params, &c.Tries, &done)
		c.Done = progress(done)
		return c, err
	})
	if err != nil {
		return nil, fmt.Errorf("take chores: %w", err)
	}
	return all, nil
}

// TakeUnwanted returns chores that nobody waits for any more and hides them for the lease.
func (s *Store) TakeUnwanted(ctx context.Context, lease time.Duration, limit int) ([]child.Key, error) {
	rows, err := s.pool.Query(ctx, takeEndedChores+`SELECT execution_id, task_idx, round FROM taken`, lease, limit)
	return keysOf(rows, err, "take unwanted chores")
}

// progressOf is what the column outputs of a chore holds before its end.
type progressOf struct {
	Done int `json:"done"`
}

func progress(raw []byte) int {
	var p progressOf
	if len(raw) > 0 && json.Unmarshal(raw, &p) != nil {
		return 0 // it only counts
	}
	return p.Done
}

// RenewChore hides a chore for the lease again and keeps how much is done. It says whether it is still wanted.
func (s *Store) RenewChore(ctx context.Context, k child.Key, done int, lease time.Duration) (bool, error) {
	raw, err := json.Marshal(progressOf{done})
	if err != nil {
		return false, fmt.Errorf("encode progress of chore %s: %w", k, err)
	}
	tag, err := s.pool.Exec(ctx, `UPDATE child SET due_at = now() + $4::interval, outputs = $5
		WHERE execution_id = $1 AND task_idx = $2 AND round = $3 AND state = 'WANTED'`, k.Execution, k.Idx, k.Round, lease, raw)
	if err != nil {
		return false, fmt.Errorf("renew chore %s: %w", k, err)
	}
	return tag.RowsAffected() > 0, nil
}

// OldLogs returns logs of attempts of the organisation that ended from one time to before the other, the oldest first.
func (s *Store) OldLogs(ctx context.Context, org string, from, before time.Time, limit int) ([]chore.Log, error) {
	rows, err := s.pool.Query(ctx, `SELECT a.uid, a.log_key, a.ended_at FROM attempt a JOIN execution e ON e.id = a.execution_id
		WHERE a.log_key <> '' AND a.ended_at >= $2 AND a.ended_at < $3 AND e.org_id = $1 ORDER BY a.ended_at LIMIT $4`, org, from, before, limit)
	if err != nil {
		return nil, fmt.Errorf("find old logs: %w", err)
	}
	logs, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (l chore.Log, err error) { return l, row.Scan(&l.UID, &l.Key, &l.Ended) })
	if err != nil {
		return nil, fmt.Errorf("find old logs: %w", err)
	}
	return logs, nil
}

// ForgetLogs notes that the logs of attempts are gone.
func (s *Store) ForgetLogs(ctx context.Context, uids []uuid.UUID) error {
	if _, err := s.pool.Exec(ctx, `UPDATE attempt SET log_key = '' WHERE uid = ANY($1::uuid[])`, uids); err != nil {
		return fmt.Errorf("forget %d logs: %w", len(uids), err)
	}
	return nil
}
