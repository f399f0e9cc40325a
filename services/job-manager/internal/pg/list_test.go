package pg

import (
	"testing"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/testkit/sqltest"
	"github.com/formicary/formicary/services/job-manager/internal/request"
)

func TestFiltersAreArguments(t *testing.T) {
	for _, f := range []request.Filter{{}, {Parent: uuid.Max}, {Before: uuid.Max, States: []request.State{request.Pending, request.Failed}}} {
		sqltest.Fixed(t, func(v string) (string, []any) {
			f.OrgID, f.JobType = v, v
			return listSQL(f)
		})
	}
}
