package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coder/websocket"

	"github.com/formicary/formicary/services/ant/internal/wire"
)

const (
	firstPause = 100 * time.Millisecond
	maxPause   = 5 * time.Second
	callTime   = 10 * time.Second
	superseded = 4001
	refused    = 4003
	queued     = 1024 // messages that may wait for the connection
)

// overSocket connects and connects again.
func overSocket(ctx context.Context, c Config, b *book) error {
	pause := firstPause
	for {
		began := time.Now()
		err := connect(ctx, c, b)
		code := websocket.CloseStatus(err)
		if ctx.Err() != nil || code == superseded || code == refused {
			b.end()
		}
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the end of ctx is no error
		case code == superseded || code == refused:
			return fmt.Errorf("worker %s is sent away: %w", c.ID, err)
		}
		if time.Since(began) > maxPause {
			pause = firstPause
		}
		c.Log.Warn("connection to the bridge lost", "worker", c.ID, "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
			pause = min(2*pause, maxPause)
		}
	}
}

// connect registers and serves one connection.
func connect(ctx context.Context, c Config, b *book) error {
	dial, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	ws, res, err := websocket.Dial(dial, c.URL, nil)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if res.Body != nil {
		_ = res.Body.Close()
	}
	defer func() { _ = ws.CloseNow() }()
	ws.SetReadLimit(wire.MaxMessage)
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	out := make(chan *wire.Message, queued) // nil is the last
	say := func(m *wire.Message) {
		select {
		case out <- m:
		default:
			end() // the bridge does not read: start over
		}
	}
	hello := &wire.Message{
		Type: wire.TypeRegister, WorkerID: c.ID, Methods: []string{wire.MethodWebsocket}, Tags: c.Tags, Slots: c.Slots, Token: c.Token, Resume: b.uids(),
	}
	if err := write(life, ws, hello); err != nil {
		return err
	}
	written := make(chan struct{})
	watched := make(chan struct{})
	defer func() { end(); <-written; <-watched }()
	go func() {
		defer close(watched)
		defer end()
		watch(life, ws, c.Patience)
	}()
	go func() {
		defer close(written)
		defer end()
		for {
			select {
			case <-life.Done():
				return
			case m := <-out:
				if m == nil {
					_ = ws.Close(websocket.StatusNormalClosure, "")
					return
				}
				if write(life, ws, m) != nil {
					return
				}
			}
		}
	}()
	stop := context.AfterFunc(ctx, func() { goodbye(life, b, out) })
	defer stop()
	return hear(life, ws, b, say)
}

// watch returns when the bridge does not answer any more: a host that is gone, or a line that was cut, ends no connection
// by itself.
func watch(ctx context.Context, ws *websocket.Conn, patience time.Duration) {
	tick := time.NewTicker(patience / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		answer, cancel := context.WithTimeout(ctx, patience-patience/3)
		err := ws.Ping(answer)
		cancel()
		if err != nil {
			return
		}
	}
}

// goodbye ends the handlers and lets the connection be closed after their replies.
func goodbye(ctx context.Context, b *book, out chan *wire.Message) {
	b.end()
	select {
	case out <- nil:
	case <-ctx.Done():
	}
}

func hear(ctx context.Context, ws *websocket.Conn, b *book, say func(*wire.Message)) error {
	for {
		_, data, err := ws.Read(ctx)
		if err != nil {
			return err
		}
		m, err := wire.Decode(data)
		if err != nil {
			return err
		}
		switch m.Type {
		case wire.TypeRegistered:
			b.resume(m, say)
		case wire.TypeTask:
			b.task(m, say)
		case wire.TypeCancel:
			b.cancel(m)
		case wire.TypeError:
			b.conf.Log.Error("the bridge refuses the worker", "worker", b.conf.ID, "error", m.Message)
		default: // of a later version
		}
	}
}

func write(ctx context.Context, ws *websocket.Conn, m *wire.Message) error {
	data, err := wire.Encode(m)
	if errors.Is(err, wire.ErrTooLarge) && m.Type == wire.TypeReply {
		data, err = wire.Encode(tooLarge(m))
	}
	if errors.Is(err, wire.ErrTooLarge) {
		return nil // lines of a log, which nothing depends on
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	return ws.Write(ctx, websocket.MessageText, data)
}

// tooLarge stands for a reply that cannot be sent.
func tooLarge(m *wire.Message) *wire.Message {
	return &wire.Message{Type: wire.TypeReply, UID: m.UID, Worker: m.Worker, Status: wire.Failed, ExitCode: 1, ErrorCode: "ERR_REPLY_TOO_LARGE", Message: wire.ErrTooLarge.Error()}
}
