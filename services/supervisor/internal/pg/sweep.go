package pg

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/libs/outbox"
	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// The statements of the sweeps are written by hand, several in one round trip.

// NextTimer returns when the earliest timer is due, nil when there is none, and the database's clock.
func (s *Store) NextTimer(ctx context.Context) (at *time.Time, now time.Time, err error) {
	err = s.pool.QueryRow(ctx, `SELECT least(
		(SELECT min(deadline_at) FROM execution WHERE ended_at IS NULL AND deadline_at IS NOT NULL),
		(SELECT min(wake_at) FROM task WHERE state = 'WAITING' AND wake_at IS NOT NULL),
		(SELECT min(overdue_at) FROM task WHERE state IN ('READY', 'WAITING') AND overdue_at IS NOT NULL)), clock_timestamp()`).Scan(&at, &now)
	if err != nil {
		return nil, now, fmt.Errorf("find the next timer: %w", err)
	}
	return at, now, nil
}

// Due returns what timers demand now, at most limit of each kind.
func (s *Store) Due(ctx context.Context, limit int) ([]execution.Event, error) {
	var events []execution.Event
	collect := func(kind execution.Kind) func(pgx.Rows) error {
		return func(rows pgx.Rows) error {
			for rows.Next() {
				e := execution.Event{Kind: kind}
				if err := rows.Scan(&e.Execution, &e.Idx); err != nil {
					return err
				}
				events = append(events, e)
			}
			return rows.Err()
		}
	}
	b := &pgx.Batch{}
	b.Queue(`SELECT id, 0 FROM execution WHERE ended_at IS NULL AND deadline_at <= now() ORDER BY deadline_at LIMIT $1`, limit).
		Query(collect(execution.Deadline))
	b.Queue(`SELECT execution_id, idx FROM task WHERE state = 'WAITING' AND wake_at <= now() ORDER BY wake_at LIMIT $1`, limit).
		Query(collect(execution.TaskWakes))
	b.Queue(`SELECT execution_id, idx FROM task WHERE state IN ('READY', 'WAITING') AND overdue_at <= now() ORDER BY overdue_at LIMIT $1`, limit).
		Query(collect(execution.TaskOverdue))
	if err := s.pool.SendBatch(ctx, b).Close(); err != nil {
		return nil, fmt.Errorf("find due timers: %w", err)
	}
	return events, nil
}

// Doubtful returns the live attempts that something may have to be done about, and how many ants have live ones. They
// are few: live attempts are bounded by slots. stop is the grace of a stop beyond the task's own, ring the time after
// which an unclaimed attempt is rung for again.
func (s *Store) Doubtful(ctx context.Context, stop, ring time.Duration, limit int) (execution.Doubts, error) {
	var d execution.Doubts
	b := &pgx.Batch{}
	b.Queue(`SELECT `+attemptColumns+`, rung, stop_requested_at + coalesce((SELECT (t.spec ->> 'grace')::bigint / 1000 * interval '1 microsecond'
			FROM task t WHERE t.execution_id = a.execution_id AND t.idx = a.task_idx AND a.stop_requested_at IS NOT NULL), '0') + $1::interval
		FROM attempt a WHERE state IN ('DISPATCHED', 'RUNNING') AND (lease_until < now() OR timeout_at < now() OR stop_requested_at < now() - $1::interval
			OR state = 'DISPATCHED' AND dispatched_at < now() - $2::interval * (rung + 1)) ORDER BY uid LIMIT $3`, stop, ring, limit).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var x execution.Doubt
			a := &x.Attempt
			err := rows.Scan(&a.UID, &a.Execution, &a.Idx, &a.Number, &a.State, &a.Ant, &a.Session, &a.Slots, &a.LeaseUntil, &a.Missed, &a.DispatchedAt,
				&a.TimeoutAt, &a.StopRequested, &a.Digest, &x.Rung, &x.StopBy)
			if err != nil {
				return err
			}
			d.Attempts = append(d.Attempts, x)
		}
		return rows.Err()
	})
	b.Queue(`SELECT count(DISTINCT ant_id), clock_timestamp() FROM attempt WHERE state IN ('DISPATCHED', 'RUNNING')`).QueryRow(func(row pgx.Row) error {
		return row.Scan(&d.Ants, &d.Now)
	})
	if err := s.pool.SendBatch(ctx, b).Close(); err != nil {
		return d, fmt.Errorf("find doubtful attempts: %w", err)
	}
	return d, nil
}

// Ring rings again for attempts that nobody has claimed. It returns for how many.
func (s *Store) Ring(ctx context.Context, uids []uuid.UUID) (int, error) {
	var c execution.Changes
	var msgs []outbox.Message
	err := s.tx(ctx, func(ctx context.Context, t *pgdb.Pipeline) (err error) {
		c = execution.Changes{}
		t.Queue(`UPDATE attempt SET rung = rung + 1 WHERE uid IN (SELECT uid FROM attempt WHERE uid = ANY($1::uuid[]) AND state = 'DISPATCHED'
			FOR NO KEY UPDATE SKIP LOCKED) RETURNING uid, ant_id, clock_timestamp()`, uids).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				var r execution.Ring
				if err := rows.Scan(&r.UID, &r.Ant, &c.Now); err != nil {
					return err
				}
				c.Rings = append(c.Rings, r)
			}
			return rows.Err()
		})
		if err := t.Flush(ctx); err != nil {
			return err
		}
		if c.Now.IsZero() {
			c.Now = s.Now()
		}
		msgs, err = s.publish(t, &c)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("ring for %d attempts: %w", len(uids), err)
	}
	s.listener.Committed(&c, msgs)
	return len(c.Rings), nil
}

// Unfinished returns runs that should have ended: nothing of them has been open for longer than the age.
func (s *Store) Unfinished(ctx context.Context, age time.Duration, limit int) ([]execution.Event, error) {
	rows, err := s.pool.Query(ctx, `SELECT id FROM execution WHERE ended_at IS NULL AND tasks_open = 0 AND created_at < now() - $1::interval
		ORDER BY created_at LIMIT $2`, age, limit)
	if err != nil {
		return nil, fmt.Errorf("find unfinished runs: %w", err)
	}
	events, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (execution.Event, error) {
		e := execution.Event{Kind: execution.Nudged}
		return e, row.Scan(&e.Execution)
	})
	if err != nil {
		return nil, fmt.Errorf("find unfinished runs: %w", err)
	}
	return events, nil
}

// Backlog counts what waits.
func (s *Store) Backlog(ctx context.Context) (b execution.Backlog, err error) {
	err = s.pool.QueryRow(ctx, `SELECT (SELECT count(*) FROM task WHERE state = 'READY'),
		(SELECT coalesce(extract(epoch FROM now() - min(ready_at)), 0)::float8 FROM task WHERE state = 'READY'),
		(SELECT count(*) FROM attempt WHERE state = 'DISPATCHED'), (SELECT count(*) FROM attempt WHERE state = 'RUNNING'),
		(SELECT count(*) FROM slot_release)`).Scan(&b.Ready, &b.Oldest, &b.Dispatched, &b.Running, &b.Releases)
	if err != nil {
		return b, fmt.Errorf("count the backlog: %w", err)
	}
	return b, nil
}
