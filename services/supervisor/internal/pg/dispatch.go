package pg

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/formicary/formicary/libs/storable"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// windowClasses is how many classes one look steps through; those behind them are the next look's.
const windowClasses = 1000

// Heads returns the READY tasks of a window of classes that are to be placed next, best first, limit in all: per class
// at most limits[class]; the classes without an entry share limit. The window is the classes behind the key after.
func (s *Store) Heads(ctx context.Context, after string, limits map[string]int, limit int) (execution.Window, error) {
	names, most := make([]string, 0, len(limits)), make([]int32, 0, len(limits))
	for class, n := range limits {
		names, most = append(names, class), append(most, int32(min(n, limit)))
	}
	// The recursion steps from class to class in the index: its cost is that of the window, not of the tasks.
	rows, err := s.pool.Query(ctx, `WITH RECURSIVE c (key, n) AS (
		(SELECT t.class, 1 FROM task t WHERE t.state = 'READY' AND t.class > $1 ORDER BY t.class LIMIT 1)
		UNION ALL
		SELECT (SELECT t.class FROM task t WHERE t.state = 'READY' AND t.class > c.key ORDER BY t.class LIMIT 1), c.n + 1
		FROM c WHERE c.key IS NOT NULL AND c.n < $5
	), lim AS (
		SELECT class_key(u.class) AS key, min(u.n) AS n FROM (SELECT unnest($2::text[]) AS class, unnest($3::int[]) AS n) u GROUP BY 1
	), w AS (
		SELECT c.key, c.n AS place, lim.n FROM c LEFT JOIN lim USING (key) WHERE c.key IS NOT NULL
	), win AS (
		SELECT max(w.key) AS last, count(*) AS n, greatest($4 / greatest(count(*) FILTER (WHERE w.n IS NULL), 1), 1) AS share FROM w
	)
	SELECT coalesce(win.last, ''), win.n, h.class, h.execution_id, h.idx, h.method, h.slots, h.priority FROM win LEFT JOIN (
		SELECT x.* FROM win, w CROSS JOIN LATERAL (
			SELECT coalesce(t.class_text, t.class) AS class, t.execution_id, t.idx, t.method, t.slots, t.priority, t.ready_at FROM task t
			WHERE t.state = 'READY' AND t.class = w.key
			ORDER BY t.priority DESC, t.ready_at, t.execution_id, t.idx LIMIT coalesce(w.n, win.share)) x
		ORDER BY x.priority DESC, x.ready_at LIMIT $4) h ON true`, after, names, most, limit, windowClasses)
	if err != nil {
		return execution.Window{}, fmt.Errorf("find ready tasks: %w", err)
	}
	var w execution.Window
	var n int
	var class, method *string
	var id *uuid.UUID
	var idx, slots, priority *int
	_, err = pgx.ForEachRow(rows, []any{&w.Last, &n, &class, &id, &idx, &method, &slots, &priority}, func() error {
		if id != nil {
			w.Heads = append(w.Heads, execution.Candidate{Execution: *id, Idx: *idx, Class: *class, Method: *method, Slots: *slots, Priority: *priority})
		}
		return nil
	})
	if err != nil {
		return execution.Window{}, fmt.Errorf("find ready tasks: %w", err)
	}
	w.End = n < windowClasses
	return w, nil
}

const (
	turnWait  = 300 * time.Millisecond
	turnPoll  = 5 * time.Millisecond
	turnAlone = 5 * time.Second
)

// TakeTurn takes the lock that replicas hold from a look to the dispatch of what was found. It saves reservations for the
// same tasks and nothing depends on it, so who waits longer than TurnWait, because the holder hangs, goes on without,
// and does not wait again for a while. It is a lock of the session: no transaction is open while resource-manager is
// asked.
func (s *Store) TakeTurn(ctx context.Context) (done func(), err error) {
	if time.Now().UnixNano() < s.alone.Load() {
		return func() {}, nil
	}
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("take a turn: %w", err)
	}
	for began := time.Now(); ; {
		var mine bool
		err := conn.QueryRow(ctx, `SELECT pg_try_advisory_lock(hashtextextended(current_schema() || '.dispatch', 0))`).Scan(&mine)
		switch {
		case err != nil:
			s.endTurn(ctx, conn) // it may have been given
			return nil, fmt.Errorf("take a turn: %w", err)
		case mine:
			return func() { s.endTurn(ctx, conn) }, nil
		case time.Since(began) > s.TurnWait:
			conn.Release()
			s.alone.Store(time.Now().Add(turnAlone).UnixNano())
			return func() {}, nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(turnPoll):
		}
	}
}

// endTurn gives the lock back. A connection that may still hold it is closed.
func (s *Store) endTurn(ctx context.Context, conn *pgxpool.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	// Exec would have the server plan it each time.
	if err := conn.QueryRow(ctx, `SELECT pg_advisory_unlock_all()`).Scan(nil); err != nil {
		_ = conn.Conn().Close(ctx) // it is broken already, or closes in the background
	}
	conn.Release()
}

// Overlooked says whether a task of none of the classes has been READY for longer than age. It steps from class to class
// like Heads: over those that are given and one more.
func (s *Store) Overlooked(ctx context.Context, age time.Duration, classes []string) (bool, error) {
	var left bool
	err := s.pool.QueryRow(ctx, `WITH RECURSIVE c (key, n) AS (
		(SELECT t.class, 0 FROM task t WHERE t.state = 'READY' ORDER BY t.class LIMIT 1)
		UNION ALL
		SELECT (SELECT t.class FROM task t WHERE t.state = 'READY' AND t.class > c.key ORDER BY t.class LIMIT 1), c.n + 1
		FROM c WHERE c.key IS NOT NULL AND c.n < cardinality($2::text[])
	)
	SELECT EXISTS (SELECT FROM c CROSS JOIN LATERAL (SELECT coalesce(t.class_text, t.class) AS class, t.ready_at FROM task t WHERE t.state = 'READY' AND t.class = c.key
		ORDER BY t.priority DESC, t.ready_at, t.execution_id, t.idx LIMIT 1) h
		WHERE h.ready_at < now() - $1::interval AND NOT h.class = ANY($2::text[]))`, age, append([]string{}, classes...)).Scan(&left)
	if err != nil {
		return false, fmt.Errorf("find overlooked tasks: %w", err)
	}
	return left, nil
}

// Idle returns those of the classes that have no READY tasks.
func (s *Store) Idle(ctx context.Context, classes []string) ([]string, error) {
	rows, err := s.pool.Query(ctx, `SELECT u.class FROM unnest($1::text[]) u (class) WHERE NOT EXISTS (
		SELECT FROM task t WHERE t.state = 'READY' AND t.class = class_key(u.class) AND coalesce(t.class_text, t.class) = u.class)`, classes)
	if err != nil {
		return nil, fmt.Errorf("find idle classes: %w", err)
	}
	idle, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("find idle classes: %w", err)
	}
	return idle, nil
}

// Waits returns what Explain has stored: at most one row for each class that waits.
func (s *Store) Waits(ctx context.Context) ([]execution.Wait, error) {
	rows, err := s.pool.Query(ctx, `SELECT class, gate, reason FROM class_wait`)
	if err != nil {
		return nil, fmt.Errorf("read why classes wait: %w", err)
	}
	waits, err := pgx.CollectRows(rows, pgx.RowToStructByPos[execution.Wait])
	if err != nil {
		return nil, fmt.Errorf("read why classes wait: %w", err)
	}
	return waits, nil
}

// Settle forgets releases that resource-manager has.
func (s *Store) Settle(ctx context.Context, uids []uuid.UUID) error {
	if len(uids) == 0 {
		return nil
	}
	if _, err := s.pool.Exec(ctx, `DELETE FROM slot_release WHERE attempt_uid = ANY($1::uuid[])`, uids); err != nil {
		return fmt.Errorf("settle %d releases: %w", len(uids), err)
	}
	return nil
}

// Releases returns releases that have been waiting since before the age.
func (s *Store) Releases(ctx context.Context, age time.Duration, limit int) ([]uuid.UUID, error) {
	rows, err := s.pool.Query(ctx, `SELECT attempt_uid FROM slot_release WHERE created_at < now() - $1::interval ORDER BY created_at LIMIT $2`, age, limit)
	if err != nil {
		return nil, fmt.Errorf("find releases: %w", err)
	}
	uids, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return nil, fmt.Errorf("find releases: %w", err)
	}
	return uids, nil
}

// Explain stores why the READY tasks of classes are not placed, and forgets what no longer holds.
func (s *Store) Explain(ctx context.Context, waits []execution.Wait, gone []string) error {
	classes, gates, reasons := make([]string, len(waits)), make([]string, len(waits)), make([]string, len(waits))
	for i, w := range waits {
		classes[i], gates[i], reasons[i] = w.Class, w.Gate, storable.Text(w.Reason)
	}
	b := &pgx.Batch{}
	if len(waits) > 0 {
		b.Queue(`INSERT INTO class_wait (org_id, key, class, gate, reason, updated_at)
			SELECT DISTINCT ON (class_key(u.class)) split_part(u.class, '|', 1), class_key(u.class), u.class, u.gate, u.reason, now()
			FROM (SELECT unnest($1::text[]) AS class, unnest($2::text[]) AS gate, unnest($3::text[]) AS reason) u
			ON CONFLICT (key) DO UPDATE SET class = excluded.class, gate = excluded.gate, reason = excluded.reason, updated_at = excluded.updated_at`, classes, gates, reasons)
	}
	if len(gone) > 0 {
		b.Queue(`DELETE FROM class_wait WHERE key IN (SELECT class_key(u.class) FROM unnest($1::text[]) u (class))`, gone)
	}
	if err := s.pool.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("store why %d classes wait: %w", len(waits), err)
	}
	return nil
}
