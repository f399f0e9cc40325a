package pg_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// A row that is gone must end the step that asks for it: to ask again and again would hold the run's lock for ever.
func TestAMissingRowEndsTheStep(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ sql, want string }{
		"the next item":         {`DELETE FROM task WHERE item = 2`, "has no task 5"},
		"the group":             {`DELETE FROM task WHERE name = 'work'`, "has no task 1"},
		"the task of an edge":   {`DELETE FROM task WHERE name = 'last'`, "has no task 2"},
		"the items of its list": {`DELETE FROM task WHERE item > 0`, "has no task"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newColony(t, fmt.Sprintf(wide, 2))
			c.end(c.start(1), map[string]string{"hosts": hosts(4)})
			placed := c.start(2)
			if name == "the task of an edge" {
				c.end(placed, nil)
				placed = c.start(2)
			}
			if _, err := c.pool.Exec(t.Context(), tt.sql); err != nil {
				t.Fatal(err)
			}
			events := make([]execution.Event, len(placed))
			for i, p := range placed {
				events[i] = execution.Event{Kind: execution.AttemptEnded, UID: p.UID, End: execution.End{
					Ant: c.ant, Digest: p.UID[:], Outcome: engine.Outcome{State: engine.AttemptSucceeded},
				}}
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if _, err := c.store.Step(ctx, events); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}
