package supervisor_test

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/audit"
	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/libs/testkit/plantest"
	"github.com/formicary/formicary/services/supervisor"
	"github.com/formicary/formicary/services/supervisor/history"
	"github.com/formicary/formicary/services/supervisor/internal/artifact"
	"github.com/formicary/formicary/services/supervisor/internal/pg"
	"github.com/formicary/formicary/services/supervisor/internal/pg/view"
)

// TestNoStatementReadsTheHistory: what ended long ago must cost nothing.
func TestNoStatementReadsTheHistory(t *testing.T) {
	pool := testkit.Pool(t, supervisor.Schema, supervisor.Migrate)
	if err := history.Fill(t.Context(), pool, 20_000); err != nil {
		t.Fatal(err)
	}
	found, err := audit.Run(t.Context(), pool, supervisor.Invariants())
	if err != nil || len(found) > 0 {
		t.Errorf("the history is not like a real one: %v, %v", found, err)
	}
	also := map[string]string{}
	for _, c := range pg.RecentInvariants() {
		also["invariant "+c.Name] = c.SQL
	}
	recorded, ran := plantest.Record(t, pool)
	lists := view.New(recorded, nil)
	for _, f := range []artifact.Filter{{}, {Request: uuid.New()}, {Request: uuid.New(), Run: 1, Task: "build"}, {JobType: "bench-noop"}, {Task: "build"}, {Name: "fixtures-0"}} {
		f.Org, f.Before, f.Limit = "default", time.Now(), 20
		if _, err := lists.Artifacts(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	plantest.Run(t, pool, plantest.Case{
		Ran:     ran,
		Folders: []string{"internal/pg", "internal/pg/db", "internal/pg/files", "../../libs/outbox"},
		Skip:    []string{"invariant.go"}, // the whole audit reads everything; the recent one is judged
		Also:    also,
		Grows:   []string{"execution", "task", "edge", "attempt", "child", "approval", "vote", "output", "artifact"},
		Bounded: map[string]string{
			"slot_release":    "deleted once resource-manager has it",
			"outbox":          "deleted once it is sent",
			"class_wait":      "the classes of tasks that wait",
			"ant_session":     "the ants that there ever were",
			"quarantine":      "faults, which people look at one by one",
			"move":            "the program",
			"pulse":           "one row",
			"artifact_upload": "deleted when an artifact becomes of it, or when it is old",
			"cache":           "deleted when it is old, or when the caches of its organisation have more than their quota",
			"upload":          "deleted when the attempt ends, or with what it named",
			"failure":         "deleted when it is old",
			"notice":          "deleted once job-manager has it",
		},
	})
}
