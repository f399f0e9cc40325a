package pg_test

import (
	"testing"
	"time"

	"github.com/formicary/formicary/services/supervisor/internal/approval"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

const likeNUL = `job_type: job
tasks:
- task_type: ok
  method: MANUAL
  description: 'a \u0000'
`

// TestTextLikeNULInADefinition asks for approvals whose description looks like what JSON in PostgreSQL cannot hold.
func TestTextLikeNULInADefinition(t *testing.T) {
	c := newColony(t, likeNUL)
	all, err := c.store.Pending(t.Context(), approval.Page{Org: "o", After: approval.Cursor{RequestedAt: time.Unix(0, 0)}, Size: 10})
	if err != nil || len(all) != 1 || all[0].Description != "a \\u0000" {
		t.Errorf("%v, %v", all, err)
	}
	if _, err := c.store.Doubtful(t.Context(), execution.Limits{}, nil, 10); err != nil {
		t.Error(err)
	}
	c.audit()
}
