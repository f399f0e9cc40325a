package pg

import (
	"fmt"
	"maps"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/libs/jobspec"
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
	by    map[string][]kin // children by the name of the task that forked them; nil before they are read
}

// kin is the newest child of a task.
type kin struct {
	open    bool
	outcome string
	message string
	outputs map[string]string
}

// wanted says that the children must be read.
func (f *family) wanted(need engine.Need) bool {
	return f.by == nil && (len(need.Children) > 0 || len(f.tell) > 0)
}

// of says how the children stand that a task awaits.
func (f *family) of(s *engine.State, idx int) engine.Children {
	c := engine.Children{Outputs: map[string]string{}}
	t := s.Tasks[idx]
	if t == nil {
		return c
	}
	for _, name := range t.Spec.AwaitForkedTasks {
		for _, k := range f.by[name] {
			if !k.open {
				c.Outputs[jobspec.StatusVar(name)] = k.outcome
			}
			switch {
			case k.open:
				c.Open++
			case k.outcome != string(engine.JobCompleted):
				c.Failed++
				if c.Message == "" {
					c.Message = fmt.Sprintf("the job of task %s ended as %s %s", name, k.outcome, k.message)
				}
			default:
				maps.Copy(c.Outputs, k.outputs)
			}
		}
	}
	return c
}

// queueAwaiting reads the tasks that await children of the runs.
func (st *step) queueAwaiting(runs []uuid.UUID) {
	st.t.Queue(`SELECT `+taskColumns+`, t.spec FROM execution e JOIN task t ON t.execution_id = e.id AND t.idx < e.tasks_planned
		WHERE e.id = ANY($1::uuid[]) AND t.state = 'WAITING' AND t.wait_gate = $2 AND t.method = $3`,
		runs, engine.GateChild, jobspec.MethodAwaitForkedJob).Query(st.scanTasks)
}

// queueFamilies reads the newest children of the tasks that others await; what this step makes of children is written
// first.
func (st *step) queueFamilies(runs []*run) error {
	if err := st.effects.queue(st.t, st.now); err != nil {
		return err
	}
	ids := make([]uuid.UUID, len(runs))
	for i, r := range runs {
		ids[i], r.family.by = r.ID, map[string][]kin{}
	}
	// An item of a fan-out counts for its group.
	st.t.Queue(`SELECT DISTINCT ON (c.execution_id, c.task_idx) c.execution_id, coalesce(g.name, t.name), g.idx IS NOT NULL, c.ended_at IS NULL,
			CASE WHEN c.state = 'REFUSED' THEN 'refused' ELSE c.outcome END, c.message, c.outputs, t.extra, c.task_idx
		FROM child c JOIN task t ON t.execution_id = c.execution_id AND t.idx = c.task_idx
		LEFT JOIN task g ON g.execution_id = t.execution_id AND g.idx = t.group_idx
		WHERE c.execution_id = ANY($1::uuid[]) AND c.kind = 'job' ORDER BY c.execution_id, c.task_idx, c.round DESC`, ids).Query(st.scanFamily)
	return nil
}

func (st *step) scanFamily(rows pgx.Rows) error {
	for rows.Next() {
		var id uuid.UUID
		var k kin
		var name string
		var item bool
		var idx int
		var outputs, extra []byte
		if err := rows.Scan(&id, &name, &item, &k.open, &k.outcome, &k.message, &outputs, &extra, &idx); err != nil {
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
			r.family.by[name] = append(r.family.by[name], k)
		}
	}
	return rows.Err()
}

// child applies what is new of a child: to its record, and to the task that forked it.
func (st *step) child(r *run, e *execution.Event) execution.Verdict {
	s := r.state
	c := childRow{execution: r.ID, idx: e.Idx, round: e.Round, request: e.Child.Request, message: e.Child.Message, code: e.Child.ErrorCode}
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
			ID: id, State: e.Child.State, ErrorCode: e.Child.ErrorCode, Message: e.Child.Message, Outputs: e.Child.Outputs,
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
			if t.State == engine.TaskWaiting && t.WaitGate == engine.GateChild && t.Method() == jobspec.MethodAwaitForkedJob {
				r.family.tell = append(r.family.tell, idx)
			}
		}
	}
	if len(r.family.tell) > 0 && r.family.by == nil {
		return true
	}
	for len(r.family.tell) > 0 {
		idx := r.family.tell[0]
		r.family.tell = slices.Delete(r.family.tell, 0, 1)
		s.Children(idx, r.family.of(s, idx), st.now)
		if !s.Need().Empty() {
			r.busy = true
			return true
		}
		st.settle(r)
	}
	return false
}
