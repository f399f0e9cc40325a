package pgdb

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Fill runs a text of statements, each ended by a semicolon at the end of its line, in one transaction, with n for
// every :count in it, and does at once what autovacuum would do some minutes later. It is for benchmarks and tests.
func Fill(ctx context.Context, pool *pgxpool.Pool, text string, n int) error {
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		// one statement a time: the simple protocol of many takes no arguments
		for sql := range strings.SplitSeq(strings.ReplaceAll(text, ":count", fmt.Sprint(n)), ";\n") {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return fmt.Errorf("%w in %s", err, sql)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("fill: %w", err)
	}
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
