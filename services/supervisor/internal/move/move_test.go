package move_test

import (
	"cmp"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/services/supervisor"
	"github.com/formicary/formicary/services/supervisor/internal/move"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func TestMovesAreThoseOfTheSchema(t *testing.T) {
	pool := testkit.Pool(t, supervisor.Schema, supervisor.Migrate)
	rows, err := pool.Query(t.Context(), `SELECT entity, from_state, to_state FROM move`)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := pgx.CollectRows(rows, pgx.RowToStructByPos[move.Move])
	if err != nil {
		t.Fatal(err)
	}
	order := func(a, b move.Move) int {
		return cmp.Or(cmp.Compare(a.Entity, b.Entity), cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	}
	want := move.All()
	slices.SortFunc(stored, order)
	slices.SortFunc(want, order)
	if !slices.Equal(stored, want) {
		t.Errorf("stored moves %v\nwant %v", stored, want)
	}
	allowed := map[move.Move]bool{}
	states := map[string][]string{}
	for _, m := range want {
		allowed[m] = true
		for _, s := range []string{m.From, m.To} {
			if !slices.Contains(states[m.Entity], s) {
				states[m.Entity] = append(states[m.Entity], s)
			}
		}
	}
	_, err = pool.Exec(t.Context(), `
		INSERT INTO execution (id, org_id, request_id, run, job_type, state, age_at, created_at) VALUES (gen_random_uuid(), 'o', gen_random_uuid(), 1, 'j', 'READY', now(), now());
		INSERT INTO task (execution_id, idx, name, method, class, state, spec) SELECT id, 0, 't', 'SHELL', 'c', 'BLOCKED', '{}' FROM execution;
		INSERT INTO attempt (uid, execution_id, task_idx, number, state, ant_id, session, lease_until, dispatched_at)
			SELECT gen_random_uuid(), id, 0, 1, 'DISPATCHED', 'a', gen_random_uuid(), now(), now() FROM execution;
		INSERT INTO child (execution_id, task_idx, round, state, due_at, heard_at, created_at) SELECT id, 0, 1, 'WANTED', now(), now(), now() FROM execution;
		INSERT INTO approval (execution_id, task_idx, round, org_id, state, policy, requested_at) SELECT id, 0, 1, 'o', 'PENDING', '{}', now() FROM execution`)
	if err != nil {
		t.Fatal(err)
	}
	for entity, all := range states {
		for _, from := range all {
			for _, to := range all {
				if from == to {
					continue
				}
				m := move.Move{Entity: entity, From: from, To: to}
				// The state is set past the guard first.
				b := &pgx.Batch{}
				table := pgx.Identifier{entity}.Sanitize()
				b.Queue(`ALTER TABLE ` + table + ` DISABLE TRIGGER legal_move`)
				b.Queue(`UPDATE `+table+` SET state = $1`, from)
				b.Queue(`ALTER TABLE ` + table + ` ENABLE TRIGGER legal_move`)
				if err := pool.SendBatch(t.Context(), b).Close(); err != nil {
					t.Fatal(err)
				}
				_, err := pool.Exec(t.Context(), `UPDATE `+table+` SET state = $1`, to)
				if (err == nil) != allowed[m] {
					t.Errorf("%v: allowed %v, got %v", m, allowed[m], err)
				}
			}
		}
	}
}
