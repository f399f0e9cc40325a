package jobmanager_test

import (
	"testing"

	"github.com/formicary/formicary/libs/audit"
	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/libs/testkit/plantest"
	jobmanager "github.com/formicary/formicary/services/job-manager"
	"github.com/formicary/formicary/services/job-manager/history"
)

// TestNoStatementReadsTheHistory: what ended long ago must cost nothing.
func TestNoStatementReadsTheHistory(t *testing.T) {
	pool := testkit.Pool(t, jobmanager.Schema, jobmanager.Migrate)
	if err := history.Fill(t.Context(), pool, 40_000); err != nil {
		t.Fatal(err)
	}
	found, err := audit.Run(t.Context(), pool, jobmanager.Invariants())
	if err != nil || len(found) > 0 {
		t.Errorf("the history is not like a real one: %v, %v", found, err)
	}
	plantest.Run(t, pool, plantest.Case{
		Folders: []string{"internal/pg", "internal/pg/db", "../../libs/outbox"},
		Grows:   []string{"request", "definition", "delivery", "epoch", "child_refusal"},
		Allowed: map[string]string{
			"name: LatestRequest":   "the newest of all organisations",
			"name: RequestsInRange": "short prefixes",
		},
		Bounded: map[string]string{
			"job_type":            "the names of jobs",
			"leader":              "one row",
			"gate":                "what is closed now",
			"outbox":              "deleted once it is sent",
			"request_count":       "the names of jobs, by state",
			"request_count_delta": "added up every few seconds",
			"failure":             "what failed within a day",
			"error_rule":          "what people write",
			"error_rule_change":   "one row",
			"fenced_write":        "faults, which people look at one by one",
			"poison":              "faults, which people look at one by one",
			"move":                "the program",
		},
	})
}
