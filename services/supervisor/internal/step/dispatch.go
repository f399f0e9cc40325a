package step

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// Dispatch makes attempts for tasks that are still READY, in one transaction before the deadline. The slots of the
// others are given back. settled are releases that resource-manager has.
func (s *Stepper) Dispatch(ctx context.Context, placed []execution.Placed, deadline time.Time, settled []uuid.UUID) error {
	err := s.store.Transact(ctx, func(ctx context.Context, tx Tx) error {
		tasks := make([]Task, len(placed))
		for i, p := range placed {
			tasks[i] = Task{p.Execution, p.Idx}
		}
		l, err := tx.LockReady(ctx, tasks)
		if err != nil {
			return err
		}
		if len(placed) > 0 && !l.Now.Before(deadline) {
			return ErrLate
		}
		b := newBatch(tx, nil, nil)
		b.now, b.changes.Now, b.writes.Settled = l.Now, l.Now, settled
		b.add(l)
		b.dispatch(placed)
		return b.saveDispatched()
	})
	if err != nil {
		s.releaseAfter(ctx, err, placed)
		return fmt.Errorf("dispatch %d attempts: %w", len(placed), err)
	}
	return nil
}

// dispatch makes the attempts of the tasks that are still READY.
func (b *batch) dispatch(placed []execution.Placed) {
	for i, p := range placed {
		r := b.runs[p.Execution]
		var t *engine.Task
		if r != nil {
			t = r.state.Tasks[p.Idx]
		}
		if t == nil || t.State != engine.TaskReady || r.state.Job.State.Terminal() {
			b.writes.release(placed[i:i+1], &b.changes)
			continue
		}
		r.state.Dispatched([]int{p.Idx}, b.now)
		b.writes.attempt(p, r.Run, t, &b.changes)
	}
}

// saveDispatched stores the runs and tasks of which attempts were made.
func (b *batch) saveDispatched() error {
	b.writes.Now = b.now
	for _, r := range b.order {
		if !r.state.JobChanged {
			continue
		}
		b.writes.Runs = append(b.writes.Runs, ChangedRun{r.ID, &r.state.Job, r.state.PolicyChanged})
		if r.state.JobMoved {
			b.changes.Jobs = append(b.changes.Jobs, execution.Moved{Run: r.Run, Job: r.state.Job})
		}
		for _, idx := range sorted(r.state.Tasks) {
			if t := r.state.Tasks[idx]; t.Changed {
				b.writes.Tasks = append(b.writes.Tasks, ChangedTask{&r.Run, t})
			}
		}
	}
	if err := b.tx.Save(&b.writes); err != nil {
		return err
	}
	return b.tx.Publish(&b.changes)
}

// undone says that nothing of the transaction that ended with err was stored, for certain.
func (s *Stepper) undone(err error) bool { return errors.Is(err, ErrLate) || s.store.Undone(err) }
