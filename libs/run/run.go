// Package run keeps the goroutines of a service: named members that end together, loops that survive a bad round, and
// the wake-ups that make them start one.
package run

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"golang.org/x/sync/errgroup"
)

// Member is a function that runs until its context ends.
type Member struct {
	// Name is said in the error when it fails.
	Name string
	Run  func(context.Context) error
}

// Group runs all members, ends the others when one fails and returns when every one has returned. The end of ctx is
// no error.
func Group(ctx context.Context, members ...Member) error {
	g, inner := errgroup.WithContext(ctx)
	for _, m := range members {
		g.Go(func() error {
			err := m.Run(inner)
			switch {
			case inner.Err() != nil && errors.Is(err, inner.Err()):
				return nil
			case err != nil:
				return fmt.Errorf("%s: %w", m.Name, err)
			case inner.Err() == nil:
				return fmt.Errorf("%s ended by itself", m.Name)
			}
			return nil
		})
	}
	return g.Wait()
}

// Signal is a wake-up that is never lost and never queues: many Sets before a receive are one.
type Signal struct{ c chan struct{} }

// NewSignal returns an unset signal.
func NewSignal() Signal { return Signal{c: make(chan struct{}, 1)} }

// Set wakes the receiver, now or at its next receive. It never blocks.
func (s Signal) Set() {
	select {
	case s.c <- struct{}{}:
	default:
	}
}

// C is received from to wait for a Set.
func (s Signal) C() <-chan struct{} { return s.c }

const maxBackoff = 5 * time.Second

// Loop calls round at once, then whenever wake is set and at least every interval, until ctx ends. A round that fails
// or panics is logged and repeated after a growing delay of at most 5 s.
func Loop(ctx context.Context, log *slog.Logger, name string, every time.Duration, wake Signal, round func(context.Context) error) error {
	failures := 0
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-wake.C():
		}
		err := Safely(ctx, round)
		next := every
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			failures++
			next = min(every, 50*time.Millisecond<<min(failures, 7), maxBackoff)
			log.Error("round failed", "loop", name, "failures", failures, "error", err)
		default:
			failures = 0
		}
		timer.Reset(next)
	}
}

// Safely calls f and turns a panic into an error that carries the stack.
func Safely(ctx context.Context, f func(context.Context) error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return f(ctx)
}
