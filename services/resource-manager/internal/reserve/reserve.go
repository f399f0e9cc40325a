// Package reserve hands out slots. Calls that come together are answered by one transaction: it frees what was
// released, then places the asks in order.
package reserve

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/batch"
	"github.com/formicary/formicary/libs/placement"
	"github.com/formicary/formicary/services/resource-manager/internal/place"
)

// Ask wants slots for one attempt.
type Ask struct {
	UID uuid.UUID
	placement.Need
}

// Answer to an ask: a placement, or a gate and the reason.
type Answer struct {
	Session uuid.UUID // of the ant
	place.Answer
}

// Outcome of one transaction.
type Outcome struct {
	// Answers, one per ask, in order.
	Answers []Answer
	// Deadline of the holds, by the database's clock.
	Deadline time.Time
	// Freed are the ants of released holds.
	Freed []string
	// Wanted says that asks were refused, on any replica, for lack of such slots.
	Wanted bool
}

// Call is what one caller wants.
type Call struct {
	Releases []uuid.UUID
	// Unclaimed are releases of attempts that their ants did not claim in time.
	Unclaimed []uuid.UUID
	Asks      []Ask
}

// Store is the table of holds.
type Store interface {
	// Reserve frees what is released (unknown ones are ignored), then places asks. An ask whose uid has a hold already
	// gets that one.
	Reserve(ctx context.Context, c Call) (Outcome, error)
}

// Batcher joins calls.
type Batcher struct {
	store Store
	freed func(ant string)
	group *batch.Group[Call, Outcome]
}

// joined calls at most; each may carry a thousand asks.
const joined = 16

// NewBatcher returns a batcher that works while Run does. freed is told when slots of an ant became free after asks were
// refused for lack of them.
func NewBatcher(store Store, freed func(ant string)) *Batcher {
	d := &Batcher{store: store, freed: freed}
	// One flusher: what comes meanwhile should join the next, for transactions on the same few ants wait for each other.
	d.group = batch.New(batch.Options{Max: joined, Flushers: 1}, d.handle)
	return d
}

// Run answers calls until ctx ends.
func (d *Batcher) Run(ctx context.Context) error { return d.group.Run(ctx) }

// Reserve answers one call. When ctx ends first the slots may be held all the same; their deadline frees them.
func (d *Batcher) Reserve(ctx context.Context, c Call) (Outcome, error) {
	out, err := d.group.Do(ctx, c)
	if err != nil {
		return Outcome{}, fmt.Errorf("reserve %d, release %d: %w", len(c.Asks), len(c.Releases), err)
	}
	return out, nil
}

func (d *Batcher) handle(ctx context.Context, calls []Call) ([]Outcome, []error) {
	all := calls[0]
	if len(calls) > 1 {
		all = Call{}
		for _, c := range calls {
			all.Releases = append(all.Releases, c.Releases...)
			all.Unclaimed = append(all.Unclaimed, c.Unclaimed...)
			all.Asks = append(all.Asks, c.Asks...)
		}
	}
	out, err := d.store.Reserve(ctx, all)
	if err != nil {
		return nil, batch.All(len(calls), err)
	}
	d.NotifyFreed(out)
	res := make([]Outcome, len(calls))
	rest := out.Answers
	for i, c := range calls {
		n := len(c.Asks)
		res[i] = Outcome{Answers: rest[:n:n], Deadline: out.Deadline}
		rest = rest[n:]
	}
	return res, nil
}

// NotifyFreed tells of slots that became free when somebody waits for them.
func (d *Batcher) NotifyFreed(out Outcome) {
	if out.Wanted && len(out.Freed) > 0 {
		d.freed(out.Freed[0])
	}
}
