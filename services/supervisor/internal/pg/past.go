package pg

import (
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/libs/storable"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
	"github.com/formicary/formicary/services/supervisor/internal/step"
)

// JobRetry is what the variable says: a pause of the job by itself counts as a retry.
const JobRetry = `retries + coalesce((policy ->> 'pauses')::int, 0)`

// queuePast reads the variables of runs and what is wanted of their past.
func (x *tx) queuePast(n *step.Needs, r reader) {
	if len(n.Contexts) > 0 {
		x.t.Queue(`SELECT id, `+JobRetry+`, vars, started_at, created_at FROM execution WHERE id = ANY($1::uuid[])`, n.Contexts).Query(r.contexts)
	}
	var allOutputs, allTasks []uuid.UUID
	var outputs, facts, keys pairs
	for _, p := range n.Past {
		if p.AllOutputs {
			allOutputs = append(allOutputs, p.Execution)
		}
		if p.AllTasks {
			allTasks = append(allTasks, p.Execution)
		}
		for name := range p.Outputs {
			outputs.add(p.Execution, name)
		}
		for name, fields := range p.Tasks {
			facts.add(p.Execution, name)
			facts.results, facts.all = append(facts.results, fields.Result), append(facts.all, fields.AllOutputs)
			for key := range fields.Outputs {
				keys.add(p.Execution, name)
				keys.keys = append(keys.keys, key)
			}
		}
	}
	if len(outputs.ids) > 0 {
		x.t.Queue(`SELECT o.execution_id, o.name, o.value, o.task_idx, o.ended_at
			FROM (SELECT unnest($1::uuid[]) AS execution_id, unnest($2::text[]) AS name) u JOIN output o USING (execution_id, name)`,
			outputs.ids, outputs.names).Query(r.outputs)
	}
	if len(allOutputs) > 0 {
		x.t.Queue(`SELECT execution_id, name, value, task_idx, ended_at FROM output WHERE execution_id = ANY($1::uuid[])`, allOutputs).Query(r.outputs)
	}
	if len(facts.ids) > 0 {
		x.t.Queue(`SELECT t.execution_id, t.idx, t.name, t.ended_at, t.state, t.exit_code, t.failure_class, t.message,
				CASE WHEN u.whole THEN t.outputs END, CASE WHEN u.result THEN t.result ELSE '' END
			FROM (SELECT unnest($1::uuid[]) AS execution_id, unnest($2::text[]) AS name, unnest($3::bool[]) AS result, unnest($4::bool[]) AS whole) u
			JOIN task t ON t.execution_id = u.execution_id AND t.name = u.name AND t.group_idx IS NULL
			WHERE t.ended_at IS NOT NULL`, facts.ids, facts.names, facts.results, facts.all).Query(r.facts)
	}
	if len(keys.ids) > 0 {
		x.t.Queue(`SELECT t.execution_id, t.idx, t.name, t.ended_at, t.state, t.exit_code, t.failure_class, t.message,
				json_build_object(u.key, t.outputs ->> u.key), ''
			FROM (SELECT unnest($1::uuid[]) AS execution_id, unnest($2::text[]) AS name, unnest($3::text[]) AS key) u
			JOIN task t ON t.execution_id = u.execution_id AND t.name = u.name AND t.group_idx IS NULL
			WHERE t.ended_at IS NOT NULL AND t.outputs ->> u.key IS NOT NULL`, keys.ids, keys.names, keys.keys).Query(r.facts)
	}
	if len(allTasks) > 0 { // an expression goes through the tasks, or asks for one whose name it computes
		x.t.Queue(`SELECT t.execution_id, t.idx, t.name, t.ended_at, t.state, t.exit_code, t.failure_class, t.message, t.outputs, t.result
			FROM execution e JOIN task t ON t.execution_id = e.id AND t.idx < e.tasks_planned
			WHERE e.id = ANY($1::uuid[]) AND t.ended_at IS NOT NULL`, allTasks).Query(r.facts)
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

func (r reader) contexts(rows pgx.Rows) error {
	for rows.Next() {
		c := &execution.Context{}
		if err := rows.Scan(&c.ID, &c.Retries, &c.Vars, &c.StartedAt, &c.CreatedAt); err != nil {
			return fmt.Errorf("read variables: %w", err)
		}
		r.Contexts = append(r.Contexts, c)
	}
	return rows.Err()
}

func (r reader) outputs(rows pgx.Rows) error {
	var o step.LoadedOutput
	_, err := pgx.ForEachRow(rows, []any{&o.Execution, &o.Name, &o.Value, &o.Idx, &o.At}, func() error {
		r.Outputs = append(r.Outputs, o)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read outputs: %w", err)
	}
	return nil
}

func (r reader) facts(rows pgx.Rows) error {
	for rows.Next() {
		var f step.LoadedFact
		var outputs []byte
		if err := rows.Scan(&f.Execution, &f.Idx, &f.Name, &f.At, &f.State, &f.ExitCode, &f.FailureClass, &f.Message, &outputs, &f.Result); err != nil {
			return fmt.Errorf("read ended task: %w", err)
		}
		decodeInto(r.bad, outputs, &f.Outputs, "outputs of task", f.Execution, f.Idx)
		r.Facts = append(r.Facts, f)
	}
	return rows.Err()
}
