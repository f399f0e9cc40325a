// Package socket holds the WebSocket connections of workers. Each worker is an ant of its own: Hub keeps it for as long
// as it is connected, and for a grace after that, in which it may come back and go on with what it was doing.
//
//	connection ─ register ─▶ Worker (an executor) ◀─ Options.Serve: the ant of this worker
//	     ▲                        │ no connection for Options.Times.Away, or Serve has ended
//	     └──── comes again ◀──────┴──▶ gone
//
// A worker that comes from another bridge says which attempts it has. Its ant here, which supersedes the one there, asks
// the colony for them before the worker is answered, so that what runs goes on.
package socket

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/formicary/formicary/services/ant/internal/relay"
	"github.com/formicary/formicary/services/ant/internal/wire"
)

// Options of a hub.
type Options struct {
	// Token that workers must present; empty asks for none.
	Token string
	// Reserved are ids that no worker may take.
	Reserved []string
	// MaxWorkers is how many there may be at once.
	MaxWorkers int
	// Times of the conversation about an attempt; Away is also how long a worker without connection is kept.
	Times relay.Times
	// Ping is the interval of pings, and how long their answer may take.
	Ping time.Duration
	// Serve is the ant of a worker. It runs until ctx ends; when it ends by itself the worker is sent away.
	Serve func(ctx context.Context, w *Worker) error
	Log   *slog.Logger
}

// Close codes beyond those of the WebSocket protocol.
const (
	// StatusSuperseded says that the worker has connected again, here or elsewhere: this connection must not come back.
	StatusSuperseded websocket.StatusCode = 4001
	// StatusRefused says that the registration is not accepted; trying it again unchanged is of no use.
	StatusRefused websocket.StatusCode = 4003
)

const registerTime = 10 * time.Second

// Hub is the workers that are connected.
type Hub struct {
	opts Options

	life context.Context
	end  context.CancelFunc
	wg   sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	workers map[string]*Worker
}

// New returns a hub; Run must run while it is used.
func New(o Options) *Hub {
	h := &Hub{opts: o, workers: map[string]*Worker{}}
	h.life, h.end = context.WithCancel(context.Background())
	return h
}

// Run lets workers in until ctx ends, then ends their ants, which may finish what runs, and closes the connections.
func (h *Hub) Run(ctx context.Context) error {
	<-ctx.Done()
	h.mu.Lock()
	h.closed = true
	workers := make([]*Worker, 0, len(h.workers))
	for _, w := range h.workers {
		workers = append(workers, w)
	}
	h.mu.Unlock()
	for _, w := range workers {
		w.leave()
	}
	for _, w := range workers {
		<-w.gone
	}
	ended := make(chan struct{})
	go func() {
		h.wg.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(goodbyeTime):
	}
	h.end()
	<-ended
	return nil
}

// goodbyeTime is what workers get to answer the closing of their connections.
const goodbyeTime = time.Second

// enter counts a connection; false when none may begin any more.
func (h *Hub) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.wg.Add(1)
	return true
}

// ServeHTTP is a connection from its first to its last message.
func (h *Hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !h.enter() {
		http.Error(w, "the bridge is closing", http.StatusServiceUnavailable)
		return
	}
	defer h.wg.Done()
	ws, err := websocket.Accept(w, r, nil) // refuses pages of other origins
	if err != nil {
		h.opts.Log.Debug("no WebSocket", "remote", r.RemoteAddr, "error", err)
		return
	}
	ws.SetReadLimit(wire.MaxMessage)
	c := newConn(ws, h.opts.Ping)
	ctx, cancel := context.WithCancel(h.life) // the request's own context does not outlive the handshake for sure
	defer cancel()
	code, reason := h.talk(ctx, c)
	c.close(code, reason)
}

// talk registers the worker and hears it until the connection ends.
func (h *Hub) talk(ctx context.Context, c *conn) (code websocket.StatusCode, reason string) {
	m, err := h.register(ctx, c)
	if err != nil {
		c.refuse(ctx, err)
		return StatusRefused, clip(err.Error())
	}
	for {
		w, err := h.worker(m)
		if err != nil {
			c.refuse(ctx, err)
			return websocket.StatusTryAgainLater, clip(err.Error())
		}
		if w.same(m) {
			if code, reason := h.await(ctx, w, c); code != 0 {
				return code, reason
			}
		}
		if w.same(m) && w.attach(c, m) {
			err := c.run(ctx, w.hear)
			w.detach(c, websocket.CloseStatus(err) == websocket.StatusNormalClosure)
			return c.verdict(err)
		}
		w.supersede() // it is another one now, or it is on its way out
		select {
		case <-w.gone:
		case <-ctx.Done():
			return websocket.StatusGoingAway, "the bridge is closing"
		}
	}
}

// await waits until the worker may be told with what it goes on; a code says that this connection ends instead.
func (h *Hub) await(ctx context.Context, w *Worker, c *conn) (code websocket.StatusCode, reason string) {
	err := w.meet(ctx, c)
	select {
	case <-w.met:
	case <-w.gone: // before anybody was attached
		return farewell(w.fault)
	default:
	}
	switch {
	case err == nil:
		return 0, ""
	case errors.Is(err, errOlder):
		return StatusSuperseded, err.Error()
	case errors.Is(err, errSilent):
		return websocket.StatusTryAgainLater, err.Error()
	}
	return websocket.StatusGoingAway, "the bridge is closing"
}

// register reads and checks the first message.
func (h *Hub) register(ctx context.Context, c *conn) (*wire.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, registerTime)
	defer cancel()
	m, err := c.read(ctx)
	if err != nil {
		return nil, errors.New("the first message must be a register of version 1, within 10 s")
	}
	if m.Type != wire.TypeRegister {
		return nil, fmt.Errorf("the first message must be register, not %.40q", m.Type)
	}
	if subtle.ConstantTimeCompare([]byte(m.Token), []byte(h.opts.Token)) != 1 {
		return nil, errors.New("register: the token is wrong")
	}
	if err := wire.CheckRegister(m); err != nil {
		return nil, fmt.Errorf("register: %w", err)
	}
	if slices.Contains(h.opts.Reserved, m.WorkerID) {
		return nil, fmt.Errorf("register: worker_id %s is that of an ant", m.WorkerID)
	}
	m.Slots = max(m.Slots, 1)
	slices.Sort(m.Tags)
	m.Tags = slices.Compact(m.Tags)
	return m, nil
}

// worker returns the one with this id, made when there is none.
func (h *Hub) worker(m *wire.Message) (*Worker, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch w := h.workers[m.WorkerID]; {
	case h.closed:
		return nil, errors.New("the bridge is closing")
	case w != nil:
		return w, nil
	case len(h.workers) >= h.opts.MaxWorkers:
		return nil, fmt.Errorf("there are %d workers already, as many as this bridge takes", len(h.workers))
	}
	w := newWorker(m, h.opts.Times, h.opts.Log)
	h.workers[w.id] = w
	h.wg.Go(func() { h.serve(w) })
	return w, nil
}

// serve is the life of a worker.
func (h *Hub) serve(w *Worker) {
	err := h.opts.Serve(w.life, w)
	if err != nil {
		h.opts.Log.Warn("the ant of a worker ended", "worker", w.id, "error", err)
	}
	h.mu.Lock()
	delete(h.workers, w.id)
	h.mu.Unlock()
	w.end(err)
}

// clip keeps a reason within what a close frame can hold.
func clip(s string) string {
	const most = 120
	if len(s) > most {
		return s[:most]
	}
	return s
}
