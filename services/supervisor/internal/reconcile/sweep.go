package reconcile

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/run"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

type attemptStore interface {
	Beat(ctx context.Context, gap, rest time.Duration) (slept time.Duration, err error)
	Slept(ctx context.Context, d time.Duration) error
	Turn(ctx context.Context, every time.Duration) (mine bool, brake *time.Time, err error)
	Doubtful(ctx context.Context, l execution.Limits, tried []uuid.UUID, limit int) ([]execution.Doubt, error)
	Census(ctx context.Context) (execution.Census, error)
	Brake(ctx context.Context, was, until *time.Time) error
	Ring(ctx context.Context, uids []uuid.UUID, every time.Duration) (int, error)
}

const (
	sweepSize = 5000 // attempts of a kind that are looked at together
	// freshness is how long what a sweep found is acted upon, by the database's clock: after a pause it is found anew.
	freshness = 5 * time.Second
	mostLost  = 10_000 // attempts that wait to be ended; the sweep finds the others
)

// gap is how long nobody may have been able to renew a lease without anybody being given the time back. Of a lease that
// was renewed before it enough is left to be renewed again.
func (c Config) gap() time.Duration { return c.Lease / 3 }

// beat proves that leases can be renewed.
func (r *Reconciler) beat(ctx context.Context) error {
	slept, err := r.store.Beat(ctx, r.cfg.gap(), r.cfg.Lease)
	if err != nil {
		return err
	}
	first := !r.beaten.Swap(true)
	if slept == 0 {
		return nil
	}
	r.rests.Add(ctx, 1)
	if first { // of this process: there was nobody to renew a lease
		r.log.Info("the colony was down: nothing is ended for the passing of time for one lease", "for", slept)
		return r.store.Slept(ctx, slept)
	}
	r.log.Error("the clock moved while no lease could be renewed: nothing is ended for the passing of time for one lease", "by", slept)
	return r.store.Slept(ctx, slept)
}

// Sweep looks once after the live attempts, unless another replica has just begun to. It goes on until there is nothing
// left that it has not tried; replicas that sweep at the same time take what the others have not locked.
func (r *Reconciler) Sweep(ctx context.Context) error {
	mine, pulled, err := r.store.Turn(ctx, r.cfg.Every)
	if err != nil || !mine {
		return err
	}
	limits := execution.Limits{Stop: r.cfg.StopGrace, Ring: r.cfg.RingAfter, Replace: r.cfg.ReplaceAfter, Gap: r.cfg.gap()}
	var tried []uuid.UUID
	for {
		doubts, err := r.store.Doubtful(ctx, limits, tried, sweepSize)
		if err != nil {
			return err
		}
		found := time.Now()
		switch silent := slices.ContainsFunc(doubts, isSilent); {
		case silent:
			if doubts, err = r.brake(ctx, doubts); err != nil {
				return err
			}
		case len(tried) == 0:
			if err := r.release(ctx, pulled); err != nil {
				return err
			}
		}
		if len(doubts) == 0 {
			return nil
		}
		kinds := map[execution.DoubtKind][]execution.Doubt{}
		for _, d := range doubts {
			kinds[d.Kind] = append(kinds[d.Kind], d)
		}
		for kind, all := range kinds {
			for some := range slices.Chunk(all, batchSize) {
				if time.Since(found) > freshness {
					break // what is left is found again
				}
				if err := r.doubt(ctx, kind, some); err != nil {
					return err
				}
				for i := range some {
					tried = append(tried, some[i].UID)
				}
			}
		}
	}
}

// doubt does what attempts of one kind of doubt need.
func (r *Reconciler) doubt(ctx context.Context, kind execution.DoubtKind, doubts []execution.Doubt) error {
	if kind == execution.DoubtRing {
		uids := make([]uuid.UUID, len(doubts))
		for i := range doubts {
			uids[i] = doubts[i].UID
		}
		n, err := r.store.Ring(ctx, uids, r.cfg.RingAfter)
		r.count(ctx, "ring", n)
		return err
	}
	events := make([]execution.Event, len(doubts))
	for i := range doubts {
		events[i] = r.cfg.end(&doubts[i])
	}
	n, err := r.apply(ctx, string(kind), events)
	if n > 0 {
		r.log.Warn("attempts were ended", "kind", kind, "attempts", n)
	}
	return err
}

// end is the end of a doubtful attempt. What it assumes is checked again under the lock, and that it was found a moment
// ago: in between the host may have slept.
func (c Config) end(d *execution.Doubt) execution.Event {
	o := engine.Outcome{State: engine.AttemptLost, FailureClass: engine.ClassInfra}
	still := func(*execution.Attempt) bool { return true }
	switch d.Kind {
	case execution.DoubtGone:
		o.Message = "its ant does not have it (any more)"
		still = func(a *execution.Attempt) bool { return a.Gone() }
	case execution.DoubtUnclaimed:
		o.Message = fmt.Sprintf("ant %s did not claim it within %s", d.Ant, c.ReplaceAfter)
		still = func(a *execution.Attempt) bool { return a.State == engine.AttemptDispatched }
	case execution.DoubtStop:
		o = engine.Outcome{
			State: engine.AttemptCancelled, FailureClass: engine.ClassCancelled, Message: "its ant did not say in time that it was stopped",
		}
		still = func(a *execution.Attempt) bool { return a.StopRequested != nil }
	case execution.DoubtTimeout:
		o = engine.Outcome{State: engine.AttemptTimedOut, FailureClass: engine.ClassTimeout, Message: "it did not end within its timeout"}
		still = func(a *execution.Attempt) bool { return a.TimeoutAt != nil && a.TimeoutAt.Before(d.Now) }
	case execution.DoubtLease:
		o.Message, o.NotBefore = fmt.Sprintf("ant %s was not heard of for %s", d.Ant, c.Lease), d.LeaseUntil.Add(c.Overlap)
		still = func(a *execution.Attempt) bool { return a.LeaseUntil.Before(d.Now) }
	case execution.DoubtRing: // ends nothing
	}
	return execution.Event{Kind: execution.AttemptEnded, UID: d.UID, End: execution.End{
		Unclaimed: d.Kind == execution.DoubtUnclaimed,
		Outcome:   o, Still: func(a *execution.Attempt, now time.Time) bool {
			return (d.Kind == execution.DoubtGone || now.Sub(d.Now).Abs() <= c.gap()) && still(a)
		},
	}}
}

// brake takes out what would be LOST for its lease while too many ants are silent at once: then the fault is rather
// supervisor's. It counts over all ants and holds for all replicas.
func (r *Reconciler) brake(ctx context.Context, doubts []execution.Doubt) ([]execution.Doubt, error) {
	c, err := r.store.Census(ctx)
	if err != nil {
		return nil, err
	}
	held, until := pull(c, r.cfg.Lease)
	r.braked.Record(ctx, map[bool]int64{true: 1}[held])
	if until != c.BrakeUntil {
		if err := r.store.Brake(ctx, c.BrakeUntil, until); err != nil {
			return nil, err
		}
	}
	if !held {
		return doubts, nil
	}
	if until != c.BrakeUntil {
		r.log.Error("too many ants are silent at once: nothing is marked LOST for one more lease", "silent", c.Silent, "heard", c.Heard)
	}
	return slices.DeleteFunc(doubts, isSilent), nil
}

func isSilent(d execution.Doubt) bool { return d.Kind == execution.DoubtLease }

// release lets the brake go when nobody is silent.
func (r *Reconciler) release(ctx context.Context, pulled *time.Time) error {
	r.braked.Record(ctx, 0)
	if pulled == nil {
		return nil
	}
	return r.store.Brake(ctx, pulled, nil)
}

// pull decides about the brake: when more than 30 % of the ants (two at least) or all of them are silent, nothing is LOST
// for one more lease. That is granted once, until nobody is silent. The silence of a single ant is not our fault while
// another one is heard.
func pull(c execution.Census, lease time.Duration) (held bool, until *time.Time) {
	many := c.Silent >= 2 && 10*c.Silent > 3*(c.Silent+c.Heard)
	if c.Heard == 0 && c.Silent > 0 {
		many = true
	}
	until = c.BrakeUntil
	switch {
	case c.Silent == 0:
		until = nil
	case many && until == nil:
		end := c.Now.Add(lease)
		until = &end
	}
	return until != nil && c.Now.Before(*until) && (c.Silent > 1 || c.Heard == 0), until
}

// lost are attempts whose ants do not have them, by the word of the ants.
type lost struct {
	wake run.Signal
	mu   sync.Mutex
	all  []execution.Doubt
}

// Lost hands in attempts that their ants do not have. It does not block.
func (r *Reconciler) Lost(uids []uuid.UUID) {
	r.lost.mu.Lock()
	for _, uid := range uids[:min(len(uids), mostLost-len(r.lost.all))] {
		r.lost.all = append(r.lost.all, execution.Doubt{UID: uid, Kind: execution.DoubtGone})
	}
	r.lost.mu.Unlock()
	r.lost.wake.Set()
}

// endLost ends what was handed in. What cannot be ended now is marked, so the sweep finds it.
func (r *Reconciler) endLost(ctx context.Context) error {
	r.lost.mu.Lock()
	all := r.lost.all
	r.lost.all = nil
	r.lost.mu.Unlock()
	for some := range slices.Chunk(all, batchSize) {
		if err := r.doubt(ctx, execution.DoubtGone, some); err != nil {
			return err
		}
	}
	return nil
}
