package pg

import (
	"context"
	"encoding/binary"
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

// OldLogs returns logs of attempts of the organisation that ended after a mark and before a time, the oldest first.
func (s *Store) OldLogs(ctx context.Context, org string, after chore.Mark, before time.Time, limit int) ([]chore.Log, error) {
	rows, err := s.pool.Query(ctx, `SELECT uid, log_key, ended_at FROM attempt
		WHERE org_id = $1 AND log_key <> '' AND (ended_at, uid) > ($2, $3) AND ended_at < $4 ORDER BY ended_at, uid LIMIT $5`,
		org, after.At, after.UID, before, limit)
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

// Uploads returns addresses for logs that were given out longer ago than the age, after a mark and the oldest first,
// and what became of each.
func (s *Store) Uploads(ctx context.Context, after chore.Mark, age time.Duration, limit int) ([]chore.Upload, error) {
	rows, err := s.pool.Query(ctx, `SELECT u.attempt_uid, u.key, u.given_at, a.uid IS NOT NULL AND (a.ended_at IS NULL OR a.ended_at > now() - $3::interval),
			coalesce(a.log_key = u.key, false)
		FROM upload u LEFT JOIN attempt a ON a.uid = u.attempt_uid
		WHERE (u.given_at, u.attempt_uid) > ($1, $2) AND u.given_at < now() - $3::interval ORDER BY u.given_at, u.attempt_uid LIMIT $4`,
		after.At, after.UID, age, limit)
	if err != nil {
		return nil, fmt.Errorf("find uploads: %w", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (u chore.Upload, err error) {
		return u, row.Scan(&u.UID, &u.Key, &u.At, &u.Live, &u.Named)
	})
	if err != nil {
		return nil, fmt.Errorf("find uploads: %w", err)
	}
	return all, nil
}

// ForgetUploads deletes the notes of uploads.
func (s *Store) ForgetUploads(ctx context.Context, uids []uuid.UUID) error {
	if _, err := s.pool.Exec(ctx, `DELETE FROM upload WHERE attempt_uid = ANY($1::uuid[])`, uids); err != nil {
		return fmt.Errorf("forget %d uploads: %w", len(uids), err)
	}
	return nil
}

// ForgetOutputs deletes, of as many runs as limit says after one, the outputs by name that nobody asks for any more: the
// run ended longer ago than the age and no parent waits for what it has given. It returns the last run that it looked
// at, the zero one at the end. Runs that began later are not looked at: their ids tell when they were made.
func (s *Store) ForgetOutputs(ctx context.Context, after uuid.UUID, age time.Duration, limit int) (uuid.UUID, error) {
	rows, err := s.pool.Query(ctx, `WITH RECURSIVE run AS (
			(SELECT execution_id FROM output WHERE execution_id > $1 AND execution_id < $3 ORDER BY execution_id LIMIT 1)
			UNION ALL SELECT (SELECT o.execution_id FROM output o WHERE o.execution_id > run.execution_id AND o.execution_id < $3 ORDER BY o.execution_id LIMIT 1)
			FROM run WHERE run.execution_id IS NOT NULL)
		SELECT execution_id FROM run WHERE execution_id IS NOT NULL LIMIT $2`, after, limit, firstOf(s.Now().Add(-age)))
	if err != nil {
		return after, fmt.Errorf("find runs with outputs: %w", err)
	}
	runs, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return after, fmt.Errorf("find runs with outputs: %w", err)
	}
	_, err = s.pool.Exec(ctx, `DELETE FROM output WHERE execution_id = ANY(ARRAY(SELECT u.id FROM unnest($1::uuid[]) u (id) LEFT JOIN execution e ON e.id = u.id
		WHERE e.id IS NULL OR e.ended_at < now() - $2::interval AND NOT EXISTS (SELECT FROM child c WHERE c.request_id = e.request_id AND c.ended_at IS NULL)))`,
		runs, age)
	if err != nil {
		return after, fmt.Errorf("forget outputs of %d runs: %w", len(runs), err)
	}
	if len(runs) < limit {
		return uuid.Nil, nil
	}
	return runs[len(runs)-1], nil
}

// firstOf is the smallest id (UUIDv7) of what is made from a time on.
func firstOf(t time.Time) (id uuid.UUID) {
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(max(t.UnixMilli(), 0))) // #nosec G115 -- not negative
	copy(id[:6], ms[2:])
	return id
}
