package resourcemanager_test

import (
	"testing"

	"github.com/formicary/formicary/libs/testkit/sqltest"
)

func TestNoValueComesIntoSQL(t *testing.T) {
	sqltest.Check(t, ".", nil)
}
