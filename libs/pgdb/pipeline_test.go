package pgdb_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/libs/testkit"
)

func account(ctx context.Context, pool *pgxpool.Pool) error {
	_, err := pool.Exec(ctx, "CREATE TABLE account (id int PRIMARY KEY, sum int CHECK (sum >= 0)); INSERT INTO account VALUES (1, 10)")
	return err
}

func sum(t *testing.T, pool *pgxpool.Pool) (n int) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), "SELECT sum FROM account").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// take reads in the first round trip and leaves its write to the one that commits.
func take(n int, after error) func(context.Context, *pgdb.Pipeline) error {
	return func(ctx context.Context, p *pgdb.Pipeline) error {
		var had int
		p.Queue("SELECT sum FROM account WHERE id = 1 FOR UPDATE").QueryRow(func(row pgx.Row) error { return row.Scan(&had) })
		if err := p.Flush(ctx); err != nil {
			return err
		}
		p.Queue("UPDATE account SET sum = $1", had-n)
		return after
	}
}

func TestPipelineCommitsAllOrNothing(t *testing.T) {
	pool := testkit.Pool(t, "public", account)
	if err := pgdb.Pipelined(t.Context(), pool, take(3, nil)); err != nil {
		t.Fatal(err)
	}
	refusal := errors.New("no")
	if err := pgdb.Pipelined(t.Context(), pool, take(3, refusal)); !errors.Is(err, refusal) {
		t.Errorf("error %v", err)
	}
	var pg *pgconn.PgError
	if err := pgdb.Pipelined(t.Context(), pool, take(100, nil)); !errors.As(err, &pg) {
		t.Errorf("a write that the last round trip refuses was reported as %v", err)
	}
	if err := pgdb.Pipelined(t.Context(), pool, func(context.Context, *pgdb.Pipeline) error { return nil }); err != nil {
		t.Errorf("nothing to do: %v", err)
	}
	if got := sum(t, pool); got != 7 {
		t.Errorf("sum %d, want 7", got)
	}
	if n := pool.Stat().TotalConns(); n != 1 {
		t.Errorf("%d connections: one was not handed back clean", n)
	}
}

func TestPipelineIsRepeatedWhenPostgreSQLAsks(t *testing.T) {
	pool := testkit.Pool(t, "public", account)
	tries := 0
	err := pgdb.Pipelined(t.Context(), pool, func(ctx context.Context, p *pgdb.Pipeline) error {
		if tries++; tries < 3 {
			p.Queue("DO $$ BEGIN RAISE EXCEPTION 'try again' USING ERRCODE = '40001'; END $$")
			return p.Flush(ctx)
		}
		return take(1, nil)(ctx, p)
	})
	if err != nil || tries != 3 || sum(t, pool) != 9 {
		t.Errorf("%v after %d tries, sum %d", err, tries, sum(t, pool))
	}
}

func TestPipelineSurvivesAPanic(t *testing.T) {
	pool := testkit.Pool(t, "public", account)
	func() {
		defer func() { _ = recover() }()
		_ = pgdb.Pipelined(t.Context(), pool, func(ctx context.Context, p *pgdb.Pipeline) error {
			_ = take(5, nil)(ctx, p)
			panic("bug")
		})
	}()
	if got := sum(t, pool); got != 10 {
		t.Errorf("sum %d after a panic", got)
	}
	if err := pgdb.Pipelined(t.Context(), pool, take(1, nil)); err != nil {
		t.Error(err)
	}
}
