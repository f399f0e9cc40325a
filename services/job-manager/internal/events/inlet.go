package events

import (
	"context"
	"log/slog"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/formicary/formicary/libs/bus"
	"github.com/formicary/formicary/libs/pgdb"
)

// Quarantine keeps a message that cannot be handled where a person can look at it.
type Quarantine func(ctx context.Context, subject string, payload []byte, delivered uint64, reason string) error

// Failed records that a message failed alone, by its own fault, and returns how often it has.
type Failed func(ctx context.Context, kind, key, reason string) (int, error)

// Inlet is what consumers of the stream have in common: where messages come from, and where bad ones go.
type Inlet struct {
	JS         jetstream.JetStream
	Log        *slog.Logger
	Quarantine Quarantine
	Failed     Failed
}

// fault says what the error of a batch tells of its messages.
func fault(err error) bus.Fault {
	switch {
	case pgdb.Slow(err):
		return bus.Slow
	case pgdb.Temporary(err):
		return bus.Away
	}
	return bus.Content
}

// careful handles messages of a kind with f.
func careful[T any](c *Inlet, kind string, f func(context.Context, []bus.Item[T]) error) *bus.Careful[T] {
	return &bus.Careful[T]{
		Log: c.Log, Kind: kind, Handle: f, Fault: fault, Failed: c.Failed,
		GiveUp: func(ctx context.Context, it bus.Item[T], err error) { c.poison(ctx, it.Msg, err) },
	}
}

func (c *Inlet) poison(ctx context.Context, m jetstream.Msg, reason error) {
	var delivered uint64
	if meta, err := m.Metadata(); err == nil {
		delivered = meta.NumDelivered
	}
	c.Log.Error("message is put into quarantine", "subject", m.Subject(), "delivered", delivered, "error", reason)
	if err := c.Quarantine(ctx, m.Subject(), m.Data(), delivered, reason.Error()); err != nil {
		c.Log.Error("quarantine failed", "error", err)
		return // it comes again
	}
	_ = m.Term() // without it the message comes again and is kept twice
}
