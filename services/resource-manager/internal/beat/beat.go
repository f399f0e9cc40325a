// Package beat takes the beats of ants. Those that come together are one transaction: with thousands of ants there is
// always one under way.
package beat

import (
	"context"
	"fmt"
	"time"

	"github.com/formicary/formicary/libs/batch"
	"github.com/formicary/formicary/services/resource-manager/internal/ant"
)

// Beat of an ant.
type Beat struct {
	Ant string
	ant.Pulse
}

// Answer to a beat.
type Answer struct {
	State ant.State
	// DrainWanted says that an operator wants the ant to take no more work.
	DrainWanted bool
	// Changed says that the ant takes more or less work than before.
	Changed bool
}

// Store is the table of ants.
type Store interface {
	// Beat applies beats in their order and answers each, with a result or an error of its own.
	Beat(ctx context.Context, beats []Beat, lease time.Duration) ([]Answer, []error)
}

// Batcher joins beats.
type Batcher struct {
	group *batch.Group[Beat, Answer]
}

const (
	most = 1000
	// gather is how long beats gather when they come one after the other; a lone one is answered at once.
	gather = 50 * time.Millisecond
)

// NewBatcher returns a batcher that works while Run does.
func NewBatcher(store Store, lease time.Duration) *Batcher {
	// One flusher: two beats of an ant keep their order.
	return &Batcher{batch.New(batch.Options{Max: most, Flushers: 1, Gather: gather}, func(ctx context.Context, beats []Beat) ([]Answer, []error) {
		return store.Beat(ctx, beats, lease)
	})}
}

// Run answers beats until ctx ends.
func (d *Batcher) Run(ctx context.Context) error { return d.group.Run(ctx) }

// Beat keeps the lease of an ant.
func (d *Batcher) Beat(ctx context.Context, b Beat) (Answer, error) {
	a, err := d.group.Do(ctx, b)
	if err != nil {
		return Answer{}, fmt.Errorf("beat of ant %s: %w", b.Ant, err)
	}
	return a, nil
}
