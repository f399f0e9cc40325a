package lease

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/storable"
)

// mostEnvironment is what a process takes as environment, in bytes. See environ.Of, which leaves out what is more.
const mostEnvironment = 1 << 20

// mostFiles bounds the long outputs that one call of Claim reads for all of its runs together, in bytes: beyond the first
// run that reaches it their claims are answered later. Of one run environment() gives 8 MiB.
const mostFiles = 32 << 20

// claimedOutputs reads what attempts that are claimed see of earlier tasks, and nothing else: what their sections were
// rendered with, what replaces variables of the run, and what fits into the environment of a process. "*" among the
// former asks for everything. HTTP methods have no process: they get no
// environment. Of a task whose status is asked for, and not given by an output, it is the state. In a run none of whose tasks
// has ended there is nothing to read.
//
// The joins are lateral, so that an estimate can never make a scan of the whole table of one of them.
const claimedOutputs = `WITH claimed AS (SELECT DISTINCT t.execution_id, coalesce(t.group_idx, t.idx) AS idx, t.method LIKE 'HTTP\_%' AS http
		FROM attempt a JOIN execution e ON e.id = a.execution_id AND e.tasks_open < e.tasks_total
		JOIN task t ON t.execution_id = a.execution_id AND t.idx = a.task_idx WHERE a.uid = ANY($1::uuid[])),
	run AS (SELECT DISTINCT execution_id FROM claimed),
	used AS (SELECT DISTINCT c.execution_id, u.name FROM claimed c JOIN task t USING (execution_id, idx)
		CROSS JOIN LATERAL json_array_elements_text(CASE WHEN json_typeof(t.spec -> 'uses') = 'array' THEN t.spec -> 'uses' ELSE '[]' END) AS u (name)),
	wanted AS (SELECT execution_id, name FROM used UNION
		SELECT r.execution_id, v.name FROM run r JOIN execution e ON e.id = r.execution_id
			CROSS JOIN LATERAL json_object_keys(CASE WHEN json_typeof(e.vars) = 'object' THEN e.vars ELSE '{}' END) AS v (name)),
	long AS (SELECT p.execution_id, l.bytes FROM (SELECT DISTINCT execution_id FROM claimed WHERE NOT http) p CROSS JOIN LATERAL
		(SELECT least(coalesce(sum(o.bytes), 0), 8388608) AS bytes FROM output o WHERE o.execution_id = p.execution_id AND o.bytes > 65536
			AND o.name ~ '^[A-Za-z_][A-Za-z0-9_]*$') l),
	process AS (SELECT execution_id, sum(bytes) OVER (ORDER BY execution_id) - bytes < $3::bigint AS fits FROM long)
	SELECT u.execution_id, u.name, s.state FROM used u CROSS JOIN LATERAL (SELECT t.state FROM task t WHERE t.execution_id = u.execution_id
			AND t.name = left(u.name, -length('` + statusSuffix + `')) AND t.group_idx IS NULL AND t.ended_at IS NOT NULL LIMIT 1) s
		WHERE u.name LIKE '%` + statusSuffix + `' AND NOT EXISTS (SELECT FROM output o WHERE o.execution_id = u.execution_id AND o.name = u.name)
	UNION ALL SELECT r.execution_id, x.key, x.content FROM process r CROSS JOIN LATERAL environment(r.execution_id, $2) x WHERE r.fits
	UNION ALL SELECT r.execution_id, '` + leftOut + `', '' FROM process r WHERE NOT r.fits
	UNION ALL SELECT w.execution_id, w.name, x.value FROM wanted w CROSS JOIN LATERAL
		(SELECT o.value FROM output o WHERE o.execution_id = w.execution_id AND o.name = w.name LIMIT 1) x
	UNION ALL SELECT u.execution_id, x.name, x.value FROM used u CROSS JOIN LATERAL
		(SELECT o.name, o.value FROM output o WHERE o.execution_id = u.execution_id OFFSET 0) x WHERE u.name = '` + template.UsesAll + `'`

// leftOut is the name under which environment() gives the number of outputs that it has no room for: no output has it.
// Without a number the environment of the whole run has found no room in the call.
const leftOut = ""

// statusSuffix ends the names of variables that say how a task ended: see plan.StatusVar.
const statusSuffix = "-status"

// OutputsOf returns outputs of a run by name, as claimedOutputs does; all of them when names holds template.UsesAll.
func (s *Store) OutputsOf(ctx context.Context, id uuid.UUID, names []string) (map[string]string, error) {
	out := map[string]string{}
	collect := func(rows pgx.Rows) error {
		var name, value string
		_, err := pgx.ForEachRow(rows, []any{&name, &value}, func() error {
			out[name] = value
			return nil
		})
		return err
	}
	clean := make([]string, len(names))
	for i, name := range names {
		clean[i] = storable.Text(name)
	}
	b := &pgx.Batch{}
	b.Queue(`SELECT u.name, t.state FROM unnest($2::text[]) AS u (name) JOIN task t ON t.execution_id = $1
			AND t.name = left(u.name, -length('`+statusSuffix+`')) AND t.group_idx IS NULL
		WHERE u.name LIKE '%`+statusSuffix+`' AND t.ended_at IS NOT NULL`, id, clean).Query(collect)
	b.Queue(`SELECT u.name, x.value FROM unnest($2::text[]) AS u (name) CROSS JOIN LATERAL
			(SELECT o.value FROM output o WHERE o.execution_id = $1 AND o.name = u.name LIMIT 1) x
		UNION ALL SELECT o.name, o.value FROM output o WHERE o.execution_id = $1 AND '`+template.UsesAll+`' = ANY($2::text[])`, id, clean).Query(collect)
	if err := s.pool.SendBatch(ctx, b).Close(); err != nil {
		return nil, fmt.Errorf("read outputs of execution %s: %w", id, err)
	}
	return out, nil
}
