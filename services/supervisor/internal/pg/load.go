package pg

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/step"
)

// Load reads what is needed of locked runs, in one round trip.
func (x *tx) Load(ctx context.Context, n *step.Needs) (*step.Loaded, error) {
	l := &step.Loaded{}
	r := reader{l, &x.bad}
	x.queueTasks(n, r)
	x.queueOpen(n, r)
	if len(n.Results) > 0 {
		x.queueResults(n.Results, r)
	}
	x.queuePast(n, r)
	if len(n.Kept) > 0 {
		x.queueKept(n.Kept, l)
	}
	if len(n.Children) > 0 {
		x.queueAwaited(n.Children, r)
	}
	if n.Approval != nil {
		x.queueApproval(*n.Approval, l)
	}
	if err := x.t.Flush(ctx); err != nil {
		return nil, fmt.Errorf("load more: %w", err)
	}
	return l, nil
}

func (x *tx) queueTasks(n *step.Needs, r reader) {
	if len(n.Out) > 0 {
		const from = `WITH src AS (SELECT unnest($1::uuid[]) AS execution_id, unnest($2::int[]) AS idx)`
		ids, idx := columnsOf(n.Out)
		x.t.Queue(from+` SELECT e.execution_id, e.from_idx, e.to_idx, e.kind::text FROM src JOIN edge e ON e.execution_id = src.execution_id
			AND e.from_idx = src.idx ORDER BY 1, 2, 3, 4`, ids, idx).Query(r.edges)
		x.t.Queue(from+`, wanted AS (SELECT DISTINCT e.execution_id, e.to_idx AS idx FROM src JOIN edge e ON e.execution_id = src.execution_id
			AND e.from_idx = src.idx) SELECT `+readTask+`, t.spec FROM wanted JOIN task t USING (execution_id, idx)`, ids, idx).Query(r.tasks)
	}
	if len(n.Tasks) > 0 {
		ids, idx := columnsOf(n.Tasks)
		x.t.Queue(`SELECT `+readTask+`, t.spec FROM (SELECT unnest($1::uuid[]) AS execution_id, unnest($2::int[]) AS idx) u
			JOIN task t USING (execution_id, idx)`, ids, idx).Query(r.tasks)
	}
	if len(n.Trailing) > 0 {
		x.t.Queue(`SELECT `+readTask+`, t.spec FROM task t WHERE t.execution_id = ANY($1::uuid[]) AND t.trails AND t.state = 'BLOCKED'`,
			n.Trailing).Query(r.tasks)
	}
}

// itemsOf finds the items of groups: a range of the primary key. It is used after WITH.
const itemsOf = `item AS (SELECT t.execution_id, (t.items ->> 'first')::int AS first, (t.items ->> 'first')::int + (t.items ->> 'total')::int - 1 AS last, t.idx AS group_idx
	FROM (SELECT unnest($1::uuid[]) AS execution_id, unnest($2::int[]) AS idx) u JOIN task t USING (execution_id, idx) WHERE t.items IS NOT NULL)`

// queueOpen reads what has not ended, of runs and of groups, with the attempts that may be stopped.
func (x *tx) queueOpen(n *step.Needs, r reader) {
	if len(n.Open) > 0 {
		x.t.Queue(`SELECT `+attemptColumns+` FROM attempt WHERE execution_id = ANY($1::uuid[]) AND state IN ('DISPATCHED', 'RUNNING')
			ORDER BY uid FOR NO KEY UPDATE`, n.Open).Query(r.attempts)
		x.t.Queue(`SELECT `+readTask+`, t.spec FROM task t WHERE t.execution_id = ANY($1::uuid[]) AND t.ended_at IS NULL`, n.Open).Query(r.tasks)
	}
	if len(n.Items) > 0 {
		ids, idx := columnsOf(n.Items)
		x.t.Queue(`WITH `+itemsOf+` SELECT `+attemptColumns+` FROM attempt WHERE uid IN (SELECT a.uid FROM item
			JOIN attempt a ON a.execution_id = item.execution_id AND a.task_idx BETWEEN item.first AND item.last
			WHERE a.state IN ('DISPATCHED', 'RUNNING')) ORDER BY uid FOR NO KEY UPDATE`, ids, idx).Query(r.attempts)
		x.t.Queue(`WITH `+itemsOf+` SELECT `+readTask+`, NULL::json FROM item
			JOIN task t ON t.execution_id = item.execution_id AND t.idx BETWEEN item.first AND item.last WHERE t.ended_at IS NULL`,
			ids, idx).Query(r.tasks)
	}
}

// maxResults bounds the outputs and messages of items that become part of the results of their group, in bytes: every
// later task reads them. Items beyond it keep their state there.
const maxResults = 4 << 20

// queueResults reads how the items of groups ended.
func (x *tx) queueResults(groups []step.Task, r reader) {
	ids, idx := columnsOf(groups)
	size := 0
	x.t.Queue(`WITH `+itemsOf+` SELECT t.execution_id, item.group_idx, t.idx, t.item, t.state, t.exit_code,
			CASE WHEN t.state = 'FAILED' THEN t.error_code ELSE '' END, CASE WHEN t.state = 'FAILED' THEN t.message ELSE '' END,
			t.state = 'FAILED' AND t.failure_class = 'timeout', coalesce((t.extra ->> 'may_fail')::bool, false), t.outputs
		FROM item JOIN task t ON t.execution_id = item.execution_id AND t.idx BETWEEN item.first AND item.last ORDER BY t.execution_id, t.idx`,
		ids, idx).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var i step.LoadedResult
			var idx int
			var outputs []byte
			if err := rows.Scan(&i.Group.Execution, &i.Group.Idx, &idx, &i.Index, &i.Status, &i.ExitCode, &i.ErrorCode, &i.ErrorMessage, &i.TimedOut, &i.AllowFailure, &outputs); err != nil {
				return fmt.Errorf("read item: %w", err)
			}
			if size += len(outputs) + len(i.ErrorMessage); size <= maxResults {
				decodeInto(r.bad, outputs, &i.Outputs, "outputs of task", i.Group.Execution, idx)
			} else {
				i.ErrorMessage = ""
			}
			r.Results = append(r.Results, i)
		}
		return rows.Err()
	})
}

// reader takes what statements answer.
type reader struct {
	*step.Loaded
	bad *faults
}

func (r reader) runs(rows pgx.Rows) error {
	for rows.Next() {
		run, job, err := scanRun(rows, r.bad)
		if err != nil {
			return err
		}
		r.Runs = append(r.Runs, step.LoadedRun{Run: run, Job: job})
	}
	return rows.Err()
}

func (r reader) attempts(rows pgx.Rows) error {
	for rows.Next() {
		a, err := scanAttempt(rows)
		if err != nil {
			return err
		}
		r.Attempts = append(r.Attempts, a)
	}
	return rows.Err()
}

func (r reader) edges(rows pgx.Rows) error {
	for rows.Next() {
		var e step.LoadedEdge
		var kind string
		if err := rows.Scan(&e.Execution, &e.From, &e.To, &kind); err != nil {
			return fmt.Errorf("read edge: %w", err)
		}
		e.Control = kind == "c"
		r.Edges = append(r.Edges, e)
	}
	return rows.Err()
}

func (r reader) tasks(rows pgx.Rows) error {
	for rows.Next() {
		id, t, err := scanTask(rows, r.bad)
		if err != nil {
			return err
		}
		r.Tasks = append(r.Tasks, step.LoadedTask{Execution: id, Task: t})
	}
	return rows.Err()
}

// newest says that no other round of the same task's child c came after it.
const newest = `NOT EXISTS (SELECT FROM child n WHERE n.execution_id = c.execution_id AND n.task_idx = c.task_idx AND n.round > c.round)`

// awaited finds, for the tasks awaits that name others, where the children of those are, and counts the open ones: a
// range of indexes, because an item of a fan-out counts for its group. It is used before SELECT.
const awaited = `WITH forked AS (SELECT u.*, f.extra, f.items IS NOT NULL AS grouped, coalesce((f.items ->> 'first')::int, f.idx) AS first,
		CASE WHEN f.items IS NULL THEN f.idx ELSE (f.items ->> 'first')::int + (f.items ->> 'total')::int - 1 END AS last
		FROM unnest($1::uuid[], $2::int[], $3::text[]) WITH ORDINALITY AS u (execution_id, awaits, name, ord)
		JOIN task f ON f.execution_id = u.execution_id AND f.name = u.name AND f.group_idx IS NULL),
	open AS (SELECT f.execution_id, f.awaits, count(*)::int AS n FROM forked f
		JOIN child c ON c.execution_id = f.execution_id AND c.task_idx BETWEEN f.first AND f.last
		WHERE c.ended_at IS NULL AND c.kind = 'job' AND ` + newest + ` GROUP BY 1, 2) `

// queueAwaited reads the newest children of the tasks that others await. While one is open nothing else counts, so that
// of thousands the ended ones are read once: with the last one.
func (x *tx) queueAwaited(all []step.Awaited, r reader) {
	var ids []uuid.UUID
	var idx []int32
	var names []string
	for _, a := range all {
		for _, name := range a.Names {
			ids, idx, names = append(ids, a.Execution), append(idx, int32(a.Idx)), append(names, name)
		}
	}
	x.t.Queue(awaited+`SELECT execution_id, awaits, n FROM open`, ids, idx, names).Query(func(rows pgx.Rows) error {
		r.Open = map[step.Task]int{}
		var t step.Task
		var n int
		_, err := pgx.ForEachRow(rows, []any{&t.Execution, &t.Idx, &n}, func() error {
			r.Open[t] = n
			return nil
		})
		return err
	})
	x.t.Queue(awaited+`SELECT f.execution_id, f.awaits, f.name, f.grouped, CASE WHEN c.state = 'REFUSED' THEN 'refused' ELSE c.outcome END, c.message,
			CASE WHEN c.state = 'REFUSED' THEN '' ELSE c.error_code END, c.exit_code,
			CASE WHEN NOT f.grouped THEN c.outputs END, f.extra, c.task_idx
		FROM forked f JOIN child c ON c.execution_id = f.execution_id AND c.task_idx BETWEEN f.first AND f.last
		WHERE c.ended_at IS NOT NULL AND c.kind = 'job' AND `+newest+`
			AND NOT EXISTS (SELECT FROM open o WHERE o.execution_id = f.execution_id AND o.awaits = f.awaits)
		ORDER BY f.ord, c.task_idx`, ids, idx, names).Query(r.endedChildren)
}

func (r reader) endedChildren(rows pgx.Rows) error {
	for rows.Next() {
		var c step.EndedChild
		var idx int
		var outputs, extra []byte
		if err := rows.Scan(&c.Awaits.Execution, &c.Awaits.Idx, &c.Name, &c.Item, &c.Outcome, &c.Message, &c.Code, &c.Exit, &outputs, &extra, &idx); err != nil {
			return fmt.Errorf("read child: %w", err)
		}
		var e engine.Extra
		decodeInto(r.bad, outputs, &c.Outputs, "outputs of child", c.Awaits.Execution, idx)
		decodeInto(r.bad, extra, &e, "extra of task", c.Awaits.Execution, idx)
		c.Fork = e.Fork
		r.Ended = append(r.Ended, c)
	}
	return rows.Err()
}
