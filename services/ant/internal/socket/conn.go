package socket

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/formicary/formicary/services/ant/internal/wire"
)

const (
	// maxUnsent is how many messages may wait for a worker that does not read; then the connection is cut.
	maxUnsent = 256
	writeTime = 10 * time.Second
)

var errSlow = errors.New("the worker does not read what it is sent")

// conn is one connection. Everything that is sent goes through its queue; send never blocks.
type conn struct {
	ws   *websocket.Conn
	ping time.Duration
	out  chan []byte

	once sync.Once
	cut  chan struct{} // closed when the connection is to be ended from this side
	code websocket.StatusCode
	why  string
	slow chan struct{} // closed with cut when the worker does not read: no close frame would reach it
}

func newConn(ws *websocket.Conn, ping time.Duration) *conn {
	return &conn{ws: ws, ping: ping, out: make(chan []byte, maxUnsent), cut: make(chan struct{}), slow: make(chan struct{})}
}

// end asks for the end of the connection; the first reason counts.
func (c *conn) end(code websocket.StatusCode, why string) {
	c.once.Do(func() {
		c.code, c.why = code, why
		close(c.cut)
	})
}

// abandon ends it without waiting for the worker.
func (c *conn) abandon() {
	c.once.Do(func() {
		c.code, c.why = websocket.StatusPolicyViolation, errSlow.Error()
		close(c.slow)
		close(c.cut)
	})
}

// send queues a message. A worker that lets the queue run full is cut off.
func (c *conn) send(data []byte) error {
	select {
	case c.out <- data:
		return nil
	default:
		c.abandon()
		return errSlow
	}
}

func (c *conn) sendMessage(m *wire.Message) error {
	data, err := wire.Encode(m)
	if err != nil {
		return err
	}
	return c.send(data)
}

// read returns the next message.
func (c *conn) read(ctx context.Context) (*wire.Message, error) {
	typ, data, err := c.ws.Read(ctx)
	if err != nil {
		return nil, err
	}
	if typ != websocket.MessageText {
		return nil, errors.New("want text messages")
	}
	return wire.Decode(data)
}

// run hears the worker, writes the queue and pings until the connection ends; it returns why.
func (c *conn) run(ctx context.Context, hear func(*conn, *wire.Message)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	wg.Go(func() { cancel(c.write(ctx)) })
	wg.Go(func() { cancel(c.pings(ctx)) })
	wg.Go(func() {
		select {
		case <-c.slow:
			cancel(errSlow)
		case <-ctx.Done():
		}
	})
	err := func() error {
		for {
			m, err := c.read(ctx)
			if err != nil {
				return err
			}
			hear(c, m)
		}
	}()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	cancel(err)
	wg.Wait()
	return err
}

func (c *conn) isSlow() bool {
	select {
	case <-c.slow:
		return true
	default:
		return false
	}
}

// errCut says that this side wanted the end.
var errCut = errors.New("the connection was ended")

func (c *conn) write(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.cut:
			if c.isSlow() {
				return errSlow
			}
			_ = c.ws.Close(c.code, c.why) // the worker's answer ends the reading
			return errCut
		case data := <-c.out:
			if err := c.put(ctx, data); err != nil {
				return err
			}
		}
	}
}

func (c *conn) put(ctx context.Context, data []byte) error {
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	if err := c.ws.Write(ctx, websocket.MessageText, data); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// pings finds a connection that is dead without a word.
func (c *conn) pings(ctx context.Context) error {
	tick := time.NewTicker(c.ping)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		answer, cancel := context.WithTimeout(ctx, c.ping)
		err := c.ws.Ping(answer)
		cancel()
		if err != nil {
			return fmt.Errorf("ping: %w", err)
		}
	}
}

// refuse tells the worker why it is sent away, beyond what a close frame can hold.
func (c *conn) refuse(ctx context.Context, why error) {
	if data, err := wire.Encode(&wire.Message{Type: wire.TypeError, Message: why.Error()}); err == nil {
		_ = c.put(ctx, data)
	}
}

// verdict is what the worker is told at the end.
func (c *conn) verdict(err error) (code websocket.StatusCode, reason string) {
	select {
	case <-c.cut:
		return c.code, c.why
	default:
	}
	switch {
	case websocket.CloseStatus(err) != -1:
		return websocket.StatusNormalClosure, ""
	case errors.Is(err, wire.ErrTooLarge):
		return websocket.StatusMessageTooBig, err.Error()
	case errors.Is(err, context.Canceled):
		return websocket.StatusGoingAway, "the bridge is closing"
	}
	return websocket.StatusProtocolError, clip(err.Error())
}

// close ends the connection; a worker that does not answer does not hold it up.
func (c *conn) close(code websocket.StatusCode, reason string) {
	if !c.isSlow() {
		_ = c.ws.Close(code, reason)
	}
	_ = c.ws.CloseNow()
}
