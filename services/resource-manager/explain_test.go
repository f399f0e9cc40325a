package resourcemanager_test

import (
	"testing"

	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/libs/testkit/plantest"
	resourcemanager "github.com/formicary/formicary/services/resource-manager"
)

// TestNoTableGrows: the schema holds what is live, so that its statements may read whole tables. A table that keeps a
// history has to be told here, and is then judged.
func TestNoTableGrows(t *testing.T) {
	plantest.Run(t, testkit.Pool(t, "resource", resourcemanager.Migrate), plantest.Case{
		Folders: []string{"internal/pg", "internal/pg/db"},
		Bounded: map[string]string{
			"ant":          "the ants of the colony",
			"ant_identity": "the ants of the colony; deleted a month after their last certificate has ended",
			"join_token":   "deleted after a day",
			"hold":         "deleted when its attempt ends",
			"slot_wait":    "one row",
		},
	})
}
