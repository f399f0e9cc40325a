package jobmanager_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/formicary/formicary/libs/audit"
	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/libs/testkit/plantest"
	jobmanager "github.com/formicary/formicary/services/job-manager"
	"github.com/formicary/formicary/services/job-manager/history"
	"github.com/formicary/formicary/services/job-manager/internal/pg"
	"github.com/formicary/formicary/services/job-manager/internal/request"
)

// fillConfigs stores secrets of many users and parameters of many requests, under two keys.
func fillConfigs(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	for _, sql := range []string{
		`INSERT INTO config SELECT gen_random_uuid(), 'small-' || i % 50, 'user', 'u' || i, 'TOKEN', 'string', '', true, 1, '', i, now(), now(), 'u' FROM generate_series(1, 10000) i`,
		`INSERT INTO sealed SELECT org_id, level || '/' || owner, name, 1, NULL, 'k' || (random() > 0.5)::int, '', '', now(), 'u' FROM config`,
		`INSERT INTO sealed SELECT org_id, 'request/' || id, 'PASS', 0, id, 'k1', '', '', now(), 'u' FROM (SELECT * FROM request LIMIT 10000) r`,
		`ANALYZE config`, `ANALYZE sealed`,
	} {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNoStatementReadsTheHistory: what ended long ago must cost nothing.
func TestNoStatementReadsTheHistory(t *testing.T) {
	pool := testkit.Pool(t, jobmanager.Schema, jobmanager.Migrate)
	if err := history.Fill(t.Context(), pool, 40_000); err != nil {
		t.Fatal(err)
	}
	fillConfigs(t, pool)
	found, err := audit.Run(t.Context(), pool, jobmanager.Invariants())
	if err != nil || len(found) > 0 {
		t.Errorf("the history is not like a real one: %v, %v", found, err)
	}
	recorded, ran := plantest.Record(t, pool)
	lists := pg.New(recorded, nil, 0)
	for _, states := range [][]request.State{nil, {request.Failed}, {request.Pending, request.Ready, request.Executing}, request.States()} {
		for _, f := range []request.Filter{{}, {JobType: "bench-noop"}, {Parent: uuid.New()}, {Before: uuid.Max}} {
			f.OrgID, f.States, f.Limit = "default", states, 20
			if _, err := lists.List(t.Context(), f); err != nil {
				t.Fatal(err)
			}
		}
	}
	plantest.Run(t, pool, plantest.Case{
		Folders: []string{"internal/pg", "internal/pg/db", "../../libs/outbox"},
		Grows:   []string{"request", "definition", "delivery", "epoch", "child_refusal", "config", "sealed"},
		Ran:     ran,
		Bounded: map[string]string{
			"job_type":            "the names of jobs",
			"leader":              "one row",
			"gate":                "what is closed now",
			"outbox":              "deleted once it is sent",
			"error_rule":          "what people write",
			"error_rule_change":   "one row",
			"config_change":       "one row",
			"fenced_write":        "faults, which people look at one by one",
			"poison":              "faults, which people look at one by one",
			"move":                "the program",
			"request_count":       "the names of jobs, by state",
			"quota":               "what administrators write",
			"request_count_delta": "added up every few seconds",
			"failure":             "what failed within a day",
		},
		Allowed: map[string]string{
			"GROUP BY key_id":        "people ask for it, and each pass of a rotation",
			"SELECT DISTINCT key_id": "the auditor's",
		},
	})
}
