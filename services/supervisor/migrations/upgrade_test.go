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

// Every row of a run gets the organisation of the run, also those that a replica of the version before writes meanwhile;
// what has no run is nobody's.
func TestRowsGetTheirOrganisation(t *testing.T) {
	pool := testkit.Pool(t, supervisor.Schema, func(ctx context.Context, pool *pgxpool.Pool) error {
		return pgdb.Migrate(ctx, pool, supervisor.Schema, upTo(t, "00129"))
	})
	write := func(prefix string) {
		t.Helper()
		for _, sql := range []string{
			`INSERT INTO execution (id, org_id, request_id, run, job_type, state, age_at, created_at, tasks_total)
				SELECT md5($1 || g)::uuid, 'org' || g % 3, gen_random_uuid(), 1, 'j', 'EXECUTING', now(), now(), 900 FROM generate_series(1, 9) g`,
			`INSERT INTO task (execution_id, idx, name, method, class, state, spec, outputs, ended_at)
				SELECT md5($1 || g)::uuid, i, 't' || i, 'SHELL', CASE i WHEN 1 THEN 'o|SHELL||1' ELSE repeat('x', 700) END, 'COMPLETED', '{}', '{"k": "v"}', now()
				FROM generate_series(1, 10) g, generate_series(1, 2) i`,
			`INSERT INTO edge (execution_id, from_idx, to_idx, kind) SELECT md5($1 || g)::uuid, 1, 2, 'c' FROM generate_series(1, 10) g`,
			`INSERT INTO attempt (uid, execution_id, task_idx, number, state, ant_id, session, lease_until, dispatched_at)
				SELECT gen_random_uuid(), md5($1 || g)::uuid, 1, 1, 'RUNNING', 'x', gen_random_uuid(), now(), now() FROM generate_series(1, 10) g`,
			`UPDATE attempt SET org_id = '', state = 'SUCCEEDED', ended_at = now() WHERE $1 <> ''`,
			`INSERT INTO child (execution_id, task_idx, round, state, due_at, heard_at, created_at) SELECT md5($1 || g)::uuid, 1, 1, 'WANTED', now(), now(), now() FROM generate_series(1, 10) g`,
			`INSERT INTO vote (execution_id, task_idx, round, voter, approve, created_at) SELECT md5($1 || g)::uuid, 1, 1, 'v', true, now() FROM generate_series(1, 10) g`,
			`INSERT INTO upload (attempt_uid, key, given_at) SELECT uid, 'k', now() FROM attempt WHERE $1 <> '' ON CONFLICT DO NOTHING`,
		} {
			if _, err := pool.Exec(t.Context(), sql, prefix); err != nil {
				t.Fatalf("%v in %s", err, sql)
			}
		}
	}
	write("before")
	if err := pgdb.Migrate(t.Context(), pool, supervisor.Schema, upTo(t, "00130")); err != nil {
		t.Fatal(err)
	}
	write("meanwhile")
	if err := pgdb.Migrate(t.Context(), pool, supervisor.Schema, migrations.FS); err != nil {
		t.Fatal(err)
	}
	write("after")
	for table, want := range map[string]int{"task": 54, "edge": 27, "attempt": 27, "child": 27, "vote": 27, "output": 27, "upload": 27} {
		run := "execution_id"
		if table == "upload" {
			run = "(SELECT a.execution_id FROM attempt a WHERE a.uid = x.attempt_uid)"
		}
		var right, nobody, all int
		err := pool.QueryRow(t.Context(), `SELECT count(*) FILTER (WHERE x.org_id = e.org_id), count(*) FILTER (WHERE e.id IS NULL AND x.org_id = '?'), count(*)
			FROM `+table+` x LEFT JOIN execution e ON e.id = `+run).Scan(&right, &nobody, &all)
		if err != nil || right != want || nobody != want/9 || all != right+nobody {
			t.Errorf("%s: %d rows have their organisation, %d have nobody's, of %d, want %d: %v", table, right, nobody, all, want, err)
		}
	}
	var long, other int
	err := pool.QueryRow(t.Context(), `SELECT count(*) FILTER (WHERE length(class) < 500 AND class_text = repeat('x', 700)), count(*) FILTER (WHERE class_text IS NULL AND class = 'o|SHELL||1')
		FROM task`).Scan(&long, &other)
	if err != nil || long != 30 || other != 30 {
		t.Errorf("%d long classes, %d others: %v", long, other, err)
	}
}
