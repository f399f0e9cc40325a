package audit

import (
	"context"
	"maps"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/formicary/formicary/libs/audit"
	"github.com/formicary/formicary/libs/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func TestPairs(t *testing.T) {
	settled := func(state string) (request, execution) {
		end := state == "COMPLETED" || state == "FAILED" || state == "CANCELLED"
		return request{"r", "default", state, 1, end, true}, execution{"r", "default", state, 1, end, true}
	}
	r, e := settled("COMPLETED")
	running, running2 := settled("EXECUTING")
	failed, failed2 := settled("FAILED")
	young := r
	young.quiet = false
	foreign := e
	foreign.org = "other"
	for _, c := range []struct {
		name string
		r    request
		e    execution
		want string
	}{
		{"both ended", r, e, ""},
		{"both run", running, running2, ""},
		{"request ended alone", r, running2, "terminal_request_terminal_execution"},
		{"request ended alone a moment ago", young, running2, ""},
		{"execution ended alone", running, e, "terminal_execution_terminal_request"},
		{"different ends", failed, e, "same_outcome"},
		{"the same failure", failed, failed2, ""},
		{"different owners", r, foreign, "same_org"},
	} {
		var f findings
		f.pair(c.r, c.e)
		got := ""
		if len(f.list) > 0 {
			got = f.list[0].Check
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestRequestsWithoutExecution(t *testing.T) {
	for state, want := range map[string]int{"PENDING": 0, "CANCELLED": 0, "COMPLETED": 1, "FAILED": 1} {
		var f findings
		f.alone(request{"r", "default", state, 1, state != "PENDING", true})
		if len(f.list) != want {
			t.Errorf("%s without execution: %v", state, f.list)
		}
	}
	var f findings
	f.other(request{"r", "default", "PENDING", 1, false, true}, execution{"r", "default", "FAILED", 2, true, true})
	f.orphan(execution{"x", "default", "READY", 1, false, true})
	if len(f.list) != 2 {
		t.Errorf("executions of unknown runs: %v", f.list)
	}
}

func TestFindingsOfAKindAreBounded(t *testing.T) {
	var f findings
	for range 3 * mostOfAKind {
		f.orphan(execution{quiet: true})
	}
	if len(f.list) != mostOfAKind {
		t.Errorf("kept %d findings", len(f.list))
	}
}

func TestWalk(t *testing.T) {
	r := func(id, state string) request { return request{id, "o", state, 2, state == "COMPLETED", true} }
	e := func(id, state string, run int) execution {
		return execution{id, "o", state, run, state == "COMPLETED", true}
	}
	var f findings
	f.walk(
		[]request{r("b", "COMPLETED"), r("d", "COMPLETED"), r("e", "EXECUTING")},
		[]execution{e("a", "COMPLETED", 1), e("b", "COMPLETED", 1), e("b", "COMPLETED", 2), e("e", "READY", 3), e("f", "READY", 1)},
	)
	var got []string
	for _, v := range f.list {
		got = append(got, v.Check)
	}
	want := []string{"execution_of_known_run", "terminal_request_terminal_execution", "execution_of_known_run", "execution_of_known_run"}
	if !slices.Equal(got, want) {
		t.Errorf("%v", f.list)
	}
}

// TestOneBrokenComparisonEndsNoOther audits schemas of which one lacks its tables.
func TestOneBrokenComparisonEndsNoOther(t *testing.T) {
	empty := func(sql string) *pgxpool.Pool {
		return testkit.Pool(t, "public", func(ctx context.Context, p *pgxpool.Pool) error {
			_, err := p.Exec(ctx, sql)
			return err
		})
	}
	pools := map[string]*pgxpool.Pool{
		"job":       empty("CREATE TABLE outbox (created_at timestamptz); INSERT INTO outbox VALUES ('2020-01-01')"),
		"execution": empty(`CREATE TABLE attempt (uid uuid, state text)`),
		"resource":  empty(`CREATE TABLE hold (attempt_uid uuid, created_at timestamptz); INSERT INTO hold VALUES (gen_random_uuid(), '2020-01-01')`),
	}
	all := []owner{{"job-manager", "job", []audit.Check{{Name: "broken", SQL: "SELECT nonsense"}, {Name: "found", SQL: "SELECT 'x'"}}}}
	report := inspect(t.Context(), all, stores{pools: pools})
	names := map[string]bool{}
	for _, v := range report.Violations {
		names[v.Check] = true
	}
	for _, f := range report.Failures {
		names["failed "+f.Check] = true
	}
	want := map[string]bool{"found": true, "outbox_age": true, "hold_names_live_attempt": true, "failed broken": true, "failed requests and executions": true, "failed artifacts and objects": true, "failed caches and objects": true, "failed job_secrets_open": true}
	if !maps.Equal(names, want) {
		t.Errorf("%+v", report)
	}
}
