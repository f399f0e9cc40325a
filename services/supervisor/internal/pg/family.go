package pg

import (
	"fmt"
	"maps"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// The states of a row of the table child.
const (
	childWanted       = "WANTED"
	childSubmitted    = "SUBMITTED"
	childRefused      = "REFUSED"
	childCancelWanted = "CANCEL_WANTED"
	childCancelling   = "CANCELLING"
	childEnded        = "ENDED"
)

// family is what a step knows of the children of a run.
type family struct {
	stale bool             // a child has ended: what awaits it must hear of it
	tell  []int            // AWAIT_FORKED_JOB tasks that are still to hear of it
	by    map[int]*kindred // by the task that awaits them; those that are missing are not read
}

// kindred are the children that a task awaits, the newest of each task that forks.
type kindred struct {
	open  int
	ended []kin // in the order in which the task names them; only read when none is open
}

type kin struct {
	name    string // of the task that forked it, of an item that of its group
	outcome string
	message string
	code    string
	exit    int
	outputs map[string]string
}

// unread returns the tasks whose children must be read.
func (f *family) unread(need engine.Need) []int {
	var idx []int
	for _, list := range [...][]int{f.tell, need.Children} {
		for _, i := range list {
			if f.by[i] == nil {
				idx = append(idx, i)
			}
		}
	}
	return idx
}

// of says how the children stand that a task awaits.
func (f *family) of(idx int) engine.Children {
	c := engine.Children{Outputs: map[string]string{}}
	all := f.by[idx]
	if all == nil {
		return c
	}
	c.Open = all.open
	for _, k := range all.ended {
		c.Outputs[plan.StatusVar(k.name)] = k.outcome
		if k.outcome == string(engine.JobCompleted) {
			maps.Copy(c.Outputs, k.outputs)
			continue
		}
		c.Failed++
		if c.Message == "" {
			c.Message = fmt.Sprintf("the job of task %s ended as %s %s", k.name, k.outcome, k.message)
			c.ExitCode, c.ErrorCode = k.exit, k.code
		}
	}
	return c
}

// queueAwaiting reads the tasks that await children of the runs.
func (st *step) queueAwaiting(runs []uuid.UUID) {
	st.t.Queue(`SELECT `+taskColumns+`, t.spec FROM task t WHERE t.execution_id = ANY($1::uuid[])
		AND t.state = 'WAITING' AND t.wait_gate = 'child' AND t.method = 'AWAIT_FORKED_JOB'`, runs).Query(st.scanTasks)
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

// queueFamilies reads the newest children of the tasks that others await; what this step makes of children is written
// first. While one is open nothing else counts, so that of thousands the ended ones are read once: with the last one.
func (st *step) queueFamilies(runs []*run) error {
	if err := st.effects.queue(st.t, st.now); err != nil {
		return err
	}
	var who refs
	var names []string
	for _, r := range runs {
		for _, idx := range r.family.unread(r.state.Need()) {
			if r.family.by == nil {
				r.family.by = map[int]*kindred{}
			}
			r.family.by[idx] = &kindred{}
			if t := r.state.Tasks[idx]; t != nil {
				for _, name := range t.Spec.AwaitForkedTasks {
					who.add(r.ID, idx)
					names = append(names, name)
				}
			}
		}
	}
	st.t.Queue(awaited+`SELECT execution_id, awaits, n FROM open`, who.ids, who.idx, names).Query(func(rows pgx.Rows) error {
		var id uuid.UUID
		var idx, n int
		_, err := pgx.ForEachRow(rows, []any{&id, &idx, &n}, func() error {
			if r := st.runs[id]; r != nil {
				r.family.by[idx].open = n
			}
			return nil
		})
		return err
	})
	st.t.Queue(awaited+`SELECT f.execution_id, f.awaits, f.name, f.grouped, CASE WHEN c.state = 'REFUSED' THEN 'refused' ELSE c.outcome END, c.message,
			CASE WHEN c.state = 'REFUSED' THEN '' ELSE c.error_code END, c.exit_code,
			CASE WHEN NOT f.grouped THEN c.outputs END, f.extra, c.task_idx
		FROM forked f JOIN child c ON c.execution_id = f.execution_id AND c.task_idx BETWEEN f.first AND f.last
		WHERE c.ended_at IS NOT NULL AND c.kind = 'job' AND `+newest+`
			AND NOT EXISTS (SELECT FROM open o WHERE o.execution_id = f.execution_id AND o.awaits = f.awaits)
		ORDER BY f.ord, c.task_idx`, who.ids, who.idx, names).Query(st.scanFamily)
	return nil
}

func (st *step) scanFamily(rows pgx.Rows) error {
	for rows.Next() {
		var id uuid.UUID
		var k kin
		var item bool
		var awaits, idx int
		var outputs, extra []byte
		if err := rows.Scan(&id, &awaits, &k.name, &item, &k.outcome, &k.message, &k.code, &k.exit, &outputs, &extra, &idx); err != nil {
			return fmt.Errorf("read child: %w", err)
		}
		var all map[string]string
		var x engine.Extra
		decodeInto(&st.bad, outputs, &all, "outputs of child", id, idx)
		decodeInto(&st.bad, extra, &x, "extra of task", id, idx)
		if x.Fork != nil && !item { // those of items would replace each other
			k.outputs = x.Fork.Given(all)
		}
		if r := st.runs[id]; r != nil {
			r.family.by[awaits].ended = append(r.family.by[awaits].ended, k)
		}
	}
	return rows.Err()
}

// child applies what is new of a child: to its record, and to the task that forked it.
func (st *step) child(r *run, e *execution.Event) execution.Verdict {
	s := r.state
	c := childRow{execution: r.ID, idx: e.Idx, round: e.Round, request: e.Child.Request, message: e.Child.Message, code: e.Child.ErrorCode, exit: e.Child.ExitCode, unsubmitted: e.Child.Unsubmitted}
	switch e.Kind {
	case execution.ChildSubmitted:
		c.state = childSubmitted
		st.effects.childNews = append(st.effects.childNews, c)
		s.Submitted(e.Idx, e.Round, e.Child.Request.String(), st.now)
	case execution.ChildRefused:
		c.state = childRefused
		st.effects.childNews = append(st.effects.childNews, c)
		s.Refused(e.Idx, e.Round, e.Child.ErrorCode, e.Child.Message, st.now)
	default:
		c.state, c.outcome, c.outputs = childEnded, e.Child.State, e.Child.Outputs
		st.effects.childNews = append(st.effects.childNews, c)
		id := "" // of a chore
		if e.Child.Request != uuid.Nil {
			id = e.Child.Request.String()
		}
		s.ChildEnded(e.Idx, e.Round, engine.ChildOutcome{
			ID: id, State: e.Child.State, ExitCode: e.Child.ExitCode, ErrorCode: e.Child.ErrorCode, Message: e.Child.Message, Outputs: e.Child.Outputs,
		}, st.now)
	}
	if e.Kind != execution.ChildSubmitted {
		r.family = family{stale: true}
	}
	return execution.Applied
}

// join tells the tasks that await children how these stand, after some of them have ended; it says whether something
// has to be loaded for it.
func (st *step) join(r *run) (missing bool) {
	s := r.state
	if r.family.stale {
		r.family = family{}
		for _, idx := range sorted(s.Tasks) {
			t := s.Tasks[idx]
			if t.State == engine.TaskWaiting && t.WaitGate == engine.GateChild && t.Method() == plan.MethodAwaitForkedJob {
				r.family.tell = append(r.family.tell, idx)
			}
		}
	}
	if len(r.family.unread(engine.Need{})) > 0 {
		return true
	}
	for len(r.family.tell) > 0 {
		idx := r.family.tell[0]
		r.family.tell = slices.Delete(r.family.tell, 0, 1)
		s.Children(idx, r.family.of(idx), st.now)
		if !s.Need().Empty() {
			r.busy = true
			return true
		}
		st.settle(r)
	}
	return false
}
