package pg

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/libs/audit"
	"github.com/formicary/formicary/services/supervisor/internal/child"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// What a task waits for ends in the transaction that lets the task go on. The statements here look for tasks of which
// that is not true: to help them, and to tell.

// heardOf is the end of the child c that the task t waits for: one that it waits for has ended, or exists while it only
// waits for that.
const heardOf = `c.execution_id = t.execution_id AND c.task_idx = t.idx AND c.round = (t.extra ->> 'round')::int
	AND (c.ended_at IS NOT NULL OR NOT c.wait AND c.request_id IS NOT NULL)`

// joinedAll says that the task t awaits no child that is open.
const joinedAll = `NOT EXISTS (SELECT FROM json_array_elements_text(t.spec -> 'await_forked_tasks') AS n (name)
	JOIN task f ON f.execution_id = t.execution_id AND f.name = n.name AND f.group_idx IS NULL
	JOIN child c ON c.execution_id = f.execution_id AND c.task_idx BETWEEN coalesce((f.items ->> 'first')::int, f.idx)
		AND coalesce((f.items ->> 'first')::int + (f.items ->> 'total')::int - 1, f.idx)
	WHERE c.ended_at IS NULL AND c.kind = 'job' AND ` + newest + `)`

// childHeard and awaitHeard are the invariants. A task may wait for a moment after the audit's snapshot at most.
var (
	childHeard = audit.Check{Name: "child_heard", SQL: `SELECT 'task ' || t.execution_id || ' ' || t.idx || ' waits for a child that is ' || c.state || ' since ' || greatest(c.heard_at, c.ended_at)
		FROM task t JOIN child c ON ` + heardOf + `
		WHERE t.state = 'WAITING' AND t.wait_gate = 'child' AND t.method <> 'AWAIT_FORKED_JOB' AND greatest(c.heard_at, c.ended_at) < now() - interval '60 seconds' LIMIT 20`}
	awaitHeard = audit.Check{Name: "await_heard", SQL: `SELECT 'task ' || t.execution_id || ' ' || t.idx || ' awaits children that have all ended' FROM task t
		WHERE t.state = 'WAITING' AND t.wait_gate = 'child' AND t.method = 'AWAIT_FORKED_JOB' AND t.started_at < now() - interval '60 seconds' AND ` + joinedAll + ` LIMIT 20`}
)

// unheard looks through the waiting tasks after a place.
const unheard = `WITH t AS (SELECT execution_id, idx, method, extra, spec FROM task WHERE state = 'WAITING' AND wait_gate = 'child'
		AND (execution_id, idx) > ($1, $2) ORDER BY execution_id, idx LIMIT $3) `

// Unheard returns, as the events that were lost, what the tasks that wait for children have not heard of: of as many
// waiting tasks as limit says, the ones after a place. It returns the place to go on from, the zero one at the end.
func (s *Store) Unheard(ctx context.Context, after child.Place, limit int) ([]execution.Event, child.Place, error) {
	var events []execution.Event
	var last child.Place
	found := 0
	b := &pgx.Batch{}
	b.Queue(unheard+`SELECT count(*) OVER (), execution_id, idx FROM t ORDER BY execution_id DESC, idx DESC LIMIT 1`,
		after.Execution, after.Idx, limit).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			if err := rows.Scan(&found, &last.Execution, &last.Idx); err != nil {
				return err
			}
		}
		return rows.Err()
	})
	b.Queue(unheard+`SELECT t.execution_id, t.idx, c.round, c.state, c.request_id, c.outcome, c.error_code, c.message, c.exit_code, c.outputs
		FROM t JOIN child c ON `+heardOf+` WHERE t.method <> 'AWAIT_FORKED_JOB'`, after.Execution, after.Idx, limit).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			e, err := scanUnheard(rows)
			if err != nil {
				return err
			}
			events = append(events, e)
		}
		return rows.Err()
	})
	b.Queue(unheard+`SELECT DISTINCT t.execution_id FROM t WHERE t.method = 'AWAIT_FORKED_JOB' AND `+joinedAll,
		after.Execution, after.Idx, limit).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			e := execution.Event{Kind: execution.Rejoined}
			if err := rows.Scan(&e.Execution); err != nil {
				return err
			}
			events = append(events, e)
		}
		return rows.Err()
	})
	if err := s.pool.SendBatch(ctx, b).Close(); err != nil {
		return nil, after, fmt.Errorf("find tasks that have not heard of their children: %w", err)
	}
	if found < limit {
		last = child.Place{}
	}
	return events, last, nil
}

// scanUnheard makes the event again whose end the row is.
func scanUnheard(rows pgx.Rows) (execution.Event, error) {
	var e execution.Event
	var state string
	var request *uuid.UUID
	var outputs []byte
	c := &e.Child
	if err := rows.Scan(&e.Execution, &e.Idx, &e.Round, &state, &request, &c.State, &c.ErrorCode, &c.Message, &c.ExitCode, &outputs); err != nil {
		return e, fmt.Errorf("read child: %w", err)
	}
	if request != nil {
		c.Request = *request
	}
	switch state {
	case childEnded:
		e.Kind = execution.ChildEnded
		if json.Unmarshal(outputs, &c.Outputs) != nil {
			c.Outputs = nil // none, or unreadable ones: the end counts
		}
		if c.State == "" {
			c.State = string(engine.JobCancelled)
		}
	case childRefused:
		e.Kind = execution.ChildRefused
	default:
		e.Kind = execution.ChildSubmitted
	}
	return e, nil
}
