package pg

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/libs/storable"
	"github.com/formicary/formicary/services/supervisor/internal/definition"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
	"github.com/formicary/formicary/services/supervisor/internal/step"
)

// keptItems reads the items of fan-outs that completed in an earlier run, the newest first.
const keptItems = `SELECT u.request_id, u.run, u.name, i.name, i.item_value, i.exit_code, i.outputs, i.result
	FROM (SELECT unnest($1::uuid[]) AS request_id, unnest($2::int[]) AS run, unnest($3::text[]) AS name) u
	JOIN execution e ON e.request_id = u.request_id AND e.run = u.run
	JOIN task g ON g.execution_id = e.id AND g.name = u.name AND g.group_idx IS NULL AND g.items IS NOT NULL
	JOIN task i ON i.execution_id = e.id AND i.idx BETWEEN (g.items ->> 'first')::int AND (g.items ->> 'first')::int + (g.items ->> 'total')::int - 1
	WHERE i.state = 'COMPLETED' ORDER BY i.ended_at DESC, i.idx DESC`

// mostKept bounds the outputs and results of items that are kept of a run, in bytes. What is more runs again.
const mostKept = 32 << 20

// kept are the items of fan-outs that completed in an earlier run, by their names.
type kept map[step.KeptGroup]map[string]engine.Kept

func (k kept) scan(rows pgx.Rows) error {
	size := map[execution.Key]int{}
	for rows.Next() {
		var g step.KeptGroup
		var name string
		var value, outputs []byte
		var x engine.Kept
		if err := rows.Scan(&g.Request, &g.Run, &g.Name, &name, &value, &x.ExitCode, &outputs, &x.Result); err != nil {
			return fmt.Errorf("read kept item: %w", err)
		}
		if size[g.Key] += len(outputs) + len(x.Result); size[g.Key] > mostKept {
			continue
		}
		var err error
		if x.Value, err = definition.DecodeValue(value); err != nil {
			continue // it runs again
		}
		if len(outputs) > 0 && json.Unmarshal(outputs, &x.Outputs) != nil {
			continue
		}
		if k[g] == nil {
			k[g] = map[string]engine.Kept{}
		}
		k[g][name] = x
	}
	return rows.Err()
}

// Kept returns the items of fan-outs that completed in an earlier run: by the name of the fan-out, then their own.
func (s *Store) Kept(ctx context.Context, key execution.Key, groups []string) (map[string]map[string]engine.Kept, error) {
	requests, runs := make([]uuid.UUID, len(groups)), make([]int32, len(groups))
	for i := range groups {
		requests[i], runs[i] = key.Request, int32(key.Run)
	}
	rows, err := s.pool.Query(ctx, keptItems, requests, runs, groups)
	if err != nil {
		return nil, fmt.Errorf("read items of run %d of request %s: %w", key.Run, key.Request, err)
	}
	defer rows.Close()
	k := kept{}
	if err := k.scan(rows); err != nil {
		return nil, fmt.Errorf("read items of run %d of request %s: %w", key.Run, key.Request, err)
	}
	byName := make(map[string]map[string]engine.Kept, len(k))
	for g, items := range k {
		byName[g.Name] = items
	}
	return byName, nil
}

// queueKept reads what runs want to keep.
func (x *tx) queueKept(groups []step.KeptGroup, l *step.Loaded) {
	requests, numbers, names := make([]uuid.UUID, len(groups)), make([]int32, len(groups)), make([]string, len(groups))
	for i, g := range groups {
		requests[i], numbers[i], names[i] = g.Request, int32(g.Run), storable.Text(g.Name)
	}
	k := kept{}
	l.Kept = k
	x.t.Queue(keptItems, requests, numbers, names).Query(k.scan)
}
