package events

import (
	"bytes"
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
)

// Hints listens to what may be lost.
type Hints struct {
	NATS *nats.Conn
	// AntChanged is called when an ant came, went or changed, OthersWait when a class of tasks began to wait for slots at
	// another replica. They must not block.
	AntChanged, OthersWait func()

	self uuid.UUID
}

const waiting = "formicary.live.waiting"

// NewHints returns the hints of one replica.
func NewHints(nc *nats.Conn) *Hints { return &Hints{NATS: nc, self: uuid.New()} }

// ClassesWait tells the other replicas that a class of tasks waits for slots here. The payload is who says so. Who does
// not hear it finds out with its next sweep.
func (h *Hints) ClassesWait() {
	_ = h.NATS.Publish(waiting, h.self[:]) // fails only without a connection
}

// Run listens until ctx ends.
func (h *Hints) Run(ctx context.Context) error {
	sub, err := h.NATS.Subscribe("formicary.live.ant", func(*nats.Msg) { h.AntChanged() })
	if err != nil {
		return fmt.Errorf("listen to ants: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection may be closed already
	others, err := h.NATS.Subscribe(waiting, func(m *nats.Msg) {
		if !bytes.Equal(m.Data, h.self[:]) {
			h.OthersWait()
		}
	})
	if err != nil {
		return fmt.Errorf("listen to the other replicas: %w", err)
	}
	defer func() { _ = others.Unsubscribe() }()
	<-ctx.Done()
	return nil
}
