package reconcile

import (
	"context"
	"time"

	"github.com/formicary/formicary/libs/run"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

const (
	longestNap  = 30 * time.Second
	shortestNap = 100 * time.Millisecond // when another replica holds what is due
)

type timerStore interface {
	// Now is the time by the clock of all timers.
	Now() time.Time
	NextTimer(ctx context.Context) (at *time.Time, now time.Time, err error)
	Due(ctx context.Context, marks execution.Marks, limit int) ([]execution.Event, error)
}

// Changed takes from a commit what concerns the timers.
func (r *Reconciler) Changed(c *execution.Changes) {
	if c.Timer != nil && c.Timer.UnixNano() < r.next.Load() {
		r.timer.Set()
	}
}

// timers fires what is due and sleeps until the next.
func (r *Reconciler) timers(ctx context.Context) error {
	failures := 0
	for ctx.Err() == nil {
		nap := longestNap
		// A timer that is set from now on is seen by the query, or wakes.
		r.next.Store(r.store.Now().Add(longestNap).UnixNano())
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
		r.next.Store(r.store.Now().Add(nap).UnixNano())
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

// fire applies what is due and returns how long there is nothing more to do. It looks at everything that is due: what
// cannot be applied now hides nothing.
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
		applied := 0
		for marks := (execution.Marks{}); ; {
			events, err := r.store.Due(ctx, marks, batchSize)
			if err != nil {
				return 0, err
			}
			if len(events) == 0 {
				break
			}
			n, err := r.apply(ctx, "timer", events)
			if err != nil {
				return 0, err
			}
			applied += n
		}
		if applied == 0 {
			r.stuck++
			return shortestNap << min(r.stuck-1, 4), nil
		}
		r.stuck = 0
	}
}
