package migrations_test

import (
	"context"
	"io/fs"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/services/supervisor"
	"github.com/formicary/formicary/services/supervisor/migrations"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// upTo are the steps up to one.
func upTo(t *testing.T, last string) fs.FS {
	t.Helper()
	steps := fstest.MapFS{}
	files, err := fs.Glob(migrations.FS, "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f[:5] > last {
			break
		}
		raw, err := fs.ReadFile(migrations.FS, f)
		if err != nil {
			t.Fatal(err)
		}
		steps[f] = &fstest.MapFile{Data: raw}
	}
	return steps
}

// A database of the first steps has runs, and replicas that work on them: the outputs of every run are taken over, and
// a run that somebody holds keeps none of the others.
func TestOutputsOfOldRunsAreTakenOver(t *testing.T) {
	pool := testkit.Pool(t, supervisor.Schema, func(ctx context.Context, pool *pgxpool.Pool) error {
		return pgdb.Migrate(ctx, pool, supervisor.Schema, upTo(t, "00003"))
	})
	_, err := pool.Exec(t.Context(), `INSERT INTO execution (id, org_id, request_id, run, job_type, state, age_at, created_at, ended_at)
			SELECT ('00000000-0000-7000-8000-00000000000' || g)::uuid, 'o', gen_random_uuid(), 1, 'j', 'EXECUTING', now(), now(),
				CASE g WHEN 3 THEN now() - interval '1 hour' WHEN 4 THEN now() - interval '2 days' END
			FROM generate_series(1, 5) g`)
	if err != nil {
		t.Fatal(err)
	}
	_, err = pool.Exec(t.Context(), `INSERT INTO task (execution_id, idx, name, method, class, state, spec, outputs, ended_at)
		SELECT e.id, g, 't' || g, 'SHELL', 'o|SHELL||1', CASE g WHEN 4 THEN 'FAILED' ELSE 'COMPLETED' END, '{}',
			json_build_object('same', g::text, 'own' || g, 'é'), now() - interval '1 minute' * g
		FROM execution e, generate_series(1, 4) g`)
	if err != nil {
		t.Fatal(err)
	}
	if err := pgdb.Migrate(t.Context(), pool, supervisor.Schema, upTo(t, "00031")); err != nil {
		t.Fatal(err)
	}
	step, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = step.Rollback(context.WithoutCancel(t.Context())) }()
	for _, sql := range []string{
		`SELECT FROM execution WHERE id = '00000000-0000-7000-8000-000000000005' FOR NO KEY UPDATE`,
		`INSERT INTO output VALUES ('00000000-0000-7000-8000-000000000005', 'same', 'x', 1, 9, now())`,
	} {
		if _, err := step.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan error, 1)
	go func() { done <- pgdb.Migrate(t.Context(), pool, supervisor.Schema, migrations.FS) }()
	testkit.Eventually(t, time.Minute, "the others are done while one is held", func() bool {
		select {
		case err := <-done:
			t.Fatal(err)
		default:
		}
		var n int
		_, _ = step.Exec(t.Context(), `SELECT 1`) // it is not idle
		return pool.QueryRow(t.Context(), `SELECT count(DISTINCT execution_id) FROM output`).Scan(&n) == nil && n == 3
	})
	if err := step.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	var runs, names, right int
	err = pool.QueryRow(t.Context(), `SELECT count(DISTINCT execution_id), count(*), count(*) FILTER (WHERE name = 'same' AND value = '1' AND task_idx = 1 AND bytes = 1
		OR name = 'own' || task_idx AND value = 'é' AND bytes = 2) FROM output WHERE execution_id <> '00000000-0000-7000-8000-000000000004'`).Scan(&runs, &names, &right)
	if err != nil || runs != 4 || names != 16 || right != 16 {
		t.Errorf("%d runs with %d outputs, %d of them right: %v", runs, names, right, err)
	}
}
