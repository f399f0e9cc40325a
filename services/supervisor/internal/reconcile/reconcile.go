// Package reconcile looks after what does not go on by itself: timers, and attempts whose ant, doorbell or result got
// lost. Timers sleep until the earliest one is due and are woken by a commit that sets an earlier one; the sweep looks
// every second at the live attempts only, in turns with the other replicas.
//
// Whether a lease is over is judged by the database's clock alone. A beat proves each second, on the connections that
// leases are renewed on, that they could have been: when none went through for a third of a lease by that clock (the host
// or the database was paused, the network was cut, the clock was set), nothing is ended for the passing of time for one
// lease, and timeouts move with the clock. All replicas read that from one row.
package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/formicary/formicary/libs/run"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// Config says how long things may take.
type Config struct {
	// Every is the time between sweeps.
	Every time.Duration
	// RingAfter is when an unclaimed attempt is rung for again, and again after the same time.
	RingAfter time.Duration
	// ReplaceAfter is when an unclaimed attempt is taken back and its task dispatched anew.
	ReplaceAfter time.Duration
	// Lease of attempts. An expired one is LOST; its task is dispatched again Overlap after the lease has ended.
	Lease   time.Duration
	Overlap time.Duration
	// StopGrace is what an ant gets, beyond the task's own grace, to end an attempt that it was told to stop.
	StopGrace time.Duration
}

// DefaultConfig is what the protocol with the ants demands.
func DefaultConfig() Config {
	return Config{
		Every: time.Second, RingAfter: 5 * time.Second, ReplaceAfter: 30 * time.Second,
		Lease: 30 * time.Second, Overlap: 5 * time.Second, StopGrace: time.Minute,
	}
}

// Validate reports every fault.
func (c Config) Validate() error {
	var errs []error
	for name, d := range map[string]time.Duration{
		"Every": c.Every, "RingAfter": c.RingAfter, "ReplaceAfter": c.ReplaceAfter, "Lease": c.Lease, "Overlap": c.Overlap, "StopGrace": c.StopGrace,
	} {
		if d <= 0 {
			errs = append(errs, fmt.Errorf("reconcile: %s is %s, want more than 0", name, d))
		}
	}
	return errors.Join(errs...)
}

// Store finds what is to be done and does it. Its clock is the database's.
type Store interface {
	timerStore
	attemptStore
	StepIdle(ctx context.Context, events []execution.Event) ([]execution.Verdict, error)
	Quarantine(ctx context.Context, kind, key string, payload []byte, reason string) error
	Unfinished(ctx context.Context, age time.Duration, marks execution.Marks, limit int) ([]execution.Event, error)
	Backlog(ctx context.Context) (execution.Backlog, error)
}

// Reconciler is one of a process; any number of processes may have one.
type Reconciler struct {
	cfg   Config
	store Store
	log   *slog.Logger
	bad   poison
	// temporary says that an error is not the fault of the events.
	temporary func(error) bool

	timer run.Signal
	next  atomic.Int64 // when the timer loop wakes by itself, Unix nanoseconds by the database's clock
	stuck int          // rounds of timers, one after the other, that could do nothing about what is due

	lost lost

	actions metric.Int64Counter
	braked  metric.Int64Gauge
	rests   metric.Int64Counter

	beaten  atomic.Bool // this process has shown that leases can be renewed
	backlog metric.Float64Gauge
}

const (
	batchSize = 500
	slowEvery = 15 * time.Second
	rollUpAge = 30 * time.Second
)

// New returns a reconciler. temporary says that an error is not the fault of the events that were applied.
func New(cfg Config, store Store, temporary func(error) bool, log *slog.Logger, meter metric.Meter) (*Reconciler, error) {
	r := &Reconciler{
		cfg: cfg, store: store, temporary: temporary, log: log, timer: run.NewSignal(),
		bad: poison{failed: map[string]failure{}}, lost: lost{wake: run.NewSignal()},
	}
	var err1, err2, err3, err4 error
	r.actions, err1 = meter.Int64Counter("formicary_reconciled", metric.WithDescription("what reconcilers had to do, by kind"))
	r.braked, err2 = meter.Int64Gauge("formicary_lease_brake", metric.WithDescription("1 while nothing is marked LOST because too many ants expired at once"))
	r.backlog, err3 = meter.Float64Gauge("formicary_backlog", metric.WithDescription("what waits, by kind; oldest_ready in seconds"))
	r.rests, err4 = meter.Int64Counter("formicary_clock_rests", metric.WithDescription("pauses and jumps of the clock after which nothing was ended for a lease"))
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, fmt.Errorf("make instruments: %w", err)
	}
	return r, nil
}

// Run works until ctx ends.
func (r *Reconciler) Run(ctx context.Context) error {
	return run.Group(ctx,
		run.Member{Name: "timers", Run: r.timers},
		run.Member{Name: "beat", Run: func(ctx context.Context) error {
			return run.Loop(ctx, r.log, "beat", r.cfg.Every, run.NewSignal(), r.beat)
		}},
		run.Member{Name: "attempt sweep", Run: func(ctx context.Context) error {
			return run.Loop(ctx, r.log, "attempt sweep", r.cfg.Every, run.NewSignal(), r.Sweep)
		}},
		run.Member{Name: "lost attempts", Run: func(ctx context.Context) error {
			return run.Loop(ctx, r.log, "lost attempts", time.Minute, r.lost.wake, r.endLost)
		}},
		run.Member{Name: "slow sweep", Run: func(ctx context.Context) error {
			return run.Loop(ctx, r.log, "slow sweep", slowEvery, run.NewSignal(), r.slow)
		}},
	)
}

// apply applies events and counts those that changed something. When a batch fails by the fault of one of them, each is
// tried alone, and the one at fault is left alone for a growing time.
func (r *Reconciler) apply(ctx context.Context, kind string, events []execution.Event) (int, error) {
	events = r.bad.without(events, time.Now())
	if len(events) == 0 {
		return 0, nil
	}
	n, err := r.step(ctx, events)
	if err != nil && ctx.Err() == nil && !r.temporary(err) {
		if n, err = r.each(ctx, kind, events); err != nil {
			return n, err
		}
	}
	if err != nil {
		return 0, err
	}
	r.count(ctx, kind, n)
	return n, nil
}

func (r *Reconciler) step(ctx context.Context, events []execution.Event) (applied int, err error) {
	var verdicts []execution.Verdict
	err = run.Safely(ctx, func(ctx context.Context) (err error) {
		verdicts, err = r.store.StepIdle(ctx, events)
		return err
	})
	for i, v := range verdicts {
		switch v {
		case execution.Applied:
			applied++
		case execution.Postponed:
			r.bad.later(keyOf(&events[i]), time.Now())
		case execution.Ignored, execution.Replayed, execution.Stale, execution.Unknown:
		}
	}
	return applied, err
}

// each applies events one by one. It gives up when an error is nobody's fault.
func (r *Reconciler) each(ctx context.Context, kind string, events []execution.Event) (applied int, err error) {
	for i := range events {
		n, err := r.step(ctx, events[i:i+1])
		applied += n
		if err == nil {
			continue
		}
		if ctx.Err() != nil || r.temporary(err) {
			return applied, err
		}
		key := keyOf(&events[i])
		tries := r.bad.add(key, time.Now())
		r.log.Error("event cannot be applied", "kind", kind, "event", key, "failures", tries, "error", err)
		if tries == quarantineAfter {
			if err := r.store.Quarantine(ctx, kind, key, nil, err.Error()); err != nil {
				return applied, err
			}
		}
	}
	return applied, nil
}

func (r *Reconciler) count(ctx context.Context, kind string, n int) {
	if n > 0 {
		r.actions.Add(ctx, int64(n), metric.WithAttributes(attribute.String("kind", kind)))
	}
}

// slow rolls up what should have ended and counts what waits.
func (r *Reconciler) slow(ctx context.Context) error {
	for marks := (execution.Marks{}); ; {
		events, err := r.store.Unfinished(ctx, rollUpAge, marks, batchSize)
		if err != nil {
			return err
		}
		if len(events) == 0 {
			break
		}
		if _, err := r.apply(ctx, "roll_up", events); err != nil {
			return err
		}
	}
	b, err := r.store.Backlog(ctx)
	if err != nil {
		return err
	}
	for kind, v := range map[string]float64{
		"ready": float64(b.Ready), "oldest_ready": b.Oldest, "dispatched": float64(b.Dispatched), "running": float64(b.Running), "releases": float64(b.Releases),
	} {
		r.backlog.Record(ctx, v, metric.WithAttributes(attribute.String("kind", kind)))
	}
	return nil
}
