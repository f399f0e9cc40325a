package pg_test

import (
	"testing"
	"time"

	"github.com/formicary/formicary/services/supervisor/internal/approval"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

const withNUL = `job_type: job
tasks:
- task_type: ok
  method: MANUAL
  description: "a\0b \\u0000"
`

// TestNULInADefinition asks for approvals whose description PostgreSQL cannot hold: nobody else's must suffer.
func TestNULInADefinition(t *testing.T) {
	c := newColony(t, withNUL)
	all, err := c.store.Pending(t.Context(), approval.Page{Org: "o", After: approval.Cursor{RequestedAt: time.Unix(0, 0)}, Size: 10})
	if err != nil || len(all) != 1 || all[0].Description != "a\uFFFDb \\u0000" {
		t.Errorf("%v, %v", all, err)
	}
	if _, err := c.store.Doubtful(t.Context(), execution.Limits{}, nil, 10); err != nil {
		t.Error(err)
	}
	c.audit()
}
