package pg

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/libs/outbox"
	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// ErrLate says that the slots are no longer held for sure: the reservation's deadline has passed.
var ErrLate = errors.New("the reservation has run out")

// claimTime is what an attempt gets to be claimed.
const claimTime = 30 * time.Second

// Heads returns the READY tasks that are to be placed next: per class at most limits[class], or limit for classes
// without an entry, best first, limit in all. classes are all that have READY tasks, also those with a limit of 0.
func (s *Store) Heads(ctx context.Context, limits map[string]int, limit int) (heads []execution.Candidate, classes []string, err error) {
	names, most := make([]string, 0, len(limits)), make([]int32, 0, len(limits))
	for class, n := range limits {
		names, most = append(names, class), append(most, int32(min(n, limit)))
	}
	// The recursion steps from class to class in the index: its cost is that of the classes, not of the tasks.
	rows, err := s.pool.Query(ctx, `WITH RECURSIVE c (class) AS (
		(SELECT class FROM task WHERE state = 'READY' ORDER BY class LIMIT 1)
		UNION ALL
		SELECT (SELECT t.class FROM task t WHERE t.state = 'READY' AND t.class > c.class ORDER BY t.class LIMIT 1) FROM c WHERE c.class IS NOT NULL
	), lim AS (SELECT unnest($1::text[]) AS class, unnest($2::int[]) AS n)
	SELECT c.class, h.execution_id, h.idx, h.method, h.slots FROM c LEFT JOIN lim USING (class) LEFT JOIN LATERAL (
		SELECT execution_id, idx, method, slots, priority, ready_at FROM task
		WHERE state = 'READY' AND task.class = c.class ORDER BY priority DESC, ready_at, execution_id, idx LIMIT coalesce(lim.n, $3)) h ON true
	WHERE c.class IS NOT NULL ORDER BY h.priority DESC NULLS LAST, h.ready_at LIMIT $3 + 1000`, names, most, limit)
	if err != nil {
		return nil, nil, fmt.Errorf("find ready tasks: %w", err)
	}
	defer rows.Close()
	seen := map[string]bool{}
	for rows.Next() {
		var class string
		var id *uuid.UUID
		var idx, slots *int
		var method *string
		if err := rows.Scan(&class, &id, &idx, &method, &slots); err != nil {
			return nil, nil, fmt.Errorf("find ready tasks: %w", err)
		}
		if !seen[class] {
			seen[class] = true
			classes = append(classes, class)
		}
		if id != nil && len(heads) < limit {
			heads = append(heads, execution.Candidate{Execution: *id, Idx: *idx, Class: class, Method: *method, Slots: *slots})
		}
	}
	if err := rows.Err(); err != nil {
		return nil, nil, fmt.Errorf("find ready tasks: %w", err)
	}
	return heads, classes, nil
}

// Dispatch makes attempts for tasks that are still READY, in one transaction before the deadline. The slots of the
// others are given back. settled are releases that resource-manager has.
func (s *Store) Dispatch(ctx context.Context, placed []execution.Placed, deadline time.Time, settled []uuid.UUID) error {
	var d *dispatch
	var msgs []outbox.Message
	err := s.tx(ctx, func(ctx context.Context, t *pgdb.Pipeline) (err error) {
		d = &dispatch{runs: map[uuid.UUID]*run{}}
		if err := d.load(ctx, t, placed); err != nil {
			return err
		}
		if len(placed) > 0 && !d.changes.Now.Before(deadline) {
			return ErrLate
		}
		if err := d.save(t, placed); err != nil {
			return err
		}
		queueSettled(t, settled)
		msgs, err = s.publish(t, &d.changes)
		return err
	})
	if err != nil {
		s.returnAfter(ctx, err, placed)
		return fmt.Errorf("dispatch %d attempts: %w", len(placed), err)
	}
	s.listener.Committed(&d.changes, msgs)
	return nil
}

type dispatch struct {
	runs    map[uuid.UUID]*run
	order   []*run
	bad     faults
	changes execution.Changes
}

func (d *dispatch) load(ctx context.Context, t *pgdb.Pipeline, placed []execution.Placed) error {
	ids, idx := make([]uuid.UUID, len(placed)), make([]int32, len(placed))
	for i, p := range placed {
		ids[i], idx[i] = p.Execution, int32(p.Idx)
	}
	t.Queue(`SELECT `+runColumns+` FROM execution WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE`, ids).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			r, j, err := scanRun(rows, &d.bad)
			if err != nil {
				return err
			}
			x := &run{Run: r, state: &engine.State{Job: j, Tasks: map[int]*engine.Task{}}}
			d.runs[r.ID] = x
			d.order = append(d.order, x)
		}
		return rows.Err()
	})
	// Their state is looked at here: a condition on it would tempt the planner to read the index of all that are READY.
	t.Queue(`SELECT `+taskColumns+`, NULL::json FROM (SELECT unnest($1::uuid[]) AS execution_id, unnest($2::int[]) AS idx) u
		JOIN task t USING (execution_id, idx)`, ids, idx).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			id, t, err := scanTask(rows, &d.bad)
			if err != nil {
				return err
			}
			if r := d.runs[id]; r != nil {
				r.state.Load(t)
			}
		}
		return rows.Err()
	})
	t.Queue(`SELECT clock_timestamp()`).QueryRow(func(row pgx.Row) error { return row.Scan(&d.changes.Now) })
	if err := t.Flush(ctx); err != nil {
		return fmt.Errorf("load ready tasks: %w", err)
	}
	return nil
}

func (d *dispatch) save(t *pgdb.Pipeline, placed []execution.Placed) error {
	now := d.changes.Now
	var made []newAttempt
	var refused []execution.Placed
	for _, p := range placed {
		r := d.runs[p.Execution]
		var task *engine.Task
		if r != nil {
			task = r.state.Tasks[p.Idx]
		}
		if task == nil || task.State != engine.TaskReady || r.state.Job.State.Terminal() {
			refused = append(refused, p)
			continue
		}
		r.state.Dispatched([]int{p.Idx}, now)
		made = append(made, newAttempt{p, task.Attempts})
		d.changes.Rings = append(d.changes.Rings, execution.Ring{UID: p.UID, Ant: p.Ant})
		d.changes.Tasks = append(d.changes.Tasks, taskMoved(r.Run, task, p.Ant))
	}
	var jobs jobRows
	var tasks taskRows
	for _, r := range d.order {
		if !r.state.JobChanged {
			continue
		}
		if err := jobs.add(r.ID, &r.state.Job, r.state.PolicyChanged); err != nil {
			return err
		}
		if r.state.JobMoved {
			d.changes.Jobs = append(d.changes.Jobs, execution.Moved{Run: r.Run, Job: r.state.Job})
		}
		for _, idx := range sorted(r.state.Tasks) {
			if task := r.state.Tasks[idx]; task.Changed {
				if err := tasks.add(r.ID, task); err != nil {
					return err
				}
			}
		}
	}
	if len(made) > 0 {
		t.Queue(updateTasks, tasks.args()...)
		t.Queue(updateJobs, jobs.args()...)
		queueAttempts(t, made, now)
	}
	d.bad.queue(t)
	returnSlots(t, refused, &d.changes)
	return nil
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
		classes[i], gates[i], reasons[i] = w.Class, w.Gate, text(w.Reason)
	}
	b := &pgx.Batch{}
	if len(waits) > 0 {
		b.Queue(`INSERT INTO class_wait (class, gate, reason, updated_at) SELECT unnest($1::text[]), unnest($2::text[]), unnest($3::text[]), now()
			ON CONFLICT (class) DO UPDATE SET gate = excluded.gate, reason = excluded.reason, updated_at = excluded.updated_at`, classes, gates, reasons)
	}
	if len(gone) > 0 {
		b.Queue(`DELETE FROM class_wait WHERE class = ANY($1::text[])`, gone)
	}
	if err := s.pool.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("store why %d classes wait: %w", len(waits), err)
	}
	return nil
}
