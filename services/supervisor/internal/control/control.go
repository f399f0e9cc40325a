// Package control does what people ask of a run: cancel it or pause it.
package control

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// Action is what is asked for.
type Action int

// The actions.
const (
	Cancel Action = iota
	Pause
)

// Order asks for an action on a run.
type Order struct {
	execution.Run
	Action Action
	Reason string
}

// Store keeps runs.
type Store interface {
	Now() time.Time
	Find(ctx context.Context, keys []execution.Key) (map[execution.Key]uuid.UUID, error)
	Launch(ctx context.Context, runs []*execution.NewRun, deadline time.Time, settled []uuid.UUID) ([]execution.Existing, error)
	Step(ctx context.Context, events []execution.Event) ([]execution.Verdict, error)
	// Remainder returns the run after one that left its clean-up to it; nil where there is none.
	Remainder(ctx context.Context, key execution.Key) (*execution.NewRun, error)
}

// Apply carries out orders; false says that one has to be given again, because its run has not been launched yet. A
// run that is cancelled before its launch is inserted as CANCELLED, so that the launch finds it and does nothing.
func Apply(ctx context.Context, store Store, orders []Order) ([]bool, error) {
	keys := make([]execution.Key, len(orders))
	for i, o := range orders {
		keys[i] = o.Key
	}
	found, err := store.Find(ctx, keys)
	if err != nil {
		return nil, err
	}
	done := make([]bool, len(orders))
	var events []execution.Event
	var of []int // the orders of events
	for i, o := range orders {
		id, ok := found[o.Key]
		switch {
		case !ok && o.Action == Pause:
			continue
		case !ok:
			// The launch may win the race: then the order comes again and finds the run.
			if done[i], err = cancelled(ctx, store, o); err != nil {
				return nil, err
			}
			continue
		case o.Action == Cancel:
			events = append(events, execution.Event{Kind: execution.Cancelled, Execution: id, Reason: o.Reason})
		case o.Action == Pause:
			events = append(events, execution.Event{Kind: execution.Paused, Execution: id})
		}
		of = append(of, i)
	}
	verdicts, err := store.Step(ctx, events)
	if err != nil {
		return nil, err
	}
	for k, v := range verdicts {
		done[of[k]] = v != execution.Postponed
	}
	return done, nil
}

// cancelled inserts the run of a request that was cancelled before it was launched.
func cancelled(ctx context.Context, store Store, o Order) (bool, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return false, fmt.Errorf("make execution id: %w", err)
	}
	left, err := store.Remainder(ctx, o.Key)
	if err != nil {
		return false, err
	}
	if left != nil { // clean-up is still to be done: the order comes again and cancels what is a run then
		left.ID = id
		_, err := store.Launch(ctx, []*execution.NewRun{left}, time.Time{}, nil)
		return false, err
	}
	now := store.Now()
	r := &execution.NewRun{Run: o.Run, Job: engine.Ended(o.Key.Run, engine.JobCancelled, "ERR_JOB_CANCELLED", o.Reason, now)}
	r.ID, r.AgeAt = id, now
	existing, err := store.Launch(ctx, []*execution.NewRun{r}, time.Time{}, nil)
	if err != nil {
		return false, err
	}
	return len(existing) == 0, nil
}
