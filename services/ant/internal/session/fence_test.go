package session

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
)

// TestASleepIsNotSilence: the ant did not run for an hour, by both clocks (a stopped process) or by the wall clock alone
// (a suspended host, a clock that was set). It asks before it ends what is well, and does not wait for ever for an answer.
func TestASleepIsNotSilence(t *testing.T) {
	clocks := map[string]func(time.Duration) time.Time{
		"both clocks":    func(d time.Duration) time.Time { return time.Now().Add(d) },
		"the wall clock": func(d time.Duration) time.Time { return time.Now().Round(0).Add(d) },
	}
	for name, clock := range clocks {
		for answered, want := range map[bool]int{true: 0, false: 1} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := &fake{begun: time.Now()}
					s := New(Options{Ant: &antv1.RegisterRequest{AntId: "a"}, Beat: 5 * time.Second, FenceAfter: 20 * time.Second, Unhealthy: func() []string { return nil }},
						f, f, f, slog.New(slog.DiscardHandler))
					var slept atomic.Int64
					s.clock = func() time.Time { return clock(time.Duration(slept.Load())) }
					ctx, cancel := context.WithCancel(t.Context())
					done := make(chan error, 1)
					go func() { done <- s.Run(ctx) }()
					time.Sleep(17 * time.Second)
					if !answered {
						f.answer(hang)
					}
					slept.Store(int64(time.Hour))
					woke := time.Now()
					time.Sleep(2 * lookEvery)
					synctest.Wait()
					f.mu.Lock()
					asked := f.syncs[len(f.syncs)-1]
					f.mu.Unlock()
					if asked.Before(woke) || strings.Contains(f.saw(), "kill") {
						t.Errorf("asked %s after it woke: %s", asked.Sub(woke), f.saw())
					}
					time.Sleep(callTime + 2*lookEvery)
					synctest.Wait()
					if got := strings.Count(f.saw(), "kill"); got != want {
						t.Errorf("answered %v: %s", answered, f.saw())
					}
					cancel()
					if err := <-done; err != nil {
						t.Error(err)
					}
				})
			})
		}
	}
}

// TestManySleepsAreSilence: an ant that sleeps again and again without an answer between is one that nobody hears of.
func TestManySleepsAreSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{begun: time.Now()}
		s := New(Options{Ant: &antv1.RegisterRequest{AntId: "a"}, Beat: 5 * time.Second, FenceAfter: 20 * time.Second, Unhealthy: func() []string { return nil }},
			f, f, f, slog.New(slog.DiscardHandler))
		var slept atomic.Int64
		s.clock = func() time.Time { return time.Now().Add(time.Duration(slept.Load())) }
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		time.Sleep(17 * time.Second)
		f.answer(hang)
		for range 4 {
			slept.Add(int64(time.Minute))
			time.Sleep(callTime - lookEvery)
		}
		synctest.Wait()
		if got := strings.Count(f.saw(), "kill"); got != 1 {
			t.Errorf("%d kills: %s", got, f.saw())
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
