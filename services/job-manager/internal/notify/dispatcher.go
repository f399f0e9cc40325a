package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/formicary/formicary/libs/run"
)

// Take says which deliveries are taken.
type Take struct {
	// Limit of all, PerHost of those for one host.
	Limit, PerHost int
	// Busy hosts get none.
	Busy []string
	// Lease is how long they are nobody else's.
	Lease time.Duration
}

// Store keeps deliveries.
type Store interface {
	// Due takes deliveries whose time has come.
	Due(ctx context.Context, t Take) ([]Delivery, error)
	// Next is how long it takes until one is due that is not for a busy host.
	Next(ctx context.Context, busy []string) (time.Duration, error)
	// SaveOutcomes writes how attempts ended.
	SaveOutcomes(ctx context.Context, outcomes []Outcome) error
	// Forget deletes up to limit deliveries that ended longer ago than kept, and says how many.
	Forget(ctx context.Context, kept time.Duration, limit int) (int, error)
}

// Sender hands a message to its receiver. See Refuse and Later.
type Sender interface {
	Send(ctx context.Context, d *Delivery) error
}

// Options of a dispatcher.
type Options struct {
	// Parallel is how many deliveries are tried at once, PerHost how many for one host.
	Parallel, PerHost int
	// Timeout of one attempt.
	Timeout time.Duration
	Pace    Pace
	// SweepEvery is the pause between two looks for what no wake-up told of.
	SweepEvery time.Duration
	// Keep is how long ended deliveries can be seen.
	Keep time.Duration
}

// DefaultOptions try for an hour.
func DefaultOptions() Options {
	return Options{
		Parallel: 16, PerHost: 4, Timeout: 10 * time.Second, SweepEvery: 5 * time.Second, Keep: 30 * 24 * time.Hour,
		Pace: Pace{First: 5 * time.Second, Longest: 10 * time.Minute, GiveUp: time.Hour},
	}
}

// Validate reports all faults at once.
func (o *Options) Validate() error {
	var faults []error
	for name, positive := range map[string]bool{
		"Parallel": o.Parallel > 0, "PerHost": o.PerHost > 0, "Timeout": o.Timeout > 0, "SweepEvery": o.SweepEvery > 0, "Keep": o.Keep > 0,
		"Pace.First": o.Pace.First > 0, "Pace.Longest": o.Pace.Longest > 0, "Pace.GiveUp": o.Pace.GiveUp > 0,
	} {
		if !positive {
			faults = append(faults, fmt.Errorf("%s of deliveries must be positive", name))
		}
	}
	return errors.Join(faults...)
}

// Dispatcher sends what is due.
type Dispatcher struct {
	o      Options
	log    *slog.Logger
	store  Store
	sender Sender
	wake   run.Signal
}

// NewDispatcher returns a dispatcher that works while Run does.
func NewDispatcher(o Options, log *slog.Logger, store Store, sender Sender) *Dispatcher {
	return &Dispatcher{o: o, log: log, store: store, sender: sender, wake: run.NewSignal()}
}

// Wake makes the dispatcher look for new deliveries.
func (d *Dispatcher) Wake() { d.wake.Set() }

// Run works until ctx ends.
func (d *Dispatcher) Run(ctx context.Context) error {
	return run.Group(ctx,
		run.Member{Name: "send", Run: d.send},
		run.Member{Name: "forget", Run: func(ctx context.Context) error {
			return run.Loop(ctx, d.log, "forget deliveries", forgetEvery, run.NewSignal(), d.forget)
		}},
	)
}

const (
	leaseSpare  = 20 * time.Second // of a lease beyond the attempt, to store its outcome
	forgetEvery = time.Hour
	forgetStep  = 1000
	retryPause  = time.Second
	leastPause  = 5 * time.Millisecond // a clock that is ahead of the database's must not make the loop spin
	lastTime    = 2 * time.Second      // to store outcomes at the end
)

// ended is an attempt that is over.
type ended struct {
	host    string
	outcome Outcome
}

// round is the state of the loop that sends; only that loop touches it.
type round struct {
	busy    map[string]int // attempts under way, by host
	running int
	done    chan ended
	unsaved []Outcome
}

// send is the one loop that takes deliveries and stores how they ended. Each attempt has a goroutine of its own.
func (d *Dispatcher) send(ctx context.Context) error {
	r := &round{busy: map[string]int{}, done: make(chan ended, d.o.Parallel)}
	defer d.finish(ctx, r)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.wake.C():
		case <-timer.C:
		case e := <-r.done:
			r.end(e)
		}
		var pause time.Duration
		err := run.Safely(ctx, func(ctx context.Context) (err error) {
			pause, err = d.turn(ctx, r)
			return err
		})
		if err != nil && ctx.Err() == nil {
			d.log.Error("deliveries wait", "error", err)
			pause = retryPause
		}
		timer.Reset(pause)
	}
}

// turn stores what has ended, takes what is due, and says when the next turn is.
func (d *Dispatcher) turn(ctx context.Context, r *round) (time.Duration, error) {
	r.drain()
	if len(r.unsaved) > 0 {
		if err := d.store.SaveOutcomes(ctx, r.unsaved); err != nil {
			return 0, err
		}
		r.unsaved = nil
	}
	free := d.o.Parallel - r.running
	if free == 0 {
		return d.o.SweepEvery, nil // an attempt that ends comes first
	}
	busy := r.full(d.o.PerHost)
	due, err := d.store.Due(ctx, Take{Limit: free, PerHost: d.o.PerHost, Busy: busy, Lease: d.o.Timeout + leaseSpare})
	if err != nil {
		return 0, err
	}
	for i := range due {
		r.running++
		r.busy[due[i].Host]++
		go func() { r.done <- ended{due[i].Host, d.attempt(ctx, &due[i])} }()
	}
	if len(due) == free {
		return leastPause, nil
	}
	next, err := d.store.Next(ctx, r.full(d.o.PerHost))
	return min(max(next, leastPause), d.o.SweepEvery), err
}

// end notes an attempt that is over.
func (r *round) end(e ended) {
	r.running--
	if r.busy[e.host]--; r.busy[e.host] == 0 {
		delete(r.busy, e.host)
	}
	r.unsaved = append(r.unsaved, e.outcome)
}

// drain notes everything that is over.
func (r *round) drain() {
	for {
		select {
		case e := <-r.done:
			r.end(e)
		default:
			return
		}
	}
}

// full returns the hosts that get no more for now.
func (r *round) full(perHost int) []string {
	hosts := []string{}
	for host, n := range r.busy {
		if n >= perHost {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

// finish waits for the attempts, which end with ctx, and stores how they ended.
func (d *Dispatcher) finish(ctx context.Context, r *round) {
	for r.running > 0 {
		r.end(<-r.done)
	}
	if len(r.unsaved) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastTime)
	defer cancel()
	if err := d.store.SaveOutcomes(ctx, r.unsaved); err != nil {
		d.log.Warn("deliveries may be sent twice", "deliveries", len(r.unsaved), "error", err)
	}
}

func (d *Dispatcher) attempt(ctx context.Context, one *Delivery) Outcome {
	if one.Broken != nil {
		return d.o.Pace.outcome(one, Refuse("the stored delivery cannot be read: %w", one.Broken), 0, 0)
	}
	limited, cancel := context.WithTimeout(ctx, d.o.Timeout)
	defer cancel()
	err := run.Safely(limited, func(ctx context.Context) error { return d.sender.Send(ctx, one) })
	switch {
	case err != nil && ctx.Err() != nil:
		return Outcome{ID: one.ID, Attempt: one.Attempts, State: Pending, Error: "interrupted by the end of the service"}
	case err != nil && limited.Err() != nil && !Refused(err):
		err = fmt.Errorf("no answer within %s: %w", d.o.Timeout, err)
	}
	o := d.o.Pace.outcome(one, err, time.Since(one.CreatedAt), rand.Float64()) // #nosec G404 -- spreads retries
	if err != nil {
		d.log.Warn("a delivery failed", "delivery", one.ID, "channel", one.Channel, "recipient", one.Recipient, "attempt", one.Attempts,
			"state", o.State, "error", o.Error)
	}
	return o
}

func (d *Dispatcher) forget(ctx context.Context) error {
	for {
		n, err := d.store.Forget(ctx, d.o.Keep, forgetStep)
		if err != nil || n < forgetStep {
			return err
		}
	}
}
