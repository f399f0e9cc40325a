package pg

import (
	"context"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/services/job-manager/internal/request"
	"github.com/formicary/formicary/services/job-manager/migrations"
)

// before returns the migrations below a number.
func before(t *testing.T, number string) fs.FS {
	t.Helper()
	names, err := fs.Glob(migrations.FS, "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	old := fstest.MapFS{}
	for _, name := range names {
		if text, err := fs.ReadFile(migrations.FS, name); err == nil && strings.Compare(name, number) < 0 {
			old[name] = &fstest.MapFile{Data: text}
		}
	}
	return old
}

// TestCountsBeginWithTheHistory migrates a schema that was used before there were counts.
func TestCountsBeginWithTheHistory(t *testing.T) {
	t.Parallel()
	migrate := func(steps fs.FS) func(context.Context, *pgxpool.Pool) error {
		return func(ctx context.Context, pool *pgxpool.Pool) error { return pgdb.Migrate(ctx, pool, "job", steps) }
	}
	pool := testkit.Pool(t, "job", migrate(before(t, "00010")))
	fill(t, pool, uuid.New(), 300, request.Completed)
	fill(t, pool, uuid.New(), 200, request.Failed)
	if err := migrate(before(t, "00011"))(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	fill(t, pool, uuid.New(), 100, request.Failed) // counted by the triggers already
	if err := migrate(migrations.FS)(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	counts(t, pool, map[request.State]int{request.Completed: 300, request.Failed: 300, request.Pending: 0})
}

// TestCountsAreAddedUp while requests are written and other replicas add up, too.
func TestCountsAreAddedUp(t *testing.T) {
	t.Parallel()
	pool, _ := history(t, 1, request.Completed)
	s := New(pool, nil, 0)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for range 5 {
				fill(t, pool, uuid.New(), 3, request.Failed)
				if err := s.AddUp(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if _, err := pool.Exec(t.Context(), "DELETE FROM request WHERE state = 'COMPLETED'"); err != nil {
		t.Fatal(err)
	}
	if err := s.AddUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	counts(t, pool, map[request.State]int{request.Completed: 0, request.Failed: 45})
	var left int
	if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM request_count_delta").Scan(&left); err != nil || left != 0 {
		t.Errorf("%d changes are left, %v", left, err)
	}
}

func counts(t *testing.T, pool *pgxpool.Pool, want map[request.State]int) {
	t.Helper()
	s, total := New(pool, nil, 0), 0
	for state, n := range want {
		total += n
		if got, err := s.Count(t.Context(), "o", "old", []request.State{state}); err != nil || got != n {
			t.Errorf("%d in %s, want %d, %v", got, state, n, err)
		}
	}
	if got, err := s.Count(t.Context(), "o", "old", nil); err != nil || got != total {
		t.Errorf("%d in all, want %d, %v", got, total, err)
	}
}
