package jobmanager_test

import (
	"testing"

	"github.com/formicary/formicary/libs/testkit/sqltest"
)

func TestNoValueComesIntoSQL(t *testing.T) {
	sqltest.Check(t, ".", map[string]string{
		"internal/pg.listSQL": "conditions and states that are constants, and the numbers of arguments: TestFiltersAreArguments",
	})
}
