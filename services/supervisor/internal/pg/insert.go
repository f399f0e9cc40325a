package pg

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// Insert adds runs. Those that exist already are left alone and returned, which takes another round trip.
func (x *tx) Insert(ctx context.Context, runs []*execution.NewRun) (existing []execution.Existing, now time.Time, err error) {
	inserted := map[uuid.UUID]bool{}
	if err := x.queueExecutions(runs, inserted); err != nil {
		return nil, now, err
	}
	x.queueClock(&now)
	if err := x.t.Flush(ctx); err != nil {
		return nil, now, fmt.Errorf("insert executions: %w", err)
	}
	if len(inserted) == len(runs) {
		return nil, now, nil
	}
	x.queueExisting(runs, inserted, &existing)
	if err := x.t.Flush(ctx); err != nil {
		return nil, now, fmt.Errorf("read executions: %w", err)
	}
	return existing, now, nil
}

func (x *tx) queueExecutions(runs []*execution.NewRun, inserted map[uuid.UUID]bool) error {
	rows := make([]*runRow, len(runs))
	for i, r := range runs {
		row, err := changedRun(r.ID, r.JobOf(), true)
		if err != nil {
			return err
		}
		row.Run, row.fresh, row.vars = r.Run, *r, "{}"
		if r.State != nil {
			row.planned = len(r.State.Tasks) - len(r.State.New)
		}
		if len(r.Vars) > 0 {
			row.vars = string(r.Vars)
		}
		rows[i] = row
	}
	x.t.Queue(insertRuns+` ON CONFLICT (request_id, run) DO NOTHING RETURNING id`, newRuns.Args(rows)...).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var id uuid.UUID
			if err := rows.Scan(&id); err != nil {
				return err
			}
			inserted[id] = true
		}
		return rows.Err()
	})
	return nil
}

// queueExisting reads the runs that were there before.
func (x *tx) queueExisting(runs []*execution.NewRun, inserted map[uuid.UUID]bool, existing *[]execution.Existing) {
	var requests []uuid.UUID
	var numbers []int32
	for _, r := range runs {
		if !inserted[r.ID] {
			requests, numbers = append(requests, r.Request), append(numbers, int32(r.Run.Run))
		}
	}
	x.t.Queue(`SELECT e.id, e.request_id, e.run, e.state FROM (SELECT unnest($1::uuid[]) AS request_id, unnest($2::int[]) AS run) u
		JOIN execution e USING (request_id, run)`, requests, numbers).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var e execution.Existing
			if err := rows.Scan(&e.ID, &e.Request, &e.Run, &e.State); err != nil {
				return err
			}
			*existing = append(*existing, e)
		}
		return rows.Err()
	})
}

// queueInserted inserts the tasks and edges of new runs.
func (x *tx) queueInserted(runs []*execution.NewRun) error {
	var rows []*taskRow
	var of []uuid.UUID
	var from, to []int32
	var kinds, orgs []string
	for _, r := range runs {
		if r.State == nil {
			continue
		}
		for idx := range len(r.State.Tasks) {
			row, err := newTask(&r.Run, r.State.Tasks[idx])
			if err != nil {
				return err
			}
			rows = append(rows, row)
			for _, e := range r.State.Out[idx] {
				kind := "d"
				if e.Control {
					kind = "c"
				}
				of, from, to, kinds = append(of, r.ID), append(from, int32(e.From)), append(to, int32(e.To)), append(kinds, kind)
				orgs = append(orgs, r.Org)
			}
		}
	}
	if len(rows) > 0 {
		x.t.Queue(insertTasks, newTasks.Args(rows)...)
	}
	if len(of) > 0 {
		x.t.Queue(`INSERT INTO edge (execution_id, from_idx, to_idx, kind, org_id)
			SELECT unnest($1::uuid[]), unnest($2::int[]), unnest($3::int[]), unnest($4::text[])::"char", unnest($5::text[])`, of, from, to, kinds, orgs)
	}
	return nil
}

// Reused returns how the tasks of an earlier run completed, by name, and the definition that it ran.
func (s *Store) Reused(ctx context.Context, key execution.Key) (tasks map[string]engine.Reused, definition string, err error) {
	wrap := func(err error) error { return fmt.Errorf("read run %d of request %s: %w", key.Run, key.Request, err) }
	rows, err := s.pool.Query(ctx, `SELECT e.definition_id, coalesce(t.name, ''), coalesce(t.exit_code, 0), t.outputs, coalesce(t.result, '')
		FROM execution e LEFT JOIN task t ON t.execution_id = e.id AND t.state = 'COMPLETED' AND t.group_idx IS NULL
		WHERE e.request_id = $1 AND e.run = $2`, key.Request, key.Run)
	if err != nil {
		return nil, "", wrap(err)
	}
	tasks = map[string]engine.Reused{}
	defer rows.Close()
	for rows.Next() {
		var name string
		var r engine.Reused
		var outputs []byte
		if err := rows.Scan(&definition, &name, &r.ExitCode, &outputs, &r.Result); err != nil {
			return nil, "", wrap(err)
		}
		if len(outputs) > 0 {
			if err := json.Unmarshal(outputs, &r.Outputs); err != nil {
				return nil, "", fmt.Errorf("read outputs of task %s of request %s: %w", name, key.Request, err)
			}
		}
		if name != "" {
			tasks[name] = r
		}
	}
	if err := rows.Err(); err != nil {
		return nil, "", wrap(err)
	}
	return tasks, definition, nil
}
