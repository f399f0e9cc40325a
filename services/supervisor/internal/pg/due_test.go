package pg_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/services/supervisor/internal/pg"
)

// What is due is found among it, however many children have ended: their rows stay.
func TestDueChildrenAreFoundAmongWhatIsDue(t *testing.T) {
	t.Parallel()
	c := newColony(t, fmt.Sprintf(wide, 2))
	ctx := t.Context()
	for _, sql := range []string{
		`INSERT INTO child (execution_id, task_idx, round, kind, state, due_at, heard_at, created_at, ended_at)
			SELECT gen_random_uuid(), 1, 1, 'job', 'ENDED', now(), now(), now(), now() FROM generate_series(1, 200000)`,
		`INSERT INTO child (execution_id, task_idx, round, kind, state, due_at, heard_at, created_at)
			SELECT gen_random_uuid(), g, 1, k, s, now(), now(), now() FROM generate_series(1, 3) g, unnest('{job,chore}'::text[]) k, unnest('{WANTED,CANCEL_WANTED}'::text[]) s`,
		`ANALYZE child`,
	} {
		if _, err := c.pool.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	for name, sql := range map[string]string{
		"wanted": pg.TakeWanted, "wanted chores": pg.TakeWantedChores, "cancels": pg.TakeCancels, "ended chores": pg.TakeEndedChores,
	} {
		err := pgx.BeginFunc(ctx, c.pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, `PREPARE take (interval, bigint) AS `+sql); err != nil {
				return err
			}
			defer func() { _, _ = tx.Exec(ctx, `DEALLOCATE take`) }()
			rows, err := tx.Query(ctx, `EXPLAIN (ANALYZE, BUFFERS, TIMING OFF) EXECUTE take ('40 seconds', 500)`)
			if err != nil {
				return err
			}
			lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil {
				return err
			}
			if plan := strings.Join(lines, "\n"); !strings.Contains(plan, "using child_due") || strings.Contains(plan, "Seq Scan on child") || pages(plan) > 500 {
				t.Errorf("%s:\n%s", name, plan)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// pages are those that the whole statement touched.
func pages(plan string) int {
	_, after, _ := strings.Cut(plan, "Buffers: shared hit=")
	n := 0
	_, _ = fmt.Sscan(after, &n)
	return n
}
