// Package history fills the schema with what years of work leave behind, for benchmarks and for tests that ask what a
// statement costs then.
package history

import (
	"context"
	"embed"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

//go:embed fill.sql
var files embed.FS

// Fill adds n requests that have ended, two of three as children of the third, with deliveries for every fifth; the runs
// they had are those of supervisor's Fill. The children are of the type bench-noop, which is made when it is missing. It
// turns triggers off for its transaction, which only a superuser may.
func Fill(ctx context.Context, pool *pgxpool.Pool, n int) error {
	text, err := files.ReadFile("fill.sql")
	if err != nil {
		return fmt.Errorf("read the fill: %w", err)
	}
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		// one statement a time: the simple protocol of many takes no arguments
		for sql := range strings.SplitSeq(strings.ReplaceAll(string(text), ":requests", fmt.Sprint(n)), ";\n") {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return fmt.Errorf("%w in %s", err, sql)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("fill with %d requests: %w", n, err)
	}
	return analyse(ctx, pool)
}

// analyse does at once what the server would do some minutes later.
func analyse(ctx context.Context, pool *pgxpool.Pool) error {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("acquire connection: %w", err)
	}
	defer conn.Release()
	for _, sql := range []string{"SET statement_timeout = 0", "VACUUM ANALYZE", "RESET statement_timeout"} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("analyse the fill: %w", err)
		}
	}
	return nil
}
