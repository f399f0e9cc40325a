package worker

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/formicary/formicary/services/ant/internal/wire"
)

// queueListener takes tasks from a subject. It listens only while it has a free slot: so NATS gives them to others meanwhile.
type queueListener struct {
	conf Config
	book *book
	nc   *nats.Conn
	free chan struct{}
}

// overNATS listens until ctx ends.
func overNATS(ctx context.Context, c Config, b *book) error {
	if err := wire.CheckSubject(c.Queue); err != nil {
		return fmt.Errorf("queue of the worker: %w", err)
	}
	nc, err := nats.Connect(c.URL, nats.Name(c.ID), nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { c.Log.Warn("no connection to NATS", "error", err) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				c.Log.Warn("the connection to NATS is lost", "error", err)
			}
		}))
	if err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	defer nc.Close()
	t := &queueListener{conf: c, book: b, nc: nc, free: make(chan struct{}, 1)}
	b.free = func() {
		select {
		case t.free <- struct{}{}:
		default:
		}
	}
	cancels, err := nc.Subscribe(wire.CancelSubject(c.Queue), func(msg *nats.Msg) {
		if m, err := wire.Decode(msg.Data); err == nil && m.Type == wire.TypeCancel {
			b.cancel(m)
		}
	})
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", wire.CancelSubject(c.Queue), err)
	}
	defer func() { _ = cancels.Unsubscribe() }()
	err = t.listen(ctx)
	b.end()
	_ = nc.FlushTimeout(callTime)
	return err
}

// listen takes one task after the other.
func (t *queueListener) listen(ctx context.Context) error {
	for {
		msgs := make(chan *nats.Msg, queued)
		sub, err := t.nc.ChanQueueSubscribe(t.conf.Queue, t.conf.Group, msgs)
		if err != nil {
			return fmt.Errorf("subscribe to %s: %w", t.conf.Queue, err)
		}
		t.acceptAll(ctx, msgs)
		_ = sub.Unsubscribe()
		for more := true; more; { // what came in the meantime may be a task that the worker has already
			select {
			case msg := <-msgs:
				t.accept(msg)
			default:
				more = false
			}
		}
		for ctx.Err() == nil && !t.book.room() {
			select {
			case <-ctx.Done():
			case <-t.free:
			}
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the end of ctx is no error
		}
	}
}

// acceptAll takes tasks until there is no slot left for another.
func (t *queueListener) acceptAll(ctx context.Context, msgs <-chan *nats.Msg) {
	for {
		select {
		case <-ctx.Done():
			return
		case msg := <-msgs:
			if !t.accept(msg) {
				return
			}
		}
	}
}

func (t *queueListener) accept(msg *nats.Msg) (more bool) {
	m, err := wire.Decode(msg.Data)
	if err != nil || m.Type != wire.TypeTask || m.ReplyTo == "" {
		t.conf.Log.Warn("no task", "subject", msg.Subject, "error", err)
		return true
	}
	return t.book.task(m, func(answer *wire.Message) { t.send(m.ReplyTo, answer) })
}

func (t *queueListener) send(subject string, m *wire.Message) {
	data, err := wire.Encode(m)
	if errors.Is(err, wire.ErrTooLarge) && m.Type == wire.TypeReply {
		data, err = wire.Encode(tooLarge(m))
	}
	if err == nil {
		err = t.nc.Publish(subject, data)
	}
	if err != nil {
		t.conf.Log.Error("message not sent", "attempt", m.UID, "type", m.Type, "error", err)
	}
}
