package pg_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// TestOverdueGroupIsStoppedOnce looks at the timers of a fan-out whose time is over while items of it run: what has been
// told to stop must not be told again and again.
func TestOverdueGroupIsStoppedOnce(t *testing.T) {
	c := newColony(t, strings.Replace(fmt.Sprintf(wide, 2), "  script: [work]", "  timeouts: {total: 1h}\n  script: [work]", 1))
	c.end(c.start(1), map[string]string{"hosts": hosts(4)})
	running := c.start(4)
	if _, err := c.pool.Exec(t.Context(), `UPDATE task SET started_at = started_at - interval '2h', ended_at = ended_at - interval '2h',
		overdue_at = overdue_at - interval '2h' WHERE idx < 2`); err != nil {
		t.Fatal(err)
	}
	for round, want := range []int{1, 0} {
		due, err := c.store.Due(t.Context(), nil, 10)
		if err != nil || len(due) != want {
			t.Fatalf("round %d: %d timers are due: %v", round, len(due), err)
		}
		if _, err := c.store.StepIdle(t.Context(), due); err != nil {
			t.Fatal(err)
		}
	}
	if at, now, err := c.store.NextTimer(t.Context()); err != nil || at != nil && at.Before(now) {
		t.Errorf("the next timer is at %v, %v", at, err)
	}
	c.end(running, nil)
	var state, class string
	if err := c.pool.QueryRow(t.Context(), `SELECT state, failure_class FROM task WHERE idx = 1`).Scan(&state, &class); err != nil || state != "FAILED" || class != "timeout" {
		t.Errorf("the group is %s, %s: %v", state, class, err)
	}
	c.audit()
	// An event that was found before changes nothing any more.
	v, err := c.store.StepIdle(t.Context(), []execution.Event{{Kind: execution.TaskOverdue, Execution: c.run.ID, Idx: 1}})
	if err != nil || v[0] != execution.Ignored {
		t.Errorf("%v: %v", v, err)
	}
}
