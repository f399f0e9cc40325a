package pg

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/services/supervisor/internal/child"
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

// The statements about children are written by hand: they take and change whole batches.

// take hides children that are due for the lease $1, at most $2, and names the columns of those that it took. What
// somebody else changes right now is left alone. The state stands between the two halves as a literal: the index of
// those that are due cannot be used for one that is a parameter.
const (
	take = `WITH due AS (SELECT execution_id, task_idx, round FROM child
		WHERE due_at <= now() AND `
	taken = ` ORDER BY due_at LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED),
	taken AS (UPDATE child c SET due_at = now() + $1::interval, tries = c.tries + 1 FROM due
		WHERE c.execution_id = due.execution_id AND c.task_idx = due.task_idx AND c.round = due.round RETURNING c.*) `

	takeWanted       = take + `state = 'WANTED' AND kind = 'job'` + taken
	takeWantedChores = take + `state = 'WANTED' AND kind = 'chore'` + taken
	takeCancels      = take + `state = 'CANCEL_WANTED' AND kind = 'job'` + taken
	takeEndedChores  = take + `state = 'CANCEL_WANTED' AND kind = 'chore'` + taken
)

// TakeWanted returns children to be submitted and hides them for the lease.
func (s *Store) TakeWanted(ctx context.Context, lease time.Duration, limit int) ([]child.Wanted, error) {
	rows, err := s.pool.Query(ctx, takeWanted+`SELECT k.execution_id, k.task_idx, k.round, e.org_id, e.request_id, t.name, k.job_type, k.job_version,
			k.params, e.submitted_by, k.tries
		FROM taken k JOIN execution e ON e.id = k.execution_id JOIN task t ON t.execution_id = k.execution_id AND t.idx = k.task_idx`,
		lease, limit)
	if err != nil {
		return nil, fmt.Errorf("take children to submit: %w", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (w child.Wanted, err error) {
		return w, row.Scan(&w.Execution, &w.Idx, &w.Round, &w.Org, &w.Parent, &w.Task, &w.JobType, &w.Version, &w.Params, &w.SubmittedBy, &w.Tries)
	})
	if err != nil {
		return nil, fmt.Errorf("take children to submit: %w", err)
	}
	return all, nil
}

// TakeCancels returns children to be cancelled and hides them for the lease.
func (s *Store) TakeCancels(ctx context.Context, lease time.Duration, limit int) ([]child.Cancel, error) {
	rows, err := s.pool.Query(ctx, takeCancels+`SELECT execution_id, task_idx, round, request_id IS NOT NULL FROM taken`, lease, limit)
	if err != nil {
		return nil, fmt.Errorf("take children to cancel: %w", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c child.Cancel, err error) {
		return c, row.Scan(&c.Execution, &c.Idx, &c.Round, &c.Submitted)
	})
	if err != nil {
		return nil, fmt.Errorf("take children to cancel: %w", err)
	}
	return all, nil
}

// TakeSilent returns children that job-manager has not been asked about for the time, and notes that it is now.
func (s *Store) TakeSilent(ctx context.Context, silence time.Duration, limit int) ([]child.Key, error) {
	rows, err := s.pool.Query(ctx, `UPDATE child c SET heard_at = now() FROM (SELECT execution_id, task_idx, round FROM child
			WHERE state IN ('SUBMITTED', 'CANCELLING') AND heard_at < now() - $1::interval ORDER BY heard_at LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED) due
		WHERE c.execution_id = due.execution_id AND c.task_idx = due.task_idx AND c.round = due.round
		RETURNING c.execution_id, c.task_idx, c.round`, silence, limit)
	return keysOf(rows, err, "take silent children")
}

func keysOf(rows pgx.Rows, err error, what string) ([]child.Key, error) {
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	keys, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (k child.Key, err error) {
		return k, row.Scan(&k.Execution, &k.Idx, &k.Round)
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return keys, nil
}

// Later makes children due again after the delay of each.
func (s *Store) Later(ctx context.Context, keys []child.Key, delays []time.Duration) error {
	if len(keys) == 0 {
		return nil
	}
	ids, idx, rounds := keyColumns(keys)
	_, err := s.pool.Exec(ctx, `UPDATE child c SET due_at = now() + u.delay
		FROM (SELECT unnest($1::uuid[]) AS execution_id, unnest($2::int[]) AS task_idx, unnest($3::int[]) AS round, unnest($4::interval[]) AS delay) u
		WHERE c.execution_id = u.execution_id AND c.task_idx = u.task_idx AND c.round = u.round AND c.state IN ('WANTED', 'CANCEL_WANTED')`,
		ids, idx, rounds, delays)
	if err != nil {
		return fmt.Errorf("give back %d children: %w", len(keys), err)
	}
	return nil
}

// Cancelling notes that job-manager knows which children are to end. One that was never submitted ends by an event: a
// task may wait for it.
func (s *Store) Cancelling(ctx context.Context, keys []child.Key) error {
	if len(keys) == 0 {
		return nil
	}
	ids, idx, rounds := keyColumns(keys)
	_, err := s.pool.Exec(ctx, `UPDATE child c SET heard_at = now(), state = 'CANCELLING'
		FROM (SELECT unnest($1::uuid[]) AS execution_id, unnest($2::int[]) AS task_idx, unnest($3::int[]) AS round) u
		WHERE c.execution_id = u.execution_id AND c.task_idx = u.task_idx AND c.round = u.round AND c.state = 'CANCEL_WANTED'
			AND c.request_id IS NOT NULL`, ids, idx, rounds)
	if err != nil {
		return fmt.Errorf("note that %d children are cancelled: %w", len(keys), err)
	}
	return nil
}

func keyColumns(keys []child.Key) (ids []uuid.UUID, idx, rounds []int32) {
	for _, k := range keys {
		ids, idx, rounds = append(ids, k.Execution), append(idx, int32(k.Idx)), append(rounds, int32(k.Round))
	}
	return ids, idx, rounds
}

// mostOutputs bounds what a child gives to its parent, in bytes of keys and values: with the id of the child it stays
// below what a task may have.
const mostOutputs = 63 << 10

// Outputs returns what the completed tasks of runs have given, later ones over earlier, by run. Items are left out: their
// group speaks for them. Of what is too much the largest is dropped, without being read.
func (s *Store) Outputs(ctx context.Context, runs []execution.Key) (map[execution.Key]map[string]string, error) {
	requests, numbers := columns(runs)
	rows, err := s.pool.Query(ctx, `SELECT e.id, e.request_id, e.run, o.name, o.bytes
		FROM (SELECT DISTINCT unnest($1::uuid[]) AS request_id, unnest($2::int[]) AS run) u JOIN execution e USING (request_id, run)
		JOIN output o ON o.execution_id = e.id`, requests, numbers)
	if err != nil {
		return nil, fmt.Errorf("find outputs of %d runs: %w", len(runs), err)
	}
	sizes := map[uuid.UUID]map[string]int{}
	keys := map[uuid.UUID]execution.Key{}
	var id uuid.UUID
	var k execution.Key
	var name string
	var size int
	_, err = pgx.ForEachRow(rows, []any{&id, &k.Request, &k.Run, &name, &size}, func() error {
		if sizes[id] == nil {
			sizes[id], keys[id] = map[string]int{}, k
		}
		sizes[id][name] = size
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("find outputs of %d runs: %w", len(runs), err)
	}
	all := map[execution.Key]map[string]string{}
	var wanted pairs
	for id, of := range sizes {
		all[keys[id]] = map[string]string{}
		for _, name := range fitting(of, mostOutputs) {
			wanted.add(id, name)
		}
	}
	if rows, err = s.pool.Query(ctx, `SELECT o.execution_id, o.name, o.value
		FROM (SELECT unnest($1::uuid[]) AS execution_id, unnest($2::text[]) AS name) u JOIN output o USING (execution_id, name)`, wanted.ids, wanted.names); err != nil {
		return nil, fmt.Errorf("read outputs of %d runs: %w", len(runs), err)
	}
	var value string
	_, err = pgx.ForEachRow(rows, []any{&id, &name, &value}, func() error {
		all[keys[id]][name] = value
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read outputs of %d runs: %w", len(runs), err)
	}
	return all, nil
}

// ExitCodes returns those of the tasks that failed runs, by run; 0 is left out.
func (s *Store) ExitCodes(ctx context.Context, runs []execution.Key) (map[execution.Key]int, error) {
	requests, numbers := columns(runs)
	rows, err := s.pool.Query(ctx, `SELECT e.request_id, e.run, (e.policy ->> 'exit_code')::int
		FROM (SELECT DISTINCT unnest($1::uuid[]) AS request_id, unnest($2::int[]) AS run) u JOIN execution e USING (request_id, run)
		WHERE e.policy ->> 'exit_code' IS NOT NULL`, requests, numbers)
	if err != nil {
		return nil, fmt.Errorf("read exit codes of %d runs: %w", len(runs), err)
	}
	all := map[execution.Key]int{}
	var k execution.Key
	var code int
	_, err = pgx.ForEachRow(rows, []any{&k.Request, &k.Run, &code}, func() error {
		all[k] = code
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read exit codes of %d runs: %w", len(runs), err)
	}
	return all, nil
}

// fitting returns the names of the values that are left when the largest are dropped until the others fit, by the sizes
// of the values.
func fitting(sizes map[string]int, most int) []string {
	total := 0
	names := make([]string, 0, len(sizes))
	for name, size := range sizes {
		total += len(name) + size
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(len(b)+sizes[b]-len(a)-sizes[a], cmp.Compare(a, b))
	})
	for len(names) > 0 && total > most {
		total -= len(names[0]) + sizes[names[0]]
		names = names[1:]
	}
	return names
}
