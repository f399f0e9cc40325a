package pg_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/formicary/formicary/services/supervisor/internal/execution"
	"github.com/formicary/formicary/services/supervisor/internal/step"
	"github.com/formicary/formicary/services/supervisor/internal/step/steptest"
)

// Of what is kept the newest comes first, and each run has its own room.
func TestKeptItemsAreBoundedPerRun(t *testing.T) {
	c := newColony(t, steptest.Job)
	other := steptest.NewRun(t, steptest.Job, 1)
	if _, err := c.store.Launch(t.Context(), []*execution.NewRun{other}, time.Time{}, nil); err != nil {
		t.Fatal(err)
	}
	groups := []step.KeptGroup{{Key: c.run.Key, Name: "work"}, {Key: other.Key, Name: "work"}}
	for i, n := range []int{5, 3} {
		if _, err := c.pool.Exec(t.Context(), `WITH e AS (SELECT id FROM execution WHERE request_id = $1),
			g AS (UPDATE task SET items = json_build_object('first', 4, 'total', $2::int) FROM e WHERE execution_id = e.id AND idx = 1)
			INSERT INTO task (execution_id, idx, name, method, class, state, spec, attempts, started_at, ended_at, ready_at, group_idx, item, item_value, outputs)
			SELECT id, 3 + g, 'work[' || g || ']', 'SHELL', 'c', 'COMPLETED', '{}', 1, now(), now() - g * interval '1 second', now(), 1, g - 1, to_json(g),
				json_build_object('A', repeat('a', 10000000)) FROM e, generate_series(1, $2::int) g`, groups[i].Request, n); err != nil {
			t.Fatal(err)
		}
	}
	err := c.store.Transact(t.Context(), func(ctx context.Context, tx step.Tx) error {
		l, err := tx.Load(ctx, &step.Needs{Kept: groups})
		if err != nil {
			return err
		}
		for i, g := range groups {
			var names []string
			for name := range l.Kept[g] {
				names = append(names, name)
			}
			slices.Sort(names)
			if want := []string{"work[1]", "work[2]", "work[3]"}; !slices.Equal(names, want) {
				t.Errorf("of run %d are kept %v, want %v", i, names, want)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
