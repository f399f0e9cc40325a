package reconcile_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/formicary/formicary/libs/outbox"
	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/services/supervisor"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
	"github.com/formicary/formicary/services/supervisor/internal/pg"
	"github.com/formicary/formicary/services/supervisor/internal/pg/lease"
	"github.com/formicary/formicary/services/supervisor/internal/reconcile"
	"github.com/formicary/formicary/services/supervisor/internal/step"
)

// listener hears of commits and sends nothing.
type listener struct{}

func (listener) Messages(*execution.Changes) ([]outbox.Message, error) { return nil, nil }

func (listener) Committed(*execution.Changes, []outbox.Message) {}

// colony is a schema with runs of one task each that runs, on ants of its own.
type colony struct {
	t    testing.TB
	pool *pgxpool.Pool
}

type leases = lease.Store

func newColony(t testing.TB, runs int) *colony {
	c := &colony{t: t, pool: testkit.Pool(t, supervisor.Schema, supervisor.Migrate)}
	c.exec(`INSERT INTO execution (id, org_id, request_id, run, job_type, state, age_at, created_at, tasks_total, tasks_open, normal_open, running, active, tasks_planned)
		SELECT lpad(n::text, 32, '0')::uuid, 'o', gen_random_uuid(), 1, 'job', 'EXECUTING', now(), now(), 1, 1, 1, 1, 1, 1 FROM generate_series(1, $1::int) n`, runs)
	c.exec(`INSERT INTO task (execution_id, idx, name, method, class, state, spec, attempts) SELECT id, 0, 'a', 'SHELL', 'o|SHELL||1', 'DISPATCHED', '{}', 1 FROM execution`)
	c.exec(`INSERT INTO attempt (uid, execution_id, task_idx, number, state, ant_id, session, claim_session, lease_until, dispatched_at, started_at)
		SELECT gen_random_uuid(), id, 0, 1, 'RUNNING', 'ant' || row_number() OVER (), id, id, now() + interval '30s', now(), now() FROM execution`)
	c.exec(`ANALYZE`)
	return c
}

func (c *colony) exec(sql string, args ...any) {
	c.t.Helper()
	if _, err := c.pool.Exec(c.t.Context(), sql, args...); err != nil {
		c.t.Fatal(err)
	}
}

func (c *colony) lost() (n int) {
	c.t.Helper()
	if err := c.pool.QueryRow(c.t.Context(), `SELECT count(*) FROM attempt WHERE state = 'LOST'`).Scan(&n); err != nil {
		c.t.Fatal(err)
	}
	return n
}

// replica returns the sweep of another replica.
func (c *colony) replica() func(context.Context) error {
	c.t.Helper()
	cfg := reconcile.DefaultConfig()
	cfg.Every = time.Microsecond // it is always its turn
	log := slog.New(slog.DiscardHandler)
	rows := pg.New(c.pool, c.pool, listener{})
	store := struct {
		*pg.Store
		*leases
		*step.Stepper
	}{rows, lease.New(c.pool, c.pool, listener{}, rows.Saw), step.New(rows, nil, log)}
	r, err := reconcile.New(cfg, store, pg.Temporary, log, noop.Meter{})
	if err != nil {
		c.t.Fatal(err)
	}
	return r.Sweep
}

func (c *colony) sweep() {
	c.t.Helper()
	if err := c.replica()(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
}

// TestSilenceOfManyIsOurs: with any number of ants, in any replica, also in one that has just begun. It is granted once.
func TestSilenceOfManyIsOurs(t *testing.T) {
	for _, ants := range []int{1, 1700} {
		c := newColony(t, ants)
		c.exec(`INSERT INTO ant_session SELECT ant_id, 1, session, now() - interval '1 minute' FROM attempt`)
		c.exec(`UPDATE attempt SET lease_until = now() - interval '1s'`)
		for range 3 {
			if c.sweep(); c.lost() > 0 {
				t.Fatalf("all of %d ants are silent and %d attempts LOST", ants, c.lost())
			}
		}
		c.exec(`UPDATE pulse SET brake_until = now()`) // the lease is over
		if c.sweep(); c.lost() != ants {
			t.Errorf("of %d ants that stay silent %d are LOST", ants, c.lost())
		}
		c.sweep() // nobody is silent
		var pulled bool
		if err := c.pool.QueryRow(t.Context(), `SELECT brake_until IS NOT NULL FROM pulse`).Scan(&pulled); err != nil || pulled {
			t.Errorf("the brake is pulled %v, %v", pulled, err)
		}
	}
}

// TestFewAreLostAtOnce: 29 of 100 ants are silent.
func TestFewAreLostAtOnce(t *testing.T) {
	c := newColony(t, 100)
	c.exec(`INSERT INTO ant_session SELECT ant_id, 1, session, now() FROM attempt`)
	c.exec(`UPDATE ant_session SET synced_at = now() - interval '1 minute' WHERE ant_id IN (SELECT 'ant' || generate_series(1, 29))`)
	c.exec(`UPDATE attempt SET lease_until = now() - interval '1s' WHERE ant_id IN (SELECT 'ant' || generate_series(1, 29))`)
	if c.sweep(); c.lost() != 29 {
		t.Errorf("%d are LOST", c.lost())
	}
}

// TestReplicasEndManyTogether: more than a batch of attempts and more than one replica end in one round.
func TestReplicasEndManyTogether(t *testing.T) {
	const runs, replicas = 6000, 3
	c := newColony(t, runs)
	c.exec(`UPDATE attempt SET lease_until = now() - interval '1s'`)
	c.exec(`INSERT INTO ant_session SELECT 'bystander' || n, 1, gen_random_uuid(), now() FROM generate_series(1, 20000) n`)
	began := time.Now()
	var wg sync.WaitGroup
	for range replicas {
		sweep := c.replica()
		wg.Go(func() {
			if err := sweep(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	t.Logf("%d of %d attempts ended in %s", c.lost(), runs, time.Since(began).Round(time.Millisecond))
	if c.sweep(); c.lost() != runs { // what the replicas held from each other is left to the next round
		t.Errorf("%d of %d are LOST", c.lost(), runs)
	}
}
