package up

import (
	"context"
	"errors"

	"github.com/formicary/formicary/libs/run"
)

// layered runs all layers at once and ends them from the last to the first: a layer's context ends when every layer
// above it has returned. When a member fails everything ends, in the same order.
func layered(ctx context.Context, layers ...[]run.Member) error {
	if len(layers) == 0 {
		<-ctx.Done()
		return nil
	}
	below, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	above, fail := context.WithCancel(ctx)
	defer fail()
	ended := make(chan error, 1)
	go func() {
		ended <- run.Group(below, layers[0]...)
		fail()
	}()
	err := layered(above, layers[1:]...)
	end()
	return errors.Join(err, <-ended)
}
