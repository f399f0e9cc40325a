package pg

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/formicary/formicary/libs/outbox"
	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
	"github.com/formicary/formicary/services/supervisor/internal/step"
)

// Transact runs f in a transaction and commits it together with what f has saved. It may be repeated.
func (s *Store) Transact(ctx context.Context, f func(context.Context, step.Tx) error) error {
	var x *tx
	err := s.tx(ctx, func(ctx context.Context, t *pgdb.Pipeline) error {
		x = &tx{store: s, t: t}
		return f(ctx, x)
	})
	if err != nil {
		return err
	}
	if x.changes != nil {
		s.listener.Committed(x.changes, x.messages)
	}
	return nil
}

// Undone says that nothing of the transaction that ended with err was stored, for certain: an error that ended the
// connection may have come after the commit.
func (*Store) Undone(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.SeverityUnlocalized == "ERROR"
}

// tx is a step.Tx.
type tx struct {
	store    *Store
	t        *pgdb.Pipeline
	bad      faults
	changes  *execution.Changes
	messages []outbox.Message
}

// tasks are those that a question names, by column.
func columnsOf(tasks []step.Task) (ids []uuid.UUID, idx []int32) {
	for _, t := range tasks {
		ids, idx = append(ids, t.Execution), append(idx, int32(t.Idx))
	}
	return ids, idx
}

const sources = `WITH src AS (SELECT execution_id, task_idx AS idx FROM attempt WHERE uid = ANY($1::uuid[])
	UNION SELECT unnest($2::uuid[]), unnest($3::int[]))`

// Lock takes the locks and reads what the events concern directly: in one round trip.
func (x *tx) Lock(ctx context.Context, s *step.Subjects) (*step.Loaded, error) {
	l := &step.Loaded{}
	r := reader{l, &x.bad}
	ids, idx := columnsOf(s.Tasks)
	lock := "FOR NO KEY UPDATE"
	if s.Idle { // attempts too: those of runs that somebody else holds would be locked in the wrong order
		lock += " SKIP LOCKED"
	}
	x.t.Queue(`SELECT `+readRun+` FROM execution WHERE id = ANY(ARRAY(
		SELECT execution_id FROM attempt WHERE uid = ANY($1::uuid[]) UNION SELECT unnest($2::uuid[]))) ORDER BY id `+lock, s.Attempts, s.Runs).Query(r.runs)
	x.t.Queue(`SELECT `+attemptColumns+` FROM attempt WHERE uid = ANY($1::uuid[]) ORDER BY uid `+lock, s.Attempts).Query(r.attempts)
	x.t.Queue(sources+` SELECT e.execution_id, e.from_idx, e.to_idx, e.kind::text FROM src JOIN edge e ON e.execution_id = src.execution_id AND e.from_idx = src.idx
		ORDER BY 1, 2, 3, 4`, s.Attempts, ids, idx).Query(r.edges)
	// Of an item its group, too: its spec and its counters are there.
	x.t.Queue(sources+`, wanted AS (SELECT execution_id, idx FROM src UNION
		SELECT e.execution_id, e.to_idx FROM src JOIN edge e ON e.execution_id = src.execution_id AND e.from_idx = src.idx UNION
		SELECT i.execution_id, i.group_idx FROM src JOIN task i USING (execution_id, idx) WHERE i.group_idx IS NOT NULL)
		SELECT `+readTask+`, t.spec FROM wanted JOIN task t USING (execution_id, idx)`, s.Attempts, ids, idx).Query(r.tasks)
	// The last ordinary task of a run starts the trailing ones: they are read when that may happen in this batch.
	x.t.Queue(sources+` SELECT `+readTask+`, t.spec FROM task t JOIN execution x ON x.id = t.execution_id
		WHERE t.execution_id = ANY(ARRAY(SELECT execution_id FROM src)) AND t.trails AND t.state = 'BLOCKED' AND x.normal_open <= $4`,
		s.Attempts, ids, idx, s.Ends).Query(r.tasks)
	if len(s.Awaiting) > 0 {
		x.t.Queue(`SELECT `+readTask+`, t.spec FROM task t WHERE t.execution_id = ANY($1::uuid[])
			AND t.state = 'WAITING' AND t.wait_gate = 'child' AND t.method = 'AWAIT_FORKED_JOB'`, s.Awaiting).Query(r.tasks)
	}
	x.queueClock(&l.Now)
	if err := x.t.Flush(ctx); err != nil {
		return nil, fmt.Errorf("load runs: %w", err)
	}
	return l, nil
}

// LockReady locks the runs of tasks that are to be dispatched and reads both.
func (x *tx) LockReady(ctx context.Context, tasks []step.Task) (*step.Loaded, error) {
	l := &step.Loaded{}
	r := reader{l, &x.bad}
	ids, idx := columnsOf(tasks)
	x.t.Queue(`SELECT `+readRun+` FROM execution WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE`, ids).Query(r.runs)
	// Their state is looked at later: a condition on it would tempt the planner to read the index of all that are READY.
	x.t.Queue(`SELECT `+readTask+`, NULL::json FROM (SELECT unnest($1::uuid[]) AS execution_id, unnest($2::int[]) AS idx) u
		JOIN task t USING (execution_id, idx)`, ids, idx).Query(r.tasks)
	x.queueClock(&l.Now)
	if err := x.t.Flush(ctx); err != nil {
		return nil, fmt.Errorf("load ready tasks: %w", err)
	}
	return l, nil
}

func (x *tx) queueClock(now *time.Time) {
	x.t.Queue(`SELECT clock_timestamp()`).QueryRow(func(row pgx.Row) error { return row.Scan(now) })
}

// Publish queues the outbox rows of c, and what could not be read for a person.
func (x *tx) Publish(c *execution.Changes) (err error) {
	x.bad.queue(x.t)
	x.changes = c
	x.messages, err = x.store.publish(x.t, c)
	return err
}
