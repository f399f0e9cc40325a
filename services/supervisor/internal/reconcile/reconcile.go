// Package reconcile looks after what does not go on by itself: timers, and attempts whose ant, doorbell or result got
// lost. Timers sleep until the earliest one is due and are woken by a commit that sets an earlier one; the sweep looks
// every second at the live attempts only.
package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/formicary/formicary/libs/run"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
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

// Store finds what is to be done and does it.
type Store interface {
	NextTimer(ctx context.Context) (at *time.Time, now time.Time, err error)
	Due(ctx context.Context, limit int) ([]execution.Event, error)
	Doubtful(ctx context.Context, stop, ring time.Duration, limit int) (execution.Doubts, error)
	Ring(ctx context.Context, uids []uuid.UUID) (int, error)
	Unfinished(ctx context.Context, age time.Duration, limit int) ([]execution.Event, error)
	Backlog(ctx context.Context) (execution.Backlog, error)
	StepIdle(ctx context.Context, events []execution.Event) ([]execution.Verdict, error)
	Quarantine(ctx context.Context, kind, key string, payload []byte, reason string) error
}

// Reconciler is one of a process; any number of processes may have one.
type Reconciler struct {
	cfg   Config
	store Store
	log   *slog.Logger
	brake brake
	bad   poison
	// temporary says that an error is not the fault of the events.
	temporary func(error) bool

	timer run.Signal
	next  atomic.Int64 // when the timer loop wakes by itself, Unix nanoseconds

	actions metric.Int64Counter
	braked  metric.Int64Gauge
	backlog metric.Float64Gauge
}

const (
	batchSize   = 500
	longestNap  = 30 * time.Second
	shortestNap = 100 * time.Millisecond // when another replica holds what is due
	slowEvery   = 15 * time.Second
	rollUpAge   = 30 * time.Second
)

// New returns a reconciler. temporary says that an error is not the fault of the events that were applied.
func New(cfg Config, store Store, temporary func(error) bool, log *slog.Logger, meter metric.Meter) (*Reconciler, error) {
	r := &Reconciler{
		cfg: cfg, store: store, temporary: temporary, log: log, timer: run.NewSignal(), brake: brake{lease: cfg.Lease},
		bad: poison{failed: map[string]failure{}},
	}
	var err1, err2, err3 error
	r.actions, err1 = meter.Int64Counter("formicary_reconciled", metric.WithDescription("what reconcilers had to do, by kind"))
	r.braked, err2 = meter.Int64Gauge("formicary_lease_brake", metric.WithDescription("1 while nothing is marked LOST because too many ants expired at once"))
	r.backlog, err3 = meter.Float64Gauge("formicary_backlog", metric.WithDescription("what waits, by kind; oldest_ready in seconds"))
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, fmt.Errorf("make instruments: %w", err)
	}
	return r, nil
}

// Changed takes from a commit what concerns the timers.
func (r *Reconciler) Changed(c *execution.Changes) {
	if c.Timer != nil && c.Timer.UnixNano() < r.next.Load() {
		r.timer.Set()
	}
}

// Run works until ctx ends.
func (r *Reconciler) Run(ctx context.Context) error {
	return run.Group(ctx,
		run.Member{Name: "timers", Run: r.timers},
		run.Member{Name: "attempt sweep", Run: func(ctx context.Context) error {
			return run.Loop(ctx, r.log, "attempt sweep", r.cfg.Every, run.NewSignal(), r.Sweep)
		}},
		run.Member{Name: "slow sweep", Run: func(ctx context.Context) error {
			return run.Loop(ctx, r.log, "slow sweep", slowEvery, run.NewSignal(), r.slow)
		}},
	)
}

// timers fires what is due and sleeps until the next.
func (r *Reconciler) timers(ctx context.Context) error {
	failures := 0
	for ctx.Err() == nil {
		nap := longestNap
		// A timer that is set from now on is seen by the query, or wakes.
		r.next.Store(time.Now().Add(longestNap).UnixNano())
		err := run.Safely(ctx, func(ctx context.Context) (err error) {
			nap, err = r.fire(ctx)
			return err
		})
		if err != nil && ctx.Err() == nil {
			failures++
			nap = min(shortestNap<<min(failures, 6), 5*time.Second)
			r.log.Error("round failed", "loop", "timers", "failures", failures, "error", err)
		} else {
			failures = 0
		}
		r.next.Store(time.Now().Add(nap).UnixNano())
		wait := time.NewTimer(nap)
		select {
		case <-ctx.Done():
		case <-wait.C:
		case <-r.timer.C():
		}
		wait.Stop()
	}
	return nil
}

// fire applies what is due and returns how long there is nothing more to do.
func (r *Reconciler) fire(ctx context.Context) (time.Duration, error) {
	for {
		at, now, err := r.store.NextTimer(ctx)
		if err != nil {
			return 0, err
		}
		if at == nil {
			return longestNap, nil
		}
		if d := at.Sub(now); d > 0 {
			return min(d, longestNap), nil
		}
		events, err := r.store.Due(ctx, batchSize)
		if err != nil {
			return 0, err
		}
		applied, err := r.apply(ctx, "timer", events)
		if err != nil {
			return 0, err
		}
		if applied == 0 {
			return shortestNap, nil
		}
	}
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
	for _, v := range verdicts {
		if v == execution.Applied {
			applied++
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

// Sweep looks once after the live attempts.
func (r *Reconciler) Sweep(ctx context.Context) error {
	began := time.Now()
	d, err := r.store.Doubtful(ctx, r.cfg.StopGrace, r.cfg.RingAfter, batchSize)
	if err != nil {
		return err
	}
	held := r.brake.hold(d, time.Since(began))
	r.braked.Record(ctx, map[bool]int64{true: 1}[held])
	if held {
		r.log.Error("too many ants are silent at once: nothing is marked LOST for one more lease", "ants", d.Ants)
	}
	plan := decide(r.cfg, d, held)
	if len(plan.ring) > 0 {
		n, err := r.store.Ring(ctx, plan.ring)
		if err != nil {
			return err
		}
		r.count(ctx, "ring", n)
	}
	for kind, events := range plan.ends {
		n, err := r.apply(ctx, kind, events)
		if err != nil {
			return err
		}
		if n > 0 {
			r.log.Warn("attempts were ended", "kind", kind, "attempts", n)
		}
	}
	return nil
}

// slow rolls up what should have ended and counts what waits.
func (r *Reconciler) slow(ctx context.Context) error {
	events, err := r.store.Unfinished(ctx, rollUpAge, batchSize)
	if err != nil {
		return err
	}
	if _, err := r.apply(ctx, "roll_up", events); err != nil {
		return err
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

// plan is what a sweep has to do.
type plan struct {
	ring []uuid.UUID
	ends map[string][]execution.Event
}

// decide says what to do about each doubtful attempt. What it assumes is checked again under the lock.
func decide(cfg Config, d execution.Doubts, held bool) plan {
	p := plan{ends: map[string][]execution.Event{}}
	end := func(kind string, a *execution.Attempt, o engine.Outcome, still func(*execution.Attempt, time.Time) bool) {
		p.ends[kind] = append(p.ends[kind], execution.Event{
			Kind: execution.AttemptEnded, UID: a.UID, End: execution.End{Outcome: o, Still: still},
		})
	}
	for i := range d.Attempts {
		x := &d.Attempts[i]
		a := &x.Attempt
		switch {
		case a.State == engine.AttemptDispatched && d.Now.Sub(a.DispatchedAt) >= cfg.ReplaceAfter:
			end("unclaimed", a, engine.Outcome{
				State: engine.AttemptLost, FailureClass: engine.ClassInfra, Message: fmt.Sprintf("ant %s did not claim it within %s", a.Ant, cfg.ReplaceAfter),
			}, func(a *execution.Attempt, _ time.Time) bool { return a.State == engine.AttemptDispatched })
		case a.State == engine.AttemptDispatched:
			if d.Now.Sub(a.DispatchedAt) >= cfg.RingAfter*time.Duration(x.Rung+1) {
				p.ring = append(p.ring, a.UID)
			}
		case x.StopBy != nil && x.StopBy.Before(d.Now):
			end("stop", a, engine.Outcome{
				State: engine.AttemptCancelled, FailureClass: engine.ClassCancelled, Message: "its ant did not say in time that it was stopped",
			}, func(a *execution.Attempt, _ time.Time) bool { return a.StopRequested != nil })
		case a.TimeoutAt != nil && a.TimeoutAt.Before(d.Now):
			end("timeout", a, engine.Outcome{
				State: engine.AttemptTimedOut, FailureClass: engine.ClassTimeout, Message: "it did not end within its timeout",
			}, func(a *execution.Attempt, now time.Time) bool { return a.TimeoutAt != nil && a.TimeoutAt.Before(now) })
		case a.LeaseUntil.Before(d.Now) && !held:
			end("lease", a, engine.Outcome{
				State: engine.AttemptLost, FailureClass: engine.ClassInfra, Message: fmt.Sprintf("ant %s was not heard of for %s", a.Ant, cfg.Lease),
				NotBefore: a.LeaseUntil.Add(cfg.Overlap),
			}, func(a *execution.Attempt, now time.Time) bool { return a.LeaseUntil.Before(now) })
		}
	}
	return p
}

// brake keeps a fault of our own (a stopped database, a cut network) from being taken for the loss of many ants.
type brake struct {
	lease   time.Duration
	until   time.Time // nothing is LOST before
	tripped bool      // the wait was granted and is not granted again before all is well
}

// hold says whether nothing is to be marked LOST in this cycle.
func (b *brake) hold(d execution.Doubts, took time.Duration) bool {
	silent := map[string]bool{}
	for i := range d.Attempts {
		if a := &d.Attempts[i].Attempt; a.State == engine.AttemptRunning && a.LeaseUntil.Before(d.Now) {
			silent[a.Ant] = true
		}
	}
	many := len(silent) >= 2 && 10*len(silent) > 3*d.Ants || took > b.lease/3
	switch {
	case !many && len(silent) == 0:
		b.tripped = false
	case many && !b.tripped:
		b.tripped, b.until = true, d.Now.Add(b.lease)
	}
	return b.tripped && d.Now.Before(b.until)
}
