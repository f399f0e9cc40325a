package supervisor_test

import (
	"testing"

	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/libs/testkit/tenanttest"
	"github.com/formicary/formicary/services/supervisor"
)

func TestRowsOfOrganisationsAreKeptApart(t *testing.T) {
	tenanttest.Run(t, testkit.Pool(t, supervisor.Schema, supervisor.Migrate), map[string]string{
		"slot_release": "ids of attempts whose slots resource-manager gets back",
		"ant_session":  "ants, which may work for several",
		"quarantine":   "faults, which those who run the colony look at",
		"failure":      "counts of faults",
		"move":         "the program",
		"pulse":        "what the replicas share, one row",
		"outbox":       "messages that are under way, which nobody asks for",
		"notice":       "what is told to job-manager, which nobody else asks for",
	})
}
