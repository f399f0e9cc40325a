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

// Fill adds n requests that have ended, two of three as children of the third, with deliveries for every fifth; the runs
// they had are those of supervisor's Fill. The children are of the type bench-noop, which is made when it is missing. It
// turns triggers off for its transaction, which only a superuser may.
func Fill(ctx context.Context, pool *pgxpool.Pool, n int) error {
	if err := pgdb.Fill(ctx, pool, text, n); err != nil {
		return fmt.Errorf("%d requests: %w", n, err)
	}
	return nil
}
