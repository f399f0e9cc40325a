package events

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"
)

// Hints listens to what may be lost.
type Hints struct {
	NATS *nats.Conn
	// AntChanged is called when an ant came, went or changed. It must not block.
	AntChanged func()
}

// Run listens until ctx ends.
func (h *Hints) Run(ctx context.Context) error {
	sub, err := h.NATS.Subscribe("formicary.live.ant", func(*nats.Msg) { h.AntChanged() })
	if err != nil {
		return fmt.Errorf("listen to ants: %w", err)
	}
	<-ctx.Done()
	_ = sub.Unsubscribe() // the connection may be closed already
	return nil
}
