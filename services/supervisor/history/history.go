// Package history fills the schema with what years of work leave behind, for benchmarks and for tests that ask what a
// statement costs then.
package history

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/formicary/formicary/libs/pgdb"
)

//go:embed fill.sql
var text string

// Fill adds n runs that have ended, with about 3.8 tasks and 3.3 attempts each, an artifact each, two children for every
// third and an approval for every tenth. The requests they belong to are those of job-manager's Fill. It turns triggers off for its
// transaction, which only a superuser may.
func Fill(ctx context.Context, pool *pgxpool.Pool, n int) error {
	if err := pgdb.Fill(ctx, pool, text, n); err != nil {
		return fmt.Errorf("%d runs: %w", n, err)
	}
	return nil
}
