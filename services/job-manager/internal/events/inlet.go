package events

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/nats-io/nats.go/jetstream"
)

// Quarantine keeps a message that cannot be handled where a person can look at it.
type Quarantine func(ctx context.Context, subject string, payload []byte, delivered uint64, reason string) error

// inlet is what consumers of the stream have in common: what they do with messages that are bad.
type inlet struct {
	js         jetstream.JetStream
	log        *slog.Logger
	quarantine Quarantine
}

// refused says that the database answered and did not accept the content, as opposed to being away.
func refused(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code[:2] == "22" || pg.Code[:2] == "23")
}

// giveBack lets a message come again, or takes it out when it has come too often.
func (c *inlet) giveBack(ctx context.Context, m jetstream.Msg, err error) {
	meta, merr := m.Metadata()
	if merr == nil && meta.NumDelivered > maxDelivered {
		c.poison(ctx, m, err)
		return
	}
	c.log.Error("a message was refused", "subject", m.Subject(), "error", err)
	_ = m.NakWithDelay(time.Second) // without it the message comes again after the consumer's wait
}

func (c *inlet) poison(ctx context.Context, m jetstream.Msg, reason error) {
	var delivered uint64
	if meta, err := m.Metadata(); err == nil {
		delivered = meta.NumDelivered
	}
	c.log.Error("message is put into quarantine", "subject", m.Subject(), "delivered", delivered, "error", reason)
	if err := c.quarantine(ctx, m.Subject(), m.Data(), delivered, reason.Error()); err != nil {
		c.log.Error("quarantine failed", "error", err)
		return // it comes again
	}
	_ = m.Term() // without it the message comes again and is kept twice
}
