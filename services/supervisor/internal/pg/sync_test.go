package pg_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/services/supervisor"
	"github.com/formicary/formicary/services/supervisor/internal/attempt"
	"github.com/formicary/formicary/services/supervisor/internal/definition"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

type noDefinitions struct{}

func (noDefinitions) Get(context.Context, definition.Key) (*jobspec.Definition, error) {
	return nil, nil
}

// TestLeasesWaitForNobody: a run is held, an attempt is held, and every connection of the work is in use. Ants give up a
// Sync after 5 s and end their tasks after 20 s without one.
func TestLeasesWaitForNobody(t *testing.T) {
	c := newColony(t, fmt.Sprintf(wide, 2))
	ctx := t.Context()
	leases, reads, err := supervisor.Beside(ctx, c.pool)
	if err != nil {
		t.Fatal(err)
	}
	defer leases.Close()
	defer reads.Close()
	c.store = newRuns(c.pool, leases, reads, c.listener, nil)
	gone := make(chan []uuid.UUID, 10)
	m := attempt.New(c.store, noDefinitions{}, nil, nil, func(uids []uuid.UUID) { gone <- uids }, slog.New(slog.DiscardHandler))
	testkit.Run(t, m.Run)
	if _, err := m.Sync(ctx, execution.Report{Ant: c.ant, Session: c.sess, Generation: 1, First: true}); err != nil {
		t.Fatal(err)
	}
	x := c.start(1)[0]
	conn, err := pgx.ConnectConfig(ctx, c.pool.Config().ConnConfig.Copy())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	for _, sql := range []string{"SET app.org = '*'", "SET idle_in_transaction_session_timeout = 0", "BEGIN", "SELECT FROM execution FOR NO KEY UPDATE", "SELECT FROM attempt FOR NO KEY UPDATE"} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	for range c.pool.Config().MaxConns { // all that works waits
		held, err := c.pool.Acquire(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer held.Release()
	}
	began := time.Now()
	for _, r := range []execution.Report{
		{Ant: c.ant, Session: c.sess, Generation: 1, Running: []uuid.UUID{x.UID}},
		{Ant: c.ant, Session: c.sess, Generation: 1, Spooled: []uuid.UUID{x.UID}},
		{Ant: c.ant, Session: c.sess, Generation: 1},
		{Ant: c.ant, Session: uuid.New(), Generation: 2, First: true},
		{Ant: "another", Session: uuid.New(), Generation: 1, First: true},
	} {
		a, err := m.Sync(ctx, r)
		if err != nil || len(a.Stop)+len(a.Settled) > 0 {
			t.Errorf("%+v: %+v, %v", r, a, err)
		}
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("five Syncs took %s", took)
	}
	if len(gone) > 0 {
		t.Errorf("what somebody else holds is gone: %v", <-gone)
	}
}

// TestWhatAnAntDoesNotHaveIsMarked: the sweep finds it whatever became of who was told, and not once it is listed again.
func TestWhatAnAntDoesNotHaveIsMarked(t *testing.T) {
	c := newColony(t, fmt.Sprintf(wide, 4))
	c.end(c.start(1), map[string]string{"hosts": hosts(4)})
	running := c.start(4)
	if _, err := c.pool.Exec(t.Context(), `UPDATE attempt SET started_at = started_at - interval '2s' WHERE state = 'RUNNING'`); err != nil {
		t.Fatal(err)
	}
	session := c.sess
	sync := func(generation int64, has ...execution.Placed) []uuid.UUID {
		r := execution.Report{Ant: c.ant, Session: session, Generation: generation}
		for _, x := range has {
			r.Running = append(r.Running, x.UID)
		}
		a, gone, err := c.store.Sync(t.Context(), []execution.Report{r})
		if err != nil || len(a[0].Stop) > 0 {
			t.Fatalf("%v, %v", a, err)
		}
		return gone
	}
	found := func() (uids []uuid.UUID) {
		doubts, err := c.store.Doubtful(t.Context(), limits, nil, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range doubts {
			if d.Kind != execution.DoubtGone {
				t.Errorf("%s for %s", d.UID, d.Kind)
			}
			uids = append(uids, d.UID)
		}
		return uids
	}
	sync(1, running...)
	if gone := sync(1, running[1:]...); len(gone)+len(found()) > 0 {
		t.Errorf("gone after one Sync without it: %v", gone)
	}
	if gone := sync(1, running[1:]...); !slices.Equal(gone, []uuid.UUID{running[0].UID}) || !slices.Equal(found(), gone) {
		t.Errorf("not listed twice: told %v, found %v", gone, found())
	}
	if gone := sync(1, running...); len(gone)+len(found()) > 0 {
		t.Errorf("listed again, and gone: %v", gone)
	}
	session = uuid.New() // the ant has restarted and has one of them
	if gone := sync(2, running[0]); len(gone) != 3 || len(found()) != 3 {
		t.Errorf("of four attempts of an ant that restarted with one, %v are gone, %v found", gone, found())
	}
	if gone := sync(2, running[:2]...); len(gone) > 0 || len(found()) != 2 {
		t.Errorf("listed late: told %v, found %v", gone, found())
	}
}
