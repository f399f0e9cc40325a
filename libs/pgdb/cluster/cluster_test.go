package cluster_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/formicary/formicary/libs/pgdb/cluster"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shortDir returns a directory that another user may pass, with a short path.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fpg-") //nolint:usetesting // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "pg")
}

func start(t *testing.T, dir string) *cluster.Cluster {
	t.Helper()
	c, err := cluster.Start(t.Context(), cluster.Options{Dir: dir, Throwaway: true})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDataSurvivesARestart(t *testing.T) {
	dir := shortDir(t)
	c := start(t, dir)
	if err := c.EnsureDatabase(t.Context(), "formicary"); err != nil {
		t.Fatal(err)
	}
	if _, err := cluster.Start(t.Context(), cluster.Options{Dir: dir}); err == nil {
		t.Error("a second server on the same directory started")
	}
	conn, err := pgx.Connect(t.Context(), c.DSN("formicary"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "CREATE TABLE kept AS SELECT 7 AS v"); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close(t.Context())
	if err := c.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}

	c = start(t, dir)
	defer c.Stop(context.Background()) //nolint:errcheck // the clean-up outlives the test's context
	if err := c.EnsureDatabase(t.Context(), "formicary"); err != nil {
		t.Fatal(err)
	}
	conn, err = pgx.Connect(t.Context(), c.DSN("formicary"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	var v int
	if err := conn.QueryRow(t.Context(), "SELECT v FROM kept").Scan(&v); err != nil || v != 7 {
		t.Errorf("%d, %v", v, err)
	}
}
