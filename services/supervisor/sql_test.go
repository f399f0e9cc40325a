package supervisor_test

import (
	"testing"

	"github.com/formicary/formicary/libs/testkit/sqltest"
)

func TestNoValueComesIntoSQL(t *testing.T) {
	const constant = "of constants of the package, or of another one"
	sqltest.Check(t, ".", map[string]string{
		"internal/pg.Invariants":        constant,
		"internal/pg.Lock":              "one of two ways to lock",
		"internal/pg/files.dropCaches":  "its callers give it constants",
		"internal/pg/lease.Claim":       constant,
		"internal/pg/lease.OutputsOf":   constant,
		"internal/pg/table.Unnest":      "names and types of columns, which are constants",
		"internal/pg/table.Update":      "names of columns, which are constants",
		"internal/pg/view.artifactsSQL": "conditions that are constants, and the numbers of arguments: TestFiltersAreArguments",
		"internal/pg/view.Caches":       "one of two conditions that are constants",
	})
}
