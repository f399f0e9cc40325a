package batch_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/formicary/formicary/libs/batch"
	"github.com/formicary/formicary/libs/errs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEveryCallerGetsItsOwnAnswer(t *testing.T) {
	odd := errors.New("odd")
	var mu sync.Mutex
	calls := 0
	g := batch.New(batch.Options{Max: 50, Flushers: 2}, func(_ context.Context, in []int) ([]int, []error) {
		mu.Lock()
		calls++
		mu.Unlock()
		out, faults := make([]int, len(in)), make([]error, len(in))
		for i, v := range in {
			out[i] = v * 2
			if v%2 == 1 {
				faults[i] = odd
			}
		}
		return out, faults
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = g.Run(ctx) }()
	var wg sync.WaitGroup
	for i := range 1000 {
		wg.Go(func() {
			got, err := g.Do(t.Context(), i)
			if got != 2*i || (i%2 == 1) != errors.Is(err, odd) {
				t.Errorf("%d: %d, %v", i, got, err)
			}
		})
	}
	wg.Wait()
	cancel()
	<-ended
	if _, err := g.Do(t.Context(), 1); !errors.Is(err, errs.ErrShutdown) {
		t.Errorf("after the end: %v", err)
	}
}

func TestPanicFailsTheBatchOnly(t *testing.T) {
	g := batch.New(batch.Options{Flushers: 1}, func(_ context.Context, in []int) ([]int, []error) {
		if in[0] == 0 {
			panic("zero")
		}
		return in, nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = g.Run(ctx) }()
	if _, err := g.Do(t.Context(), 0); err == nil {
		t.Error("no error")
	}
	if got, err := g.Do(t.Context(), 7); got != 7 || err != nil {
		t.Errorf("%d, %v", got, err)
	}
	cancel()
	<-ended
}

// TestALoadedGroupGathers: items that come while a batch is handled and a moment after it go together.
func TestALoadedGroupGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var sizes []int
		g := batch.New(batch.Options{Flushers: 2}, func(_ context.Context, reqs []int) ([]int, []error) {
			mu.Lock()
			sizes = append(sizes, len(reqs))
			mu.Unlock()
			time.Sleep(2 * time.Millisecond)
			return reqs, nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- g.Run(ctx) }()
		ask := func(n int) *sync.WaitGroup {
			var wg sync.WaitGroup
			for i := range n {
				wg.Go(func() { _, _ = g.Do(ctx, i) })
			}
			return &wg
		}
		began := time.Now()
		ask(1).Wait()
		if took := time.Since(began); took != 2*time.Millisecond {
			t.Errorf("a lone item took %s, want no more than its handling", took)
		}
		first := ask(8)
		synctest.Wait()
		late := ask(8)
		time.Sleep(time.Millisecond)
		later := ask(8)
		first.Wait()
		late.Wait()
		later.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if len(sizes) > 5 {
			t.Errorf("24 items went in batches of %v", sizes[1:])
		}
	})
}
