package pg_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/formicary/formicary/libs/audit"
	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/value"
	"github.com/formicary/formicary/libs/outbox"
	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/services/supervisor"
	"github.com/formicary/formicary/services/supervisor/internal/definition"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
	"github.com/formicary/formicary/services/supervisor/internal/pg"
	"github.com/formicary/formicary/services/supervisor/internal/pg/lease"
	"github.com/formicary/formicary/services/supervisor/internal/step"
)

// listener hears of commits and sends nothing.
type listener struct{ last *execution.Changes }

func (*listener) Messages(*execution.Changes) ([]outbox.Message, error) { return nil, nil }

func (l *listener) Committed(c *execution.Changes, _ []outbox.Message) { l.last = c }

// runs are the rows and what happens to them, as the service puts them together.
type runs struct {
	*pg.Store
	*leases
	*step.Stepper
}

type leases = lease.Store

func newRuns(pool, leases, reads *pgxpool.Pool, l pg.Listener, d step.Definitions) runs {
	rows := pg.New(pool, reads, l)
	return runs{rows, lease.New(pool, leases, l, rows.Saw), step.New(rows, d, slog.New(slog.DiscardHandler))}
}

// one gives the same definition for every id.
type one struct{ def *jobspec.Definition }

func (o one) Definition(context.Context, string, string) (*jobspec.Definition, error) {
	return o.def, nil
}

// colony is a store with a run of a job whose second task fans out over what the first has found.
type colony struct {
	t        testing.TB
	pool     *pgxpool.Pool
	store    runs
	listener *listener
	run      *execution.NewRun
	ant      string
	sess     uuid.UUID
}

const wide = `job_type: job
tasks:
- task_type: find
  method: SHELL
  script: [find]
  on_completed: work
- task_type: work
  method: SHELL
  fan_out: {source: hosts, item_var: host, max_parallel: %d}
  script: [work]
  on_completed: last
- task_type: last
  method: SHELL
  script: [last]
`

func newColony(t testing.TB, text string) *colony {
	t.Helper()
	def, _, err := jobspec.Parse("job.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	plan, err := def.Plan(value.Vars{})
	if err != nil {
		t.Fatal(err)
	}
	pool := testkit.Pool(t, supervisor.Schema, supervisor.Migrate)
	l := &listener{}
	c := &colony{
		t: t, pool: pool, listener: l, ant: "ant1", sess: uuid.New(),
		store: newRuns(pool, pool, pool, l, definition.NewCache(one{def})),
	}
	now := time.Now()
	c.run = &execution.NewRun{
		Run:   execution.Run{ID: uuid.New(), Key: execution.Key{Request: uuid.New(), Run: 1}, Org: "o", JobType: "job", Definition: uuid.NewString(), AgeAt: now},
		State: engine.New(engine.Begin{Run: 1, Plan: plan}, now),
	}
	if _, err := c.store.Launch(t.Context(), []*execution.NewRun{c.run}, time.Time{}, nil); err != nil {
		t.Fatal(err)
	}
	return c
}

// start dispatches and claims up to limit READY tasks and returns their attempts.
func (c *colony) start(limit int) []execution.Placed {
	c.t.Helper()
	window, err := c.store.Heads(c.t.Context(), "", nil, limit)
	heads := window.Heads
	if err != nil {
		c.t.Fatal(err)
	}
	placed := make([]execution.Placed, len(heads))
	claims := make([]execution.Claim, len(heads))
	for i, h := range heads {
		placed[i] = execution.Placed{Candidate: h, UID: uuid.New(), Ant: c.ant, Session: c.sess}
		claims[i] = execution.Claim{UID: placed[i].UID, Ant: c.ant, Session: c.sess}
	}
	if err := c.store.Dispatch(c.t.Context(), placed, time.Now().Add(time.Minute), nil); err != nil {
		c.t.Fatal(err)
	}
	found, err := c.store.Claim(c.t.Context(), claims)
	if err != nil || len(found) != len(claims) {
		c.t.Fatalf("claimed %d of %d: %v", len(found), len(claims), err)
	}
	return placed
}

// end ends attempts well.
func (c *colony) end(placed []execution.Placed, outputs map[string]string) {
	c.t.Helper()
	events := make([]execution.Event, len(placed))
	for i, p := range placed {
		events[i] = execution.Event{Kind: execution.AttemptEnded, UID: p.UID, End: execution.End{
			Ant: c.ant, Digest: p.UID[:], Outcome: engine.Outcome{State: engine.AttemptSucceeded, Outputs: outputs},
		}}
	}
	verdicts, err := c.store.Step(c.t.Context(), events)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, v := range verdicts {
		if v != execution.Applied {
			c.t.Fatalf("a result is %s", v)
		}
	}
}

func (c *colony) audit() {
	c.t.Helper()
	found, err := audit.Run(c.t.Context(), c.pool, pg.Invariants())
	if err != nil || len(found) > 0 {
		c.t.Fatalf("%v, %v", found, err)
	}
}

// hosts is a JSON list of n items.
func hosts(n int) string {
	list := make([]byte, 0, 12*n)
	for i := range n {
		list = fmt.Appendf(list, ",%q", fmt.Sprintf("host-%d", i))
	}
	list[0] = '['
	return string(append(list, ']'))
}

// TestFanOutCostsItsNeighbourhood runs small and large fan-outs and reports what an item costs: it must not depend on
// how many there are. Times are reported and not judged.
func TestFanOutCostsItsNeighbourhood(t *testing.T) {
	tests := []struct{ items, parallel int }{{1000, 100}, {10_000, 0}, {10_000, 100}}
	if testing.Short() {
		tests = tests[:1]
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%d items, %d at once", tt.items, tt.parallel), func(t *testing.T) {
			c := newColony(t, fmt.Sprintf(wide, tt.parallel))
			first := c.start(1)
			began := time.Now()
			c.end(first, map[string]string{"hosts": hosts(tt.items)})
			expanded := time.Since(began)
			const batch = 100
			const measured = 10 // batches at the beginning; all would take long and say the same
			var started, ended time.Duration
			for range measured {
				began = time.Now()
				placed := c.start(batch)
				started += time.Since(began)
				began = time.Now()
				c.end(placed, map[string]string{"n": "1"})
				ended += time.Since(began)
			}
			t.Logf("made in %s; an item costs %s to dispatch and claim and %s to end", expanded.Round(time.Millisecond),
				(started / measured / batch).Round(time.Microsecond), (ended / measured / batch).Round(time.Microsecond))
			c.audit()
		})
	}
}

// TestFanOutJoins runs a fan-out to its end.
func TestFanOutJoins(t *testing.T) {
	c := newColony(t, fmt.Sprintf(wide, 30))
	c.end(c.start(1), map[string]string{"hosts": hosts(100)})
	ends := 0
	for ends < 100 {
		placed := c.start(50)
		if len(placed) == 0 || len(placed) > 30 {
			t.Fatalf("%d items run after %d have ended", len(placed), ends)
		}
		ends += len(placed)
		c.end(placed, map[string]string{"n": "1"})
		c.audit()
	}
	last := c.start(10)
	if len(last) != 1 || last[0].Idx != 2 {
		t.Fatalf("after the items: %v", last)
	}
	c.end(last, nil)
	var state, name string
	err := c.pool.QueryRow(t.Context(), `SELECT e.state, t.outputs ->> 'FanOutItemCount' FROM execution e JOIN task t ON t.execution_id = e.id AND t.idx = 1`).Scan(&state, &name)
	if err != nil || state != "COMPLETED" || name != "100" {
		t.Errorf("run is %s, %s items, %v", state, name, err)
	}
	c.audit()
}

// TestResultsOfAFanOutAreBounded fails items with long messages: every later task would read them all.
func TestResultsOfAFanOutAreBounded(t *testing.T) {
	c := newColony(t, fmt.Sprintf(wide, 0))
	c.end(c.start(1), map[string]string{"hosts": hosts(500)})
	placed := c.start(500)
	events := make([]execution.Event, len(placed))
	for i, p := range placed {
		events[i] = execution.Event{Kind: execution.AttemptEnded, UID: p.UID, End: execution.End{Ant: c.ant, Digest: p.UID[:], Outcome: engine.Outcome{
			State: engine.AttemptFailed, ExitCode: 1, FailureClass: engine.ClassUser, Message: strings.Repeat("no", 10<<10),
		}}}
	}
	for some := range slices.Chunk(events, 20) {
		if _, err := c.store.Step(t.Context(), some); err != nil {
			t.Fatal(err)
		}
	}
	var state string
	var size int
	if err := c.pool.QueryRow(t.Context(), `SELECT state, octet_length(outputs::text) FROM task WHERE idx = 1`).Scan(&state, &size); err != nil || state != "FAILED" || size > 10<<20 {
		t.Errorf("the group is %s with %d bytes of outputs: %v", state, size, err)
	}
	c.audit()
}
