package jobmanager_test

import (
	"testing"

	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/libs/testkit/tenanttest"
	jobmanager "github.com/formicary/formicary/services/job-manager"
)

func TestRowsOfOrganisationsAreKeptApart(t *testing.T) {
	tenanttest.Run(t, testkit.Pool(t, jobmanager.Schema, jobmanager.Migrate), map[string]string{
		"move":              "the program",
		"leader":            "the scheduler that leads, one row",
		"epoch":             "the schedulers that have led",
		"fenced_write":      "faults, which those who run the colony look at",
		"poison":            "faults, which those who run the colony look at",
		"failure":           "counts of faults",
		"outbox":            "messages that are under way, which nobody asks for",
		"child_refusal":     "keys of forks that were cancelled, which supervisor asks for",
		"error_rule_change": "how often rules changed, one row",
		"config_change":     "how often configs changed, one row",
	}, "gate", "config", "sealed")
}
