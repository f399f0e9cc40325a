package run_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/formicary/formicary/libs/run"
)

func TestGroupEndsTogetherAndNamesTheFailure(t *testing.T) {
	boom := errors.New("boom")
	ended := false
	err := run.Group(t.Context(),
		run.Member{Name: "waits", Run: func(ctx context.Context) error { <-ctx.Done(); ended = true; return ctx.Err() }},
		run.Member{Name: "fails", Run: func(context.Context) error { return boom }},
	)
	if !errors.Is(err, boom) || err.Error() != "fails: boom" || !ended {
		t.Fatalf("err %v, other ended %v", err, ended)
	}
}

func TestGroupReportsAMemberThatEndsByItself(t *testing.T) {
	err := run.Group(t.Context(), run.Member{Name: "short", Run: func(context.Context) error { return nil }})
	if err == nil {
		t.Fatal("no error")
	}
}

func TestLoopSurvivesPanicsAndIsWoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		wake := run.NewSignal()
		rounds := 0
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = run.Loop(ctx, slog.New(slog.DiscardHandler), "x", time.Hour, wake, func(context.Context) error {
				rounds++
				if rounds == 1 {
					panic("first")
				}
				return nil
			})
		}()
		time.Sleep(time.Second)
		synctest.Wait() // the failed round is repeated long before the hour
		if rounds != 2 {
			t.Errorf("%d rounds after the panic, want 2", rounds)
		}
		wake.Set()
		synctest.Wait()
		if rounds != 3 {
			t.Errorf("%d rounds after the wake, want 3", rounds)
		}
		cancel()
		<-done
	})
}
