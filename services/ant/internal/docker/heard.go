package docker

import (
	"context"
	"fmt"
	"time"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
)

// heard makes a call that has no limit of its own, and gives up when the engine is silent for too long: one that hangs ends no call.
// A call that is given up stays behind until its connection ends.
func heard[T any](e *Executor, call func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	answered := make(chan answer, 1)
	go func() {
		value, err := call()
		answered <- answer{value, err}
	}()
	watch := time.NewTicker(pingEach)
	defer watch.Stop()
	for {
		select {
		case a := <-answered:
			return a.value, a.err
		case <-watch.C:
			if err := e.noWord(); err != nil {
				var none T
				return none, err
			}
		}
	}
}

// noWord returns an error when the engine is silent for too long.
func (e *Executor) noWord() error {
	if silent := e.silent(); silent > e.patience {
		return fmt.Errorf("no word for %s", silent.Round(time.Second))
	}
	return nil
}

// whileHeard returns a context that ends when the engine is silent for too long, with that as the cause.
func (e *Executor) whileHeard(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := heard(e, func() (struct{}, error) { <-ctx.Done(); return struct{}{}, nil })
		cancel(err)
	}()
	return ctx, func() { cancel(nil); <-done }
}

// ending is the word that an engine gives of a container's end.
type ending struct {
	status <-chan container.WaitResponse
	failed <-chan error
}

// ending asks for the word of a container's end.
func (e *Executor) ending(ctx context.Context, id string, condition container.WaitCondition) (ending, error) {
	return heard(e, func() (ending, error) {
		status, failed := e.engine().ContainerWait(ctx, id, condition)
		return ending{status, failed}, nil
	})
}

// word waits for it.
func (e *Executor) word(w ending) (int64, error) {
	return heard(e, func() (int64, error) {
		select {
		case end := <-w.status:
			return end.StatusCode, nil
		case err := <-w.failed:
			return -1, err
		}
	})
}

// attach opens the streams of a container.
func (e *Executor) attach(ctx context.Context, id string, o container.AttachOptions) (types.HijackedResponse, error) {
	return heard(e, func() (types.HijackedResponse, error) { return e.engine().ContainerAttach(ctx, id, o) })
}
