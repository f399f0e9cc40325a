package pg

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// refs name tasks of several runs, by column.
type refs struct {
	ids []uuid.UUID
	idx []int32
}

func (r *refs) add(id uuid.UUID, idx ...int) {
	for _, i := range idx {
		r.ids, r.idx = append(r.ids, id), append(r.idx, int32(i))
	}
}

// needs are what the runs of a step need, put together so that it is loaded in one round trip.
type needs struct {
	out, tasks, items, results refs
	open, trailing             []uuid.UUID
	awaits, decides, keeps     []*run
}

// empty says that only answers are wanted, for which all is there.
func (n *needs) empty() bool {
	return len(n.out.ids)+len(n.tasks.ids)+len(n.items.ids)+len(n.results.ids)+len(n.open)+len(n.trailing)+len(n.decides)+len(n.awaits)+len(n.keeps) == 0
}

func (st *step) needs(runs []*run) needs {
	var n needs
	for _, r := range runs {
		need := r.state.Need()
		n.out.add(r.ID, need.Out...)
		n.tasks.add(r.ID, need.Tasks...)
		n.items.add(r.ID, need.Items...)
		n.results.add(r.ID, need.Results...)
		if need.Open {
			n.open = append(n.open, r.ID)
		} else if need.Trailing {
			n.trailing = append(n.trailing, r.ID)
		}
		if len(need.Decide) > 0 {
			if r.past == nil {
				r.begin(need.Decide)
			}
			if r.context == nil || !r.want.empty() {
				n.decides = append(n.decides, r)
			}
		}
		if len(need.Kept) > 0 {
			n.keeps = append(n.keeps, r)
		}
		if len(r.family.unread(need)) > 0 {
			n.awaits = append(n.awaits, r)
		}
	}
	return n
}

// more loads what the runs need, in one round trip, and answers what they ask.
func (st *step) more(ctx context.Context, runs []*run) error {
	if err := st.answers.know(runs); err != nil {
		return err
	}
	n := st.needs(runs)
	st.queueTasks(&n)
	st.queueOpen(&n)
	if len(n.results.ids) > 0 {
		st.queueResults(&n.results)
	}
	if len(n.decides) > 0 {
		st.queuePast(n.decides)
	}
	if len(n.keeps) > 0 {
		st.queueKept(n.keeps)
	}
	if len(n.awaits) > 0 {
		if err := st.queueFamilies(n.awaits); err != nil {
			return err
		}
	}
	if !n.empty() {
		if err := st.t.Flush(ctx); err != nil {
			return fmt.Errorf("load more of %d runs: %w", len(runs), err)
		}
	}
	if err := st.adopt(ctx); err != nil {
		return err
	}
	for _, r := range runs {
		if err := r.loaded(r.state.Need()); err != nil {
			return err
		}
	}
	if len(n.open)+len(n.items.ids) > 0 {
		for _, a := range st.attempts {
			if r := st.runs[a.Execution]; r != nil && a.Live() {
				r.know(a)
			}
		}
	}
	for _, r := range runs {
		if err := st.answer(r); err != nil {
			return err
		}
	}
	return nil
}

func (st *step) queueTasks(n *needs) {
	if len(n.out.ids) > 0 {
		const from = `WITH src AS (SELECT unnest($1::uuid[]) AS execution_id, unnest($2::int[]) AS idx)`
		st.t.Queue(from+` SELECT e.execution_id, e.from_idx, e.to_idx, e.kind::text FROM src JOIN edge e ON e.execution_id = src.execution_id
			AND e.from_idx = src.idx ORDER BY 1, 2, 3, 4`, n.out.ids, n.out.idx).Query(st.scanEdges)
		st.t.Queue(from+`, wanted AS (SELECT DISTINCT e.execution_id, e.to_idx AS idx FROM src JOIN edge e ON e.execution_id = src.execution_id
			AND e.from_idx = src.idx) SELECT `+taskColumns+`, t.spec FROM wanted JOIN task t USING (execution_id, idx)`, n.out.ids, n.out.idx).Query(st.scanTasks)
	}
	if len(n.tasks.ids) > 0 {
		st.t.Queue(tasksByIndex, n.tasks.ids, n.tasks.idx).Query(st.scanTasks)
	}
	if len(n.trailing) > 0 {
		st.t.Queue(`SELECT `+taskColumns+`, t.spec FROM task t WHERE t.execution_id = ANY($1::uuid[]) AND t.trails AND t.state = 'BLOCKED'`,
			n.trailing).Query(st.scanTasks)
	}
}

const tasksByIndex = `SELECT ` + taskColumns + `, t.spec FROM (SELECT unnest($1::uuid[]) AS execution_id, unnest($2::int[]) AS idx) u
	JOIN task t USING (execution_id, idx)`

// itemsOf finds the items of groups: a range of the primary key. It is used after WITH.
const itemsOf = `item AS (SELECT t.execution_id, (t.items ->> 'first')::int AS first, (t.items ->> 'first')::int + (t.items ->> 'total')::int - 1 AS last, t.idx AS group_idx
	FROM (SELECT unnest($1::uuid[]) AS execution_id, unnest($2::int[]) AS idx) u JOIN task t USING (execution_id, idx) WHERE t.items IS NOT NULL)`

// queueOpen reads what has not ended, of runs and of groups, with the attempts that may be stopped.
func (st *step) queueOpen(n *needs) {
	if len(n.open) > 0 {
		st.t.Queue(`SELECT `+attemptColumns+` FROM attempt WHERE execution_id = ANY($1::uuid[]) AND state IN ('DISPATCHED', 'RUNNING')
			ORDER BY uid FOR NO KEY UPDATE`, n.open).Query(st.scanAttempts)
		st.t.Queue(`SELECT `+taskColumns+`, t.spec FROM task t WHERE t.execution_id = ANY($1::uuid[]) AND t.ended_at IS NULL`, n.open).Query(st.scanTasks)
	}
	if len(n.items.ids) > 0 {
		st.t.Queue(`WITH `+itemsOf+` SELECT `+attemptColumns+` FROM attempt WHERE uid IN (SELECT a.uid FROM item
			JOIN attempt a ON a.execution_id = item.execution_id AND a.task_idx BETWEEN item.first AND item.last
			WHERE a.state IN ('DISPATCHED', 'RUNNING')) ORDER BY uid FOR NO KEY UPDATE`, n.items.ids, n.items.idx).Query(st.scanAttempts)
		st.t.Queue(`WITH `+itemsOf+` SELECT `+taskColumns+`, NULL::json FROM item
			JOIN task t ON t.execution_id = item.execution_id AND t.idx BETWEEN item.first AND item.last WHERE t.ended_at IS NULL`,
			n.items.ids, n.items.idx).Query(st.scanTasks)
	}
}

// loaded tells the run that what it needed is there. What was asked for and does not exist is a fault of its records: to
// ask for it again would hold the run's lock for ever.
func (r *run) loaded(need engine.Need) error {
	for _, i := range need.Tasks {
		if r.state.Tasks[i] == nil {
			return fmt.Errorf("execution %s has no task %d, which one of its tasks counts on", r.ID, i)
		}
	}
	for _, i := range need.Out {
		for _, e := range r.state.Out[i] {
			if r.state.Tasks[e.To] == nil {
				return fmt.Errorf("execution %s has no task %d, to which an edge of task %d leads", r.ID, e.To, i)
			}
		}
	}
	for _, i := range need.Out {
		if _, ok := r.state.Out[i]; !ok {
			r.state.Out[i] = nil
		}
	}
	if need.Trailing || need.Open {
		r.state.TrailingLoaded = true
	}
	r.state.AllOpen = r.state.AllOpen || need.Open
	for _, g := range need.Items {
		if r.state.ItemsLoaded == nil {
			r.state.ItemsLoaded = map[int]bool{}
		}
		r.state.ItemsLoaded[g] = true
	}
	return nil
}

// stray is an item whose group may not be loaded yet.
type stray struct {
	r *run
	t *engine.Task
}

// adopt gives the items that were read the spec of their group.
func (st *step) adopt(ctx context.Context) error {
	var lost []stray
	var missing refs
	for _, x := range st.strays {
		if g := x.r.state.Tasks[x.t.Group]; g != nil {
			x.t.Spec = g.Spec
			continue
		}
		lost = append(lost, x)
		missing.add(x.r.ID, x.t.Group)
	}
	st.strays = nil
	if len(lost) == 0 {
		return nil
	}
	st.t.Queue(tasksByIndex, missing.ids, missing.idx).Query(st.scanTasks)
	if err := st.t.Flush(ctx); err != nil {
		return fmt.Errorf("load groups of %d items: %w", len(lost), err)
	}
	for _, x := range lost {
		if g := x.r.state.Tasks[x.t.Group]; g != nil {
			x.t.Spec = g.Spec
		}
	}
	return nil
}

// loadNextItems reads as many items that groups release next as items of them may end in this batch: they would be
// asked for one after the other.
func (st *step) loadNextItems(ctx context.Context) error {
	type group struct {
		r   *run
		idx int
	}
	ends := map[group]int{}
	for _, r := range st.order {
		for _, i := range r.events {
			if t := r.state.Tasks[st.taskOf(&st.events[i])]; t != nil && t.IsItem() {
				ends[group{r, t.Group}]++
			}
		}
	}
	var next refs
	for g, n := range ends {
		t := g.r.state.Tasks[g.idx]
		if t == nil || t.Items == nil || t.Items.Stopping {
			continue
		}
		for i := t.Items.Next; i < min(t.Items.Next+n, t.Items.Total); i++ {
			next.add(g.r.ID, t.Items.First+i)
		}
	}
	if len(next.ids) == 0 {
		return nil
	}
	st.t.Queue(tasksByIndex, next.ids, next.idx).Query(st.scanTasks)
	if err := st.t.Flush(ctx); err != nil {
		return fmt.Errorf("load %d items: %w", len(next.ids), err)
	}
	return st.adopt(ctx)
}

func (st *step) taskOf(e *execution.Event) int {
	if e.Kind == execution.AttemptEnded {
		if a := st.attempts[e.UID]; a != nil {
			return a.Idx
		}
		return -1
	}
	return e.Idx
}

// maxResults bounds the outputs and messages of items that become part of the results of their group, in bytes: every
// later task reads them. Items beyond it keep their state there.
const maxResults = 4 << 20

// queueResults reads how the items of groups ended.
func (st *step) queueResults(groups *refs) {
	for i, id := range groups.ids {
		r := st.runs[id]
		if r.state.Results == nil {
			r.state.Results = map[int][]plan.ItemResult{}
		}
		r.state.Results[int(groups.idx[i])] = nil
	}
	size := 0
	st.t.Queue(`WITH `+itemsOf+` SELECT t.execution_id, item.group_idx, t.idx, t.item, t.state, t.exit_code, t.error_code, t.message, t.outputs
		FROM item JOIN task t ON t.execution_id = item.execution_id AND t.idx BETWEEN item.first AND item.last ORDER BY t.execution_id, t.idx`,
		groups.ids, groups.idx).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var id uuid.UUID
			var group, idx int
			var x plan.ItemResult
			var outputs []byte
			if err := rows.Scan(&id, &group, &idx, &x.Index, &x.Status, &x.ExitCode, &x.ErrorCode, &x.ErrorMessage, &outputs); err != nil {
				return fmt.Errorf("read item: %w", err)
			}
			if size += len(outputs) + len(x.ErrorMessage); size <= maxResults {
				decodeInto(&st.bad, outputs, &x.Outputs, "outputs of task", id, idx)
			} else {
				x.ErrorMessage = ""
			}
			if r := st.runs[id]; r != nil {
				r.state.Results[group] = append(r.state.Results[group], x)
			}
		}
		return rows.Err()
	})
}
