package pg

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/services/job-manager/internal/pg/db"
	"github.com/formicary/formicary/services/job-manager/internal/request"
	"github.com/formicary/formicary/services/job-manager/migrations"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// history is a schema with many requests of the type "old" in each of the given states.
func history(t *testing.T, each int, states ...request.State) (*pgxpool.Pool, uuid.UUID) {
	t.Helper()
	pool := testkit.Pool(t, "job", func(ctx context.Context, pool *pgxpool.Pool) error {
		return pgdb.Migrate(ctx, pool, "job", migrations.FS)
	})
	parent := uuid.New()
	for _, state := range states {
		fill(t, pool, parent, each, state)
	}
	if _, err := pool.Exec(t.Context(), "VACUUM ANALYZE request"); err != nil {
		t.Fatal(err)
	}
	return pool, parent
}

func fill(t *testing.T, pool *pgxpool.Pool, parent uuid.UUID, n int, state request.State) {
	t.Helper()
	err := pgdb.Tx(t.Context(), pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), `
			INSERT INTO request (id, org_id, job_type, definition_id, definition_version, state, priority, age_at, queued, placement_class, params,
				description, idempotency_key, request_hash, created_by, created_at, updated_at, check_at, parent_request_id, depth)
			SELECT gen_random_uuid(), 'o', 'old', gen_random_uuid(), 1, 'PENDING', 50, now(), false, '', '{}', '', '', '', 'u', now(), now(),
				now() - interval '1 hour', $1, 1
			FROM generate_series(1, $2::int)`, parent, n); err != nil {
			return err
		}
		_, err := tx.Exec(t.Context(), `ALTER TABLE request DISABLE TRIGGER request_move;
			UPDATE request SET state = '`+string(state)+`' WHERE created_at = now(); ALTER TABLE request ENABLE TRIGGER request_move`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// rowsRead is how many rows of request and entries of its indexes f looks at.
func rowsRead(t *testing.T, pool *pgxpool.Pool, f func(tx pgx.Tx) error) (n int64) {
	t.Helper()
	// The counters of a connection hold what it did before, too.
	const counters = `SELECT sum(greatest(pg_stat_get_xact_tuples_returned(oid), pg_stat_get_xact_tuples_fetched(oid)))
		FROM (SELECT 'request'::regclass::oid AS oid UNION ALL SELECT indexrelid FROM pg_index WHERE indrelid = 'request'::regclass) r`
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		var before, after int64
		if err := tx.QueryRow(t.Context(), counters).Scan(&before); err != nil {
			return err
		}
		if err := f(tx); err != nil {
			return err
		}
		err := tx.QueryRow(t.Context(), counters).Scan(&after)
		n = after - before
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestListsReadWhatTheyShow: a page costs a few rows of each state, whatever lies beside them.
func TestListsReadWhatTheyShow(t *testing.T) {
	t.Parallel()
	const limit = 20
	pool, parent := history(t, 4000, request.Completed, request.Failed, request.Pending)
	last := uuid.Max
	for _, f := range []request.Filter{{}, {JobType: "old"}, {Parent: parent}, {Parent: parent, JobType: "old"}} {
		f.OrgID, f.Limit = "o", limit
		filters := [][]request.State{nil, {request.Pending, request.Ready, request.Executing}, {request.Failed, request.Failed, request.Skipped}, request.States()}
		for _, state := range request.States() {
			filters = append(filters, []request.State{state})
		}
		for _, before := range []uuid.UUID{uuid.Nil, last} {
			f.Before = before
			for _, f.States = range filters {
				sql, args := listSQL(f)
				var got []db.Request
				n := rowsRead(t, pool, func(tx pgx.Tx) error {
					rows, err := tx.Query(t.Context(), sql, args...)
					if err != nil {
						return err
					}
					got, err = pgx.CollectRows(rows, pgx.RowToStructByPos[db.Request])
					return err
				})
				if states := max(len(f.States), len(request.States())); n > int64(2*limit*states) {
					t.Errorf("%v reads %d rows", f, n)
				}
				sorted := slices.IsSortedFunc(got, func(a, b db.Request) int { return slices.Compare(b.ID[:], a.ID[:]) })
				some := f.States == nil || slices.ContainsFunc(f.States, func(s request.State) bool {
					return s == request.Completed || s == request.Failed || s == request.Pending
				})
				if !sorted || some != (len(got) == limit) || !some && len(got) > 0 {
					t.Errorf("%v answers with %d rows, sorted %t", f, len(got), sorted)
				}
			}
		}
	}
}

// TestSweepsReadWhatIsDue: neither the backlog nor the history is looked at.
func TestSweepsReadWhatIsDue(t *testing.T) {
	t.Parallel()
	pool, _ := history(t, 5000, request.Completed, request.Pending)
	if _, err := pool.Exec(t.Context(), "UPDATE request SET job_type = 'other' WHERE state = 'PENDING'"); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), "VACUUM ANALYZE request"); err != nil {
		t.Fatal(err)
	}
	n := rowsRead(t, pool, func(tx pgx.Tx) error {
		got, err := db.New(tx).ClaimSilent(t.Context(), db.ClaimSilentParams{Page: 500, SilentAfter: interval(15 * time.Second)})
		if len(got) > 0 {
			t.Errorf("%d requests that never began are asked about", len(got))
		}
		return err
	})
	if n > 100 {
		t.Errorf("the sweep reads %d rows", n)
	}
	n = rowsRead(t, pool, func(tx pgx.Tx) error {
		if _, err := db.New(tx).NextOverdue(t.Context()); err != nil {
			return err
		}
		got, err := db.New(tx).OverdueRequests(t.Context(), 500)
		if len(got) > 0 {
			t.Errorf("%d requests that may wait are overdue", len(got))
		}
		return err
	})
	if n > 10 {
		t.Errorf("the search for overdue requests reads %d rows", n)
	}
	n = rowsRead(t, pool, func(tx pgx.Tx) error {
		_, err := db.New(tx).CountRequests(t.Context(), db.CountRequestsParams{OrgID: "o", JobType: "old", AnyState: true})
		return err
	})
	if n > 0 {
		t.Errorf("a count reads %d requests", n)
	}
	n = rowsRead(t, pool, func(tx pgx.Tx) error {
		_, err := db.New(tx).OpenRequestOf(t.Context(), db.OpenRequestOfParams{OrgID: "o", JobType: "old"})
		if err != pgx.ErrNoRows { //nolint:errorlint // as it comes
			t.Errorf("%v, want none", err)
		}
		return nil
	})
	if n > 20 {
		t.Errorf("the search for an open request reads %d rows", n)
	}
}
