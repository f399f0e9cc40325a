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

// due are the timers that fire; each kind is read in the order in which they are due.
var due = []struct { //nolint:gochecknoglobals // constant
	kind execution.Kind
	sql  string
}{
	{execution.Deadline, `SELECT deadline_at, id, 0, CASE WHEN started_at IS NULL THEN coalesce((SELECT w.reason
			FROM task t JOIN class_wait w ON w.key = t.class
			WHERE t.execution_id = execution.id AND t.state = 'READY' ORDER BY t.idx LIMIT 1), '') ELSE '' END FROM execution WHERE ended_at IS NULL AND deadline_at <= now()
		AND deadline_at >= $2 AND (deadline_at, id, 0) > ($2, $3::uuid, $4::int) ORDER BY deadline_at, id LIMIT $1`},
	{execution.TaskWakes, `SELECT wake_at, execution_id, idx, '' FROM task WHERE state = 'WAITING' AND wake_at <= now()
		AND wake_at >= $2 AND (wake_at, execution_id, idx) > ($2, $3::uuid, $4::int) ORDER BY wake_at, execution_id, idx LIMIT $1`},
	{execution.TaskOverdue, `SELECT overdue_at, execution_id, idx, CASE WHEN state = 'READY' THEN coalesce((SELECT w.reason FROM class_wait w
			WHERE w.key = task.class), '') ELSE '' END FROM task WHERE state IN ('READY', 'WAITING') AND overdue_at <= now()
		AND overdue_at >= $2 AND (overdue_at, execution_id, idx) > ($2, $3::uuid, $4::int) ORDER BY overdue_at, execution_id, idx LIMIT $1`},
}

// Due returns what timers demand now, at most limit of each kind, and moves marks behind it: what cannot be done now
// hides nothing that comes after it. It returns nothing when marks are behind everything.
func (s *Store) Due(ctx context.Context, marks execution.Marks, limit int) ([]execution.Event, error) {
	var events []execution.Event
	b := &pgx.Batch{}
	for _, d := range due {
		m := marks[d.kind]
		b.Queue(d.sql, limit, m.At, m.Execution, m.Idx).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				e := execution.Event{Kind: d.kind}
				if err := rows.Scan(&m.At, &e.Execution, &e.Idx, &e.Reason); err != nil {
					return err
				}
				m.Execution, m.Idx = e.Execution, e.Idx
				events = append(events, e)
			}
			if marks != nil {
				marks[d.kind] = m
			}
			return rows.Err()
		})
	}
	if err := s.pool.SendBatch(ctx, b).Close(); err != nil {
		return nil, fmt.Errorf("find due timers: %w", err)
	}
	return events, nil
}

// Ring rings again for attempts that nobody has claimed for as long as every, or as long again since they were rung for.
// It returns for how many: whichever of several replicas comes first.
func (s *Store) Ring(ctx context.Context, uids []uuid.UUID, every time.Duration) (int, error) {
	var c execution.Changes
	var msgs []outbox.Message
	err := s.tx(ctx, func(ctx context.Context, t *pgdb.Pipeline) (err error) {
		c = execution.Changes{}
		t.Queue(`UPDATE attempt SET rung = least(floor(extract(epoch FROM now() - dispatched_at) / extract(epoch FROM $2::interval)), 32767)
			WHERE uid IN (SELECT uid FROM attempt WHERE uid = ANY($1::uuid[]) AND state = 'DISPATCHED' AND dispatched_at <= now() - $2::interval * (rung + 1)
			ORDER BY uid FOR NO KEY UPDATE SKIP LOCKED) RETURNING uid, ant_id, clock_timestamp()`, uids, every).Query(func(rows pgx.Rows) error {
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

// Unfinished returns runs that should have ended: nothing of them has been open for longer than the age. marks are moved
// as those of Due.
func (s *Store) Unfinished(ctx context.Context, age time.Duration, marks execution.Marks, limit int) ([]execution.Event, error) {
	m := marks[execution.Nudged]
	rows, err := s.pool.Query(ctx, `SELECT created_at, id FROM execution WHERE ended_at IS NULL AND tasks_open = 0 AND created_at < now() - $1::interval
		AND (created_at, id) > ($3, $4::uuid) ORDER BY created_at, id LIMIT $2`, age, limit, m.At, m.Execution)
	if err != nil {
		return nil, fmt.Errorf("find unfinished runs: %w", err)
	}
	events, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (execution.Event, error) {
		e := execution.Event{Kind: execution.Nudged}
		err := row.Scan(&m.At, &e.Execution)
		m.Execution = e.Execution
		return e, err
	})
	if err != nil {
		return nil, fmt.Errorf("find unfinished runs: %w", err)
	}
	if marks != nil {
		marks[execution.Nudged] = m
	}
	return events, nil
}

const backlogMost = 100_000

// Backlog counts what waits, up to backlogMost of each: a scrape must not cost what the backlog has grown to. The oldest
// is that of those counted.
func (s *Store) Backlog(ctx context.Context) (b execution.Backlog, err error) {
	err = s.pool.QueryRow(ctx, `SELECT r.n, r.oldest, l.dispatched, l.running,
		(SELECT count(*) FROM (SELECT FROM slot_release LIMIT $1) s)
		FROM (SELECT count(*) AS n, coalesce(extract(epoch FROM now() - min(ready_at)), 0)::float8 AS oldest
			FROM (SELECT ready_at FROM task WHERE state = 'READY' LIMIT $1) t) r,
		(SELECT count(*) FILTER (WHERE state = 'DISPATCHED') AS dispatched, count(*) FILTER (WHERE state = 'RUNNING') AS running
			FROM (SELECT state FROM attempt WHERE state IN ('DISPATCHED', 'RUNNING') LIMIT $1) a) l`, backlogMost).Scan(&b.Ready, &b.Oldest, &b.Dispatched, &b.Running, &b.Releases)
	if err != nil {
		return b, fmt.Errorf("count the backlog: %w", err)
	}
	return b, nil
}
