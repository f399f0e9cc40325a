package pgdb_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/libs/testkit"
)

type orgKey struct{}

func orgOf(ctx context.Context) string {
	org, _ := ctx.Value(orgKey{}).(string)
	return org
}

// A connection sees the rows of whoever took it last, and nothing when nobody has said.
func TestConnectionsSeeTheRowsOfTheirOrganisation(t *testing.T) {
	dsn := testkit.Pool(t, "public", func(ctx context.Context, pool *pgxpool.Pool) error {
		_, err := pool.Exec(ctx, `CREATE TABLE thing (id int, org_id text); ALTER TABLE thing ENABLE ROW LEVEL SECURITY; ALTER TABLE thing FORCE ROW LEVEL SECURITY;
			CREATE POLICY tenant ON thing USING ((SELECT current_setting('app.org', true)) IN ('*', org_id));
			INSERT INTO thing VALUES (1, 'a'), (2, 'a'), (3, 'b')`)
		return err
	}).Config().ConnString()
	open := func(org func(context.Context) string) *pgxpool.Pool {
		pool, err := pgdb.Open(t.Context(), dsn, pgdb.Options{Name: "test", MaxConns: 1, Org: org})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		return pool
	}
	pool := open(orgOf)
	as := func(org string) context.Context { return context.WithValue(t.Context(), orgKey{}, org) }
	for _, c := range []struct {
		ctx  context.Context
		want int
	}{
		{as("a"), 2}, {as("a"), 2}, {as("b"), 1}, {pgdb.OwnWork(as("b")), 3}, {as("b"), 1}, {as(""), 0}, {as("c"), 0}, {as("'"), 0}, {as("a"), 2},
	} {
		if n := count(t, pool, c.ctx); n != c.want {
			t.Errorf("%q sees %d rows, want %d", orgOf(c.ctx), n, c.want)
		}
	}
	tx, err := pool.Begin(as("b")) // what a transaction that is rolled back was told stays told
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := count(t, pool, as("a")); n != 2 {
		t.Errorf("after a rollback: %d", n)
	}
	if n := count(t, open(nil), as("a")); n != 0 {
		t.Errorf("nobody says whose rows: %d are seen", n)
	}
	if n := count(t, open(pgdb.Everyone), as("a")); n != 3 {
		t.Errorf("everyone's: %d", n)
	}
	beside, err := pgdb.Beside(t.Context(), pool, "beside", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer beside.Close()
	if n := count(t, beside, as("b")); n != 1 {
		t.Errorf("beside: %d", n)
	}
}

func count(t *testing.T, pool *pgxpool.Pool, ctx context.Context) (n int) {
	t.Helper()
	if err := pool.QueryRow(ctx, `SELECT count(*) FROM thing`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
