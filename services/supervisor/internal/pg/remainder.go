package pg

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// leftCleanUp says that the run e left its clean-up to the next one.
const leftCleanUp = `EXISTS (SELECT FROM task t WHERE t.execution_id = e.id AND t.idx < e.tasks_planned AND t.always_run AND t.state = 'SKIPPED'
	AND t.extra ->> 'postponed' = 'true')`

// Before returns how a run failed that is to be tried again, nil when none is known to have, and how often the job had
// paused itself by then.
func (s *Store) Before(ctx context.Context, key execution.Key) (b *engine.Before, pauses int, err error) {
	b = &engine.Before{}
	var again bool
	err = s.pool.QueryRow(ctx, `SELECT coalesce((e.policy ->> 'pauses')::int, 0), e.restart_at IS NOT NULL, e.error_code, e.error_message, `+leftCleanUp+`
		FROM execution e WHERE e.request_id = $1 AND e.run = $2`, key.Request, key.Run).Scan(&pauses, &again, &b.Code, &b.Message, &b.Left)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, 0, nil
	case err != nil:
		return nil, 0, fmt.Errorf("read run %d of request %s: %w", key.Run, key.Request, err)
	case !again:
		return nil, pauses, nil
	}
	return b, pauses, nil
}

// Remainder returns the run of key, when the run before it was to be tried again and left its clean-up to it: with how
// the tasks of that one ended and the clean-up that is still to be done. nil where there is none.
func (s *Store) Remainder(ctx context.Context, key execution.Key) (*execution.NewRun, error) {
	r := &execution.NewRun{}
	r.Key = key
	var policy []byte
	var before string
	err := s.pool.QueryRow(ctx, `SELECT e.id::text, e.org_id, e.job_type, e.definition_id, e.priority, e.age_at, e.vars, e.retries, e.submitted_by, e.policy
		FROM execution e WHERE e.request_id = $1 AND e.run = $2 AND e.restart_at IS NOT NULL AND `+leftCleanUp,
		key.Request, key.Run-1).Scan(&before, &r.Org, &r.JobType, &r.Definition, &r.Priority, &r.AgeAt, &r.Vars, &r.Retries, &r.SubmittedBy, &policy)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read run %d of request %s: %w", key.Run-1, key.Request, err)
	}
	var p engine.Policy
	if err := json.Unmarshal(policy, &p); err != nil {
		return nil, fmt.Errorf("read policy of run %d of request %s: %w", key.Run-1, key.Request, err)
	}
	// How the others ended is all that is wanted of them: what they ran is not.
	rows, err := s.pool.Query(ctx, `SELECT CASE WHEN t.always_run THEN t.spec ELSE json_build_object('name', t.name, 'method', t.method) END, t.state, t.exit_code, t.failure_class, t.error_code, t.message, t.outputs, t.result
		FROM execution e JOIN task t ON t.execution_id = e.id AND t.idx < e.tasks_planned WHERE e.id = $1 ORDER BY t.idx`, before)
	if err != nil {
		return nil, fmt.Errorf("read tasks of execution %s: %w", before, err)
	}
	defer rows.Close()
	var tasks []engine.Past
	for rows.Next() {
		t := engine.Past{Spec: &plan.Task{}}
		var spec, outputs []byte
		if err := rows.Scan(&spec, &t.State, &t.ExitCode, &t.FailureClass, &t.ErrorCode, &t.Message, &outputs, &t.Result); err != nil {
			return nil, fmt.Errorf("read tasks of execution %s: %w", before, err)
		}
		err := json.Unmarshal(spec, t.Spec)
		if err == nil && len(outputs) > 0 {
			err = json.Unmarshal(outputs, &t.Outputs)
		}
		if err != nil {
			return nil, fmt.Errorf("read tasks of execution %s: %w", before, err)
		}
		tasks = append(tasks, t)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read tasks of execution %s: %w", before, err)
	}
	r.Retries++
	r.State = engine.Remainder(key.Run, r.Retries, p, tasks, s.Now())
	return r, nil
}
