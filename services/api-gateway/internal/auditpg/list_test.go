package auditpg

import (
	"testing"
	"time"

	"github.com/formicary/formicary/libs/testkit/sqltest"
	"github.com/formicary/formicary/services/api-gateway/internal/auditlog"
)

func TestFiltersAreArguments(t *testing.T) {
	sqltest.Fixed(t, func(v string) (string, []any) {
		return listSQL(auditlog.Filter{Org: v, Actor: v, Action: v, ObjectKind: v, ObjectID: v, Outcome: auditlog.Outcome(v), Since: time.Now(), Until: time.Now(), Before: 1, After: 1})
	})
	sqltest.Fixed(t, func(v string) (string, []any) { return listSQL(auditlog.Filter{Action: v, Oldest: true}) })
}
