package pg

import (
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/libs/jobspec/condition"
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/storable"
	"github.com/formicary/formicary/services/supervisor/internal/definition"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// Decisions are made with what has ended of a run. Of that only what they look at is read, whose names are known once
// they have looked: first what the plan saw, then what was missing, until nothing is.

// wants are what is to be read of the past of a run.
type wants struct{ definition.Wants }

func (w *wants) empty() bool { return w.Empty() }

func (w *wants) add(more definition.Wants) {
	w.AllOutputs, w.AllTasks = w.AllOutputs || more.AllOutputs, w.AllTasks || more.AllTasks
	for name := range more.Outputs {
		if w.Outputs == nil {
			w.Outputs = map[string]bool{}
		}
		w.Outputs[name] = true
	}
	for name, fields := range more.Tasks {
		if w.Tasks == nil {
			w.Tasks = map[string]template.TaskFields{}
		}
		w.Tasks[name] = fields
	}
}

// begin prepares the decisions about tasks of a run: the variables that the plan was rendered with are looked at again.
func (r *run) begin(tasks []int) {
	r.past = &definition.Past{}
	seen := template.Lookups{Vars: map[string]bool{}}
	for _, idx := range tasks {
		if t := r.state.Tasks[idx]; t != nil {
			for _, name := range t.Spec.Uses {
				seen.Vars[name] = true
			}
		}
	}
	r.want.add(r.past.Lacks(&seen))
}

// queuePast reads the variables of runs and what they want of their past.
func (st *step) queuePast(runs []*run) {
	var fresh, allOutputs, allTasks []uuid.UUID
	var outputs, facts, keys pairs
	for _, r := range runs {
		if r.context == nil {
			fresh = append(fresh, r.ID)
		}
		if r.want.AllOutputs {
			allOutputs = append(allOutputs, r.ID)
		}
		if r.want.AllTasks {
			allTasks = append(allTasks, r.ID)
		}
		for name := range r.want.Outputs {
			outputs.add(r.ID, name)
		}
		for name, fields := range r.want.Tasks {
			facts.add(r.ID, name)
			facts.results, facts.all = append(facts.results, fields.Result), append(facts.all, fields.AllOutputs)
			for key := range fields.Outputs {
				keys.add(r.ID, name)
				keys.keys = append(keys.keys, key)
			}
		}
		r.want = wants{}
	}
	if len(fresh) > 0 {
		st.queueContexts(fresh)
	}
	if len(outputs.ids) > 0 {
		st.t.Queue(`SELECT o.execution_id, o.name, o.value, o.task_idx, o.ended_at
			FROM (SELECT unnest($1::uuid[]) AS execution_id, unnest($2::text[]) AS name) u JOIN output o USING (execution_id, name)`,
			outputs.ids, outputs.names).Query(st.scanOutputs)
	}
	if len(allOutputs) > 0 {
		st.t.Queue(`SELECT execution_id, name, value, task_idx, ended_at FROM output WHERE execution_id = ANY($1::uuid[])`, allOutputs).Query(st.scanOutputs)
	}
	if len(facts.ids) > 0 {
		st.t.Queue(`SELECT t.execution_id, t.idx, t.name, t.ended_at, t.state, t.exit_code, t.failure_class, t.message,
				CASE WHEN u.whole THEN t.outputs END, CASE WHEN u.result THEN t.result ELSE '' END
			FROM (SELECT unnest($1::uuid[]) AS execution_id, unnest($2::text[]) AS name, unnest($3::bool[]) AS result, unnest($4::bool[]) AS whole) u
			JOIN task t ON t.execution_id = u.execution_id AND t.name = u.name AND t.group_idx IS NULL
			WHERE t.ended_at IS NOT NULL`, facts.ids, facts.names, facts.results, facts.all).Query(st.scanFacts)
	}
	if len(keys.ids) > 0 {
		st.t.Queue(`SELECT t.execution_id, t.idx, t.name, t.ended_at, t.state, t.exit_code, t.failure_class, t.message,
				json_build_object(u.key, t.outputs ->> u.key), ''
			FROM (SELECT unnest($1::uuid[]) AS execution_id, unnest($2::text[]) AS name, unnest($3::text[]) AS key) u
			JOIN task t ON t.execution_id = u.execution_id AND t.name = u.name AND t.group_idx IS NULL
			WHERE t.ended_at IS NOT NULL AND t.outputs ->> u.key IS NOT NULL`, keys.ids, keys.names, keys.keys).Query(st.scanFacts)
	}
	if len(allTasks) > 0 { // an expression goes through the tasks, or asks for one whose name it computes
		st.t.Queue(`SELECT t.execution_id, t.idx, t.name, t.ended_at, t.state, t.exit_code, t.failure_class, t.message, t.outputs, t.result
			FROM execution e JOIN task t ON t.execution_id = e.id AND t.idx < e.tasks_planned
			WHERE e.id = ANY($1::uuid[]) AND t.ended_at IS NOT NULL`, allTasks).Query(st.scanFacts)
	}
}

// pairs are names within runs, by column.
type pairs struct {
	ids          []uuid.UUID
	names, keys  []string
	results, all []bool
}

func (p *pairs) add(id uuid.UUID, name string) {
	p.ids, p.names = append(p.ids, id), append(p.names, storable.Text(name))
}

func (st *step) queueContexts(ids []uuid.UUID) {
	st.t.Queue(`SELECT id, `+jobRetry+`, vars, started_at, created_at FROM execution WHERE id = ANY($1::uuid[])`, ids).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			c := &execution.Context{Now: st.now}
			if err := rows.Scan(&c.ID, &c.Retries, &c.Vars, &c.StartedAt, &c.CreatedAt); err != nil {
				return fmt.Errorf("read variables: %w", err)
			}
			if r := st.runs[c.ID]; r != nil {
				c.Run = r.Run
				r.context = c
			}
		}
		return rows.Err()
	})
}

func (st *step) scanOutputs(rows pgx.Rows) error {
	var id uuid.UUID
	var name, value string
	var idx int
	var at time.Time
	_, err := pgx.ForEachRow(rows, []any{&id, &name, &value, &idx, &at}, func() error {
		if r := st.runs[id]; r != nil {
			r.past.AddOutput(name, value, idx, at)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read outputs: %w", err)
	}
	return nil
}

func (st *step) scanFacts(rows pgx.Rows) error {
	for rows.Next() {
		var id uuid.UUID
		var idx int
		var name string
		var at time.Time
		var f condition.TaskFact
		var outputs []byte
		if err := rows.Scan(&id, &idx, &name, &at, &f.State, &f.ExitCode, &f.FailureClass, &f.Message, &outputs, &f.Result); err != nil {
			return fmt.Errorf("read ended task: %w", err)
		}
		decodeInto(&st.bad, outputs, &f.Outputs, "outputs of task", id, idx)
		if r := st.runs[id]; r != nil {
			r.past.AddFact(idx, name, at, f)
		}
	}
	return rows.Err()
}
