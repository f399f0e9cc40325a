package pgdb_test

import (
	"context"
	"fmt"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/libs/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func nothing(context.Context, *pgxpool.Pool) error { return nil }

// TestSchemasMigrateSideBySide: schemas of one database must not wait for each other's lock, whose retries are whole
// seconds apart; replicas of one schema must, and both succeed.
func TestSchemasMigrateSideBySide(t *testing.T) {
	pool := testkit.Pool(t, "public", nothing)
	steps := fstest.MapFS{"00001_a.sql": {Data: []byte("-- +goose Up\nCREATE TABLE a (id int);\nSELECT pg_sleep(0.2);\n")}}
	began := time.Now()
	g, ctx := errgroup.WithContext(t.Context())
	for i := range 4 {
		own, err := pgdb.Open(ctx, pool.Config().ConnString(), pgdb.Options{Name: "test", Schema: fmt.Sprintf("s%d", i), MaxConns: 2})
		if err != nil {
			t.Fatal(err)
		}
		defer own.Close()
		g.Go(func() error { return pgdb.Migrate(ctx, own, fmt.Sprintf("s%d", i), steps) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 2500*time.Millisecond {
		t.Errorf("four schemas took %s", took)
	}
}
