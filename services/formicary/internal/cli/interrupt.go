package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// heard makes the end of whoever reads the output an interruption, as Ctrl-C is: commands that have begun something must
// end it. By default such a process is killed by SIGPIPE.
func (a *app) heard() {
	// Caught and not ignored: what is started from here would inherit that. Sockets raise it too, so it says nothing.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	a.Out, a.Err = outlet{a.Out, a.interrupt}, outlet{a.Err, a.interrupt}
}

// outlet is a stream of the process.
type outlet struct {
	io.Writer
	gone func()
}

func (o outlet) Write(p []byte) (int, error) {
	n, err := o.Writer.Write(p)
	if errors.Is(err, syscall.EPIPE) {
		o.gone()
	}
	return n, err
}

// hurried returns a context that ends when the user has asked twice to end.
func hurried(ctx context.Context, asked <-chan struct{}) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	if asked != nil {
		go func() {
			select {
			case <-asked:
				cancel()
			case <-ctx.Done():
			}
		}()
	}
	return ctx, cancel
}
