// Package batch is group commit: callers hand in one item each and wait; a few flushers take whatever has piled up and
// handle it in one call. An idle group adds no delay. A loaded one forms large batches by itself: after a batch of more
// than one item the next is not taken before about the time has passed that the last one took, so that items gather and
// the cost of each falls when it matters.
package batch

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/formicary/formicary/libs/errs"
)

// Options size a group.
type Options struct {
	// Max is the largest batch; 0 means 500.
	Max int
	// Flushers is how many batches are handled at once; 0 means 2.
	Flushers int
	// Gather is how long the items of a loaded group gather; 0 means about as long as the last batch took, at most 4 ms.
	Gather time.Duration
}

// Group collects items of type Req and answers each with a Res.
type Group[Req, Res any] struct {
	opts   Options
	handle func(context.Context, []Req) ([]Res, []error)
	queue  chan *item[Req, Res]
	closed chan struct{}
	once   sync.Once

	gate chan struct{} // held by the flusher that forms a batch
	pace atomic.Int64  // least time between the forming of two batches, in nanoseconds
	last time.Time     // when the last batch was formed; owned by the holder of gate
}

// maxPace bounds what a loaded group adds to the latency of an item, unless Options say otherwise.
const maxPace = 4 * time.Millisecond

type item[Req, Res any] struct {
	req  Req
	res  Res
	err  error
	done chan struct{}
}

// New returns a group that works while Run does. handle gets a batch and returns one result and one error per item;
// errors may be nil when all went well.
func New[Req, Res any](opts Options, handle func(context.Context, []Req) ([]Res, []error)) *Group[Req, Res] {
	if opts.Max <= 0 {
		opts.Max = 500
	}
	if opts.Flushers <= 0 {
		opts.Flushers = 2
	}
	return &Group[Req, Res]{
		opts: opts, handle: handle,
		queue:  make(chan *item[Req, Res], 4*opts.Max),
		closed: make(chan struct{}),
		gate:   make(chan struct{}, 1),
	}
}

// Do hands in req and waits for its answer. A ctx that ends stops the waiting, not the work. Once Run has ended it
// returns errs.ErrShutdown, which tells a caller of this replica to try again.
func (g *Group[Req, Res]) Do(ctx context.Context, req Req) (Res, error) {
	it := &item[Req, Res]{req: req, done: make(chan struct{})}
	var zero Res
	select {
	case g.queue <- it:
	case <-ctx.Done():
		return zero, ctx.Err()
	case <-g.closed:
		return zero, errs.ErrShutdown
	}
	select {
	case <-it.done:
		return it.res, it.err
	case <-ctx.Done():
		return zero, ctx.Err()
	case <-g.closed:
		select {
		case <-it.done:
			return it.res, it.err
		default:
			return zero, errs.ErrShutdown
		}
	}
}

// Run handles batches until ctx ends; batches that have begun are finished.
func (g *Group[Req, Res]) Run(ctx context.Context) error {
	defer g.once.Do(func() { close(g.closed) })
	var wg sync.WaitGroup
	for range g.opts.Flushers {
		wg.Go(func() { g.flush(ctx) })
	}
	wg.Wait()
	return nil
}

func (g *Group[Req, Res]) flush(ctx context.Context) {
	for {
		items := g.form(ctx)
		if items == nil {
			return
		}
		began := time.Now()
		g.answer(context.WithoutCancel(ctx), items)
		pace := time.Duration(0)
		switch {
		case len(items) == 1:
		case g.opts.Gather > 0:
			pace = g.opts.Gather
		default:
			pace = min(time.Since(began), maxPace)
		}
		g.pace.Store(int64(pace))
	}
}

// form waits for an item and takes it with what has gathered; it returns nil when ctx ends.
func (g *Group[Req, Res]) form(ctx context.Context) []*item[Req, Res] {
	select {
	case g.gate <- struct{}{}:
		defer func() { <-g.gate }()
	case <-ctx.Done():
		return nil
	}
	select {
	case <-ctx.Done():
		return nil
	case first := <-g.queue:
		if wait := time.Duration(g.pace.Load()) - time.Since(g.last); wait > 0 {
			time.Sleep(wait)
		}
		g.last = time.Now()
		return g.collect(first)
	}
}

// collect takes what is queued now, without waiting for more.
func (g *Group[Req, Res]) collect(first *item[Req, Res]) []*item[Req, Res] {
	items := []*item[Req, Res]{first}
	for len(items) < g.opts.Max {
		select {
		case it := <-g.queue:
			items = append(items, it)
		default:
			return items
		}
	}
	return items
}

func (g *Group[Req, Res]) answer(ctx context.Context, items []*item[Req, Res]) {
	reqs := make([]Req, len(items))
	for i, it := range items {
		reqs[i] = it.req
	}
	res, faults := g.safely(ctx, reqs)
	for i, it := range items {
		if i < len(res) {
			it.res = res[i]
		}
		if i < len(faults) {
			it.err = faults[i]
		}
		close(it.done)
	}
}

// safely turns a panic into an error for every item of the batch.
func (g *Group[Req, Res]) safely(ctx context.Context, reqs []Req) (res []Res, faults []error) {
	defer func() {
		if r := recover(); r != nil {
			res, faults = nil, All(len(reqs), fmt.Errorf("panic: %v\n%s", r, debug.Stack()))
		}
	}()
	return g.handle(ctx, reqs)
}

// All returns n times err, for a batch that failed as a whole.
func All(n int, err error) []error {
	faults := make([]error, n)
	for i := range faults {
		faults[i] = err
	}
	return faults
}
