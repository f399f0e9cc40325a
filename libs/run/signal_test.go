package run_test

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/formicary/formicary/libs/run"
)

// raise sends a signal to this process.
func raise(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(os.Getpid(), sig); err != nil {
		t.Fatal(err)
	}
}

func within(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(30 * time.Second):
		t.Fatalf("%s: not within 30 s", what)
	}
}

func TestSecondSignalHurries(t *testing.T) {
	ctx, stop := run.Interruptible(t.Context(), syscall.SIGUSR1)
	defer stop()
	hurried := run.Hurried(context.WithoutCancel(ctx))
	raise(t, syscall.SIGUSR1)
	within(t, "the first signal ends the context", ctx.Done())
	raise(t, syscall.SIGUSR1) // as timeout(1) does: to the process and to its group
	raise(t, syscall.SIGHUP)  // as a shell does whose terminal is closed
	raise(t, syscall.SIGHUP)
	select {
	case <-hurried:
		t.Fatal("one request to end, said twice, hurries")
	case <-time.After(400 * time.Millisecond):
	}
	raise(t, syscall.SIGUSR1)
	within(t, "the second signal hurries", hurried)
}

func TestHangUpIsNeverTheSecondSignal(t *testing.T) {
	if signal.Ignored(syscall.SIGHUP) {
		t.Skip("these tests were told to ignore hang-ups, as by nohup")
	}
	ctx, stop := run.Interruptible(t.Context())
	defer stop()
	hurried := run.Hurried(ctx)
	raise(t, syscall.SIGHUP)
	within(t, "a hang-up ends the context", ctx.Done())
	select {
	case <-hurried:
		t.Fatal("hurried")
	case <-time.After(400 * time.Millisecond):
	}
	raise(t, syscall.SIGHUP)
	select {
	case <-hurried:
		t.Fatal("a second hang-up hurries")
	case <-time.After(50 * time.Millisecond):
	}
}

func TestNothingIsHurriedWithoutSignals(t *testing.T) {
	if run.Hurried(t.Context()) != nil {
		t.Error("a context of its own is hurried by signals")
	}
}
