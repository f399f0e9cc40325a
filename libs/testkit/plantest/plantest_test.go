package plantest

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/formicary/formicary/libs/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// past is a table with a history of 100,000 rows.
func past(ctx context.Context, pool *pgxpool.Pool) error {
	_, err := pool.Exec(ctx, `
		CREATE TABLE past (id bigint PRIMARY KEY, owner text NOT NULL, state text NOT NULL, at timestamptz NOT NULL, note text NOT NULL);
		CREATE INDEX past_live ON past (at) WHERE state = 'LIVE';
		CREATE INDEX past_owner ON past (owner, id);
		CREATE TABLE forgotten (id int);
		INSERT INTO past SELECT i, 'o' || i % 500, 'ENDED', now(), 'note ' || i FROM generate_series(1, 100000) i;
		ANALYZE`)
	return err
}

// TestWhatReadsTheHistoryIsFound judges the statements of testdata.
func TestWhatReadsTheHistoryIsFound(t *testing.T) {
	pool := testkit.Pool(t, "public", past)
	s, err := readSchema(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	if faults := s.classify(Case{Grows: []string{"past", "missing"}}); len(faults) != 2 {
		t.Errorf("%v, want the table that nobody classified and the one that does not exist", faults)
	}
	all, err := find([]string{"testdata"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	bad := map[string]string{
		"WHERE state = $1":                     "reads all of ",
		"owner = $1 AND note = $2":             "reads much of past",
		"id > $1 AND id < $2":                  "reads a range of past",
		"b.note = 'x'":                         "reads all of ",
		"WHERE note = $1":                      "reads all of ",
		"SELECT id FROM past WHERE owner = $1": "reads much of past",
	}
	judged := 0
	for _, st := range all {
		p, err := explain(t.Context(), pool, st.sql)
		if err != nil {
			if !st.part && !st.open {
				t.Errorf("%s: %v", st.sql, err)
			}
			continue
		}
		judged++
		why := strings.Join(s.judge(p), "; ")
		want := ""
		for part, w := range bad {
			if strings.Contains(st.sql, part) && (part != "SELECT id FROM past WHERE owner = $1" || st.sql == part) {
				want = w
			}
		}
		if (want == "") != (why == "") || !strings.Contains(why, want) {
			t.Errorf("%s\ngot %q, want %q", st.sql, why, want)
		}
	}
	if judged != 11 {
		t.Errorf("%d statements were judged, want 11", judged)
	}
	open := slices.DeleteFunc(all, func(st statement) bool { return !st.open })
	if len(open) != 2 {
		t.Errorf("%v are put together at run time, want 2", open)
	}
}

// TestRecordKeepsWhatRan compares what ran with what the source shows of it.
func TestRecordKeepsWhatRan(t *testing.T) {
	pool, ran := Record(t, testkit.Pool(t, "public", past))
	if _, err := pool.Exec(t.Context(), `SELECT id FROM past WHERE id IN (1, 2)`); err != nil {
		t.Fatal(err)
	}
	if !ran.began("SELECT id FROM past WHERE id IN (") || ran.began("SELECT id FROM past WHERE owner") {
		t.Errorf("%v", ran.seen())
	}
}

func TestPoliciesAreNoFilters(t *testing.T) {
	for filter, want := range map[string]string{
		"(($0 = '*'::text) OR ($0 = org_id))":                                                         "",
		"((($0 = '*'::text) OR ($0 = org_id)) AND (state = 'LIVE'::text))":                            "(state = 'LIVE'::text)",
		"((state = 'LIVE'::text) AND (($1 = '*'::text) OR ($1 = t.org_id)))":                          "(state = 'LIVE'::text)",
		"((((InitPlan 2).col1 = '*'::text) OR ((InitPlan 2).col1 = org_id)) AND (a = 1) AND (b = 2))": "((a = 1) AND (b = 2))",
		"((a = 1) OR (b = 2))": "((a = 1) OR (b = 2))",
	} {
		if got := withoutPolicy(filter); got != want {
			t.Errorf("%s: %q, want %q", filter, got, want)
		}
	}
}
