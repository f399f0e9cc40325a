package step

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// claimTime is what an attempt gets to be claimed.
const claimTime = 30 * time.Second

// Launch inserts runs with their tasks, edges and first attempts in one transaction. Runs that exist already are left
// alone and returned with their ids and states. Attempts are dispatched only before the deadline, if one is given;
// past it nothing is stored and ErrLate returned. settled are releases that resource-manager has.
func (s *Stepper) Launch(ctx context.Context, runs []*execution.NewRun, deadline time.Time, settled []uuid.UUID) ([]execution.Existing, error) {
	var existing []execution.Existing
	err := s.store.Transact(ctx, func(ctx context.Context, tx Tx) error {
		var c execution.Changes
		var err error
		if existing, c.Now, err = tx.Insert(ctx, runs); err != nil {
			return err
		}
		if !deadline.IsZero() && !c.Now.Before(deadline) {
			return ErrLate
		}
		w := Writes{Now: c.Now, Settled: settled}
		there := make(map[execution.Key]bool, len(existing))
		for _, e := range existing {
			there[e.Key] = true
		}
		for _, r := range runs {
			if there[r.Key] {
				w.release(r.Placed, &c)
				continue
			}
			w.Inserted = append(w.Inserted, r)
			if err := w.launch(r, &c); err != nil {
				return err
			}
		}
		if err := tx.Save(&w); err != nil {
			return err
		}
		return tx.Publish(&c)
	})
	if err != nil {
		for _, r := range runs {
			s.releaseAfter(ctx, err, r.Placed)
		}
		return nil, fmt.Errorf("launch %d runs: %w", len(runs), err)
	}
	return existing, nil
}

// launch adds what others must hear of a new run, and what it does beside its tasks. A READY one is what everybody
// expects already.
func (w *Writes) launch(r *execution.NewRun, c *execution.Changes) error {
	job := r.JobOf()
	c.Timed(job.DeadlineAt)
	if job.State != engine.JobReady {
		c.Jobs = append(c.Jobs, execution.Moved{Run: r.Run, Job: *job})
	}
	if r.State == nil {
		return nil
	}
	s := *r.State // the transaction may be repeated
	w.collect(r.Run, &s, c.Now, c)
	for _, p := range r.Placed {
		w.attempt(p, r.Run, s.Tasks[p.Idx], c)
	}
	for _, t := range s.Tasks {
		c.Left = c.Left || t.State == engine.TaskReady
		c.Timed(execution.OverdueAt(t))
		c.Timed(t.WakeAt)
		if err := addNotice(c, &r.Run, t, c.Now); err != nil {
			return err
		}
	}
	return nil
}

// attempt makes an attempt of a task that was dispatched.
func (w *Writes) attempt(p execution.Placed, r execution.Run, t *engine.Task, c *execution.Changes) {
	w.Attempts = append(w.Attempts, NewAttempt{p, r.Org, t.Attempts, c.Now.Add(claimTime)})
	c.Rings = append(c.Rings, execution.Ring{UID: p.UID, Ant: p.Ant})
	c.Tasks = append(c.Tasks, taskMoved(r, t, p.Ant))
}

// release gives back the slots of attempts that are not made.
func (w *Writes) release(placed []execution.Placed, c *execution.Changes) {
	for _, p := range placed {
		w.Released = append(w.Released, p.UID)
		c.Freed = append(c.Freed, execution.Freed{UID: p.UID, Slots: p.Slots})
	}
}

// releaseAfter gives back the slots of attempts that were not made because of err. Where it is not certain that they were
// not made, resource-manager finds out by asking.
func (s *Stepper) releaseAfter(ctx context.Context, err error, placed []execution.Placed) {
	if len(placed) == 0 || !s.undone(err) {
		return
	}
	// When this fails resource-manager asks, too.
	_ = s.store.Transact(context.WithoutCancel(ctx), func(_ context.Context, tx Tx) error {
		c := execution.Changes{Now: s.store.Now()}
		w := Writes{Now: c.Now}
		w.release(placed, &c)
		if err := tx.Save(&w); err != nil {
			return err
		}
		return tx.Publish(&c)
	})
}
