package lease

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// doubtful are the live attempts that something is to be done about now, by kind. They are found in one look at what is
// live, which is bounded by slots; nothing that a Sync changes has an index. The grace of an item is that of its group.
// Nothing ends for the passing of time while that rests.
const doubtful = `SELECT uid, kind, ant_id, lease_until, now() FROM (
	SELECT uid, kind, ant_id, lease_until, row_number() OVER (PARTITION BY kind ORDER BY CASE kind
		WHEN 'stop' THEN stop_requested_at WHEN 'timeout' THEN timeout_at WHEN 'lease' THEN lease_until ELSE dispatched_at END, uid) AS place
	FROM (SELECT uid, ant_id, lease_until, timeout_at, stop_requested_at, dispatched_at, CASE
			WHEN missed > $6 THEN 'gone'
			WHEN state = 'DISPATCHED' AND dispatched_at <= now() - $4::interval AND p.runs THEN 'unclaimed'
			WHEN state = 'DISPATCHED' THEN CASE WHEN dispatched_at <= now() - $3::interval * (rung + 1) THEN 'ring' END
			WHEN NOT p.runs THEN NULL
			WHEN stop_requested_at <= now() - $2::interval AND stop_requested_at <= now() - $2::interval - coalesce((SELECT
				(coalesce(g.spec, k.spec) ->> 'grace')::bigint / 1000 * interval '1 microsecond'
				FROM task k LEFT JOIN task g ON g.execution_id = k.execution_id AND g.idx = k.group_idx
				WHERE k.execution_id = a.execution_id AND k.idx = a.task_idx), '0') THEN 'stop'
			WHEN timeout_at < now() THEN 'timeout'
			WHEN lease_until < now() THEN 'lease' END AS kind
		FROM attempt a CROSS JOIN (SELECT ` + restless + ` AS runs FROM pulse p) p
		WHERE state IN ('DISPATCHED', 'RUNNING')) x
	WHERE kind IS NOT NULL AND NOT EXISTS (SELECT FROM unnest($7::uuid[]) AS tried (uid) WHERE tried.uid = x.uid)) y
	WHERE place <= $5`

// Doubtful returns the live attempts that something is to be done about now, at most limit of each kind, those first
// that are due first; tried are left out.
func (s *Store) Doubtful(ctx context.Context, l execution.Limits, tried []uuid.UUID, limit int) ([]execution.Doubt, error) {
	if tried == nil {
		tried = []uuid.UUID{}
	}
	rows, err := s.pool.Query(ctx, doubtful, l.Gap, l.Stop, l.Ring, l.Replace, limit, execution.MissesAllowed, tried)
	if err != nil {
		return nil, fmt.Errorf("find doubtful attempts: %w", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (d execution.Doubt, err error) {
		return d, row.Scan(&d.UID, &d.Kind, &d.Ant, &d.LeaseUntil, &d.Now)
	})
	if err != nil {
		return nil, fmt.Errorf("find doubtful attempts: %w", err)
	}
	return all, nil
}
