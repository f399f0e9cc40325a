package request

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
)

// Asker asks supervisor for the state of runs; what it does not know is left out.
type Asker interface {
	States(ctx context.Context, runs []Run) (map[uuid.UUID]Execution, error)
}

const sweepLimit = 500

// Reconciler finds what a lost message left behind.
type Reconciler struct {
	store  Store
	sweeps Sweeps
	asker  Asker
	// refused says of an error that the content of some request is at fault.
	refused func(error) bool
}

// NewReconciler returns a reconciler.
func NewReconciler(store Store, sweeps Sweeps, asker Asker, refused func(error) bool) *Reconciler {
	return &Reconciler{store: store, sweeps: sweeps, asker: asker, refused: refused}
}

// Silent asks supervisor about requests that heard nothing for too long and tells again what was lost.
func (c *Reconciler) Silent(ctx context.Context) error {
	for {
		recs, err := c.sweeps.Silent(ctx, sweepLimit)
		if err != nil || len(recs) == 0 {
			return err
		}
		ids, runs := make([]uuid.UUID, len(recs)), make([]Run, len(recs))
		for i, rec := range recs {
			ids[i], runs[i] = rec.ID, Run{ID: rec.ID, Run: rec.Run}
		}
		found, err := c.asker.States(ctx, runs)
		if err != nil {
			return err
		}
		err = c.update(ctx, ids, func(now time.Time, r *Request) error {
			if e, ok := found[r.rec.ID]; ok {
				r.Reconcile(now, &e)
			} else {
				r.Reconcile(now, nil)
			}
			return nil
		})
		if err != nil || len(recs) < sweepLimit {
			return err
		}
	}
}

// update changes requests together, or in halves when that is refused: one that the database refuses must not keep the
// others from being right. Its error is returned in the end.
func (c *Reconciler) update(ctx context.Context, ids []uuid.UUID, change func(time.Time, *Request) error) error {
	_, err := c.store.Update(ctx, ids, change)
	half := len(ids) / 2
	if err == nil || half == 0 || !c.refused(err) {
		return err
	}
	return errors.Join(c.update(ctx, ids[:half], change), c.update(ctx, ids[half:], change))
}

// Overdue ends requests that have waited for their start longer than they may, with the reason that held them, and
// returns when the next one has.
func (c *Reconciler) Overdue(ctx context.Context) (next *time.Time, err error) {
	for {
		recs, next, err := c.sweeps.Overdue(ctx, sweepLimit)
		if err != nil || len(recs) == 0 {
			return next, err
		}
		standings, now, err := c.store.Standing(ctx, recs, false)
		if err != nil {
			return nil, err
		}
		ids, reasons := make([]uuid.UUID, len(recs)), make(map[uuid.UUID]string, len(recs))
		for i := range recs {
			ids[i] = recs[i].ID
			if w := Explain(&recs[i], standings[i], now); w != nil {
				reasons[recs[i].ID] = w.Reason
			}
		}
		err = c.update(ctx, ids, func(now time.Time, r *Request) error {
			r.Overdue(now, reasons[r.rec.ID])
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
}

// Resume lets paused requests go on whose time has come, and returns when the next one's comes.
func (c *Reconciler) Resume(ctx context.Context) (next *time.Time, err error) {
	for {
		ids, next, err := c.sweeps.DueToResume(ctx, sweepLimit)
		if err != nil || len(ids) == 0 {
			return next, err
		}
		err = c.update(ctx, ids, func(now time.Time, r *Request) error {
			if at := r.rec.ResumeAt; r.rec.State == Paused && at != nil && !at.After(now) && r.rec.CancelRequestedAt == nil {
				return r.Resume(now)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
}
