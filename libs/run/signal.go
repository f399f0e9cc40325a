package run

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// interruption is what signals make of a process.
type interruption struct {
	in      chan os.Signal
	end     context.CancelFunc
	heeded  atomic.Bool   // somebody asked for hurried
	hurried chan struct{} // closed by the second signal
	over    chan struct{} // closed when nobody listens any more
}

type interruptionKey struct{}

// sameSignal is how long a signal may take to come: shells and timeout(1) send one to the process and to its group.
const sameSignal = 300 * time.Millisecond

// Interruptible returns a context that ends on SIGINT, SIGTERM, SIGHUP (unless the process was told to ignore that, as
// by nohup) or one of more. The second signal hurries those who asked Hurried; where there are none, and as the third,
// a signal has its default effect. What comes within 300 ms of the one before counts with it, and a hang-up is said
// only once.
func Interruptible(parent context.Context, more ...os.Signal) (context.Context, context.CancelFunc) {
	ctx, end := context.WithCancel(parent)
	i := &interruption{in: make(chan os.Signal, 2), end: end, hurried: make(chan struct{}), over: make(chan struct{})}
	signals := append([]os.Signal{syscall.SIGINT, syscall.SIGTERM}, more...)
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	signal.Notify(i.in, signals...)
	stop := make(chan struct{})
	go i.listen(stop)
	return context.WithValue(ctx, interruptionKey{}, i), sync.OnceFunc(func() {
		signal.Stop(i.in)
		close(stop)
		<-i.over
		end()
	})
}

// Hurried is closed when the process was asked twice to end: what is waited for is waited for no longer. Of a context
// that does not come from Interruptible it is nil. Contexts that outlive the first signal by WithoutCancel keep it.
func Hurried(ctx context.Context) <-chan struct{} {
	i, ok := ctx.Value(interruptionKey{}).(*interruption)
	if !ok {
		return nil
	}
	i.heeded.Store(true)
	return i.hurried
}

func (i *interruption) listen(stop <-chan struct{}) {
	defer close(i.over)
	var last time.Time
	for n := 0; ; {
		var sig os.Signal
		select {
		case sig = <-i.in:
		case <-stop:
			return
		}
		again := n > 0 && (sig == syscall.SIGHUP || time.Since(last) < sameSignal)
		if again {
			continue
		}
		last = time.Now()
		n++
		switch {
		case n == 1:
			i.end()
		case n == 2 && i.heeded.Load():
			close(i.hurried)
		default:
			signal.Stop(i.in)
			signal.Reset(sig)
			if s, ok := sig.(syscall.Signal); ok {
				_ = syscall.Kill(os.Getpid(), s)
			}
			return
		}
	}
}
