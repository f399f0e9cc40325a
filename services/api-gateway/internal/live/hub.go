// Package live sends what changes to those who watch.
//
// A Hub takes the events of the colony from NATS, once per process, and hands each to the watches that want it. What
// comes from NATS is a hint: it may be lost, doubled or late. The truth is what job-manager and supervisor answer. So
// a watch of one request joins the hub first and reads the state after that (nothing falls between), drops what is
// older than what it has sent, and reads the state again whenever it has heard nothing for a while: a lost hint costs
// seconds, never the truth. A watch of everything that may have missed something says so by another hello.
//
// Every event has an id, and the newest events are kept, so that a client that comes back with the last id it saw misses
// nothing, here or at another replica; where that cannot be known the hello says so. See position.go.
//
// Nothing is unbounded: the kept events, the queue of each watch (a watch that does not keep up ends with
// WATCH_TOO_SLOW) and the number of watches, which the gate limits.
package live

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/grpc"

	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

// Config bounds and times the watches.
type Config struct {
	// Kept is how many events are kept for clients that come back.
	Kept int
	// Queue is how many events a watch may lag behind.
	Queue int
	// Heartbeat is sent after this much silence.
	Heartbeat time.Duration
	// Recheck is how long the watch of a request hears nothing before it reads the state.
	Recheck time.Duration
	// Life of a watch, after which the client comes again.
	Life time.Duration
	// ReadTime bounds one read of the state.
	ReadTime time.Duration
}

// Hub hands events to watches.
type Hub struct {
	conf     Config
	nc       *nats.Conn
	log      *slog.Logger
	requests jobv1.JobRequestServiceClient
	tasks    executionv1.ExecutionServiceClient
	slow     func()
	born     string
	ready    chan struct{} // closed when the hub hears events

	mu   sync.Mutex
	seq  uint64
	mark int64                          // the newest time of an event so far, in microseconds: the database's clock
	gap  uint64                         // what came up to here may have been incomplete
	base int64                          // when the last gap ended, in microseconds: this host's clock
	kept []entry                        // event n is kept[n % len]
	one  map[string]map[*Watch]struct{} // watches of one request
	all  map[*Watch]struct{}            // the others
}

// entry is an event with the org that may see it.
type entry struct {
	org  string
	msg  *jobv1.WatchEventsResponse
	mark int64 // of the hub when it came, or that time when it is later
}

// New returns a hub that reads states by conn. slow is called for every watch that was too slow.
func New(conf Config, nc *nats.Conn, conn grpc.ClientConnInterface, log *slog.Logger, slow func()) *Hub {
	return &Hub{
		conf: conf, nc: nc, log: log, slow: slow, born: born(), ready: make(chan struct{}),
		requests: jobv1.NewJobRequestServiceClient(conn), tasks: executionv1.NewExecutionServiceClient(conn),
		kept: make([]entry, conf.Kept), base: time.Now().UnixMicro(), one: map[string]map[*Watch]struct{}{}, all: map[*Watch]struct{}{},
	}
}

// born names this hub in its ids, so that those of another one are told apart.
func born() string {
	var b [6]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

const (
	inboxSize  = 16384
	flushTime  = 2 * time.Second
	dropsEvery = time.Second
)

// Run listens to the colony's events until ctx ends.
func (h *Hub) Run(ctx context.Context) error {
	inbox := make(chan *nats.Msg, inboxSize) // one for all subjects: it keeps the order in which they came
	var subs []*nats.Subscription
	for _, subject := range [...]string{changedSubject, tasksSubject} {
		sub, err := h.nc.ChanSubscribe(subject, inbox)
		if err != nil {
			return fmt.Errorf("subscribe to %s: %w", subject, err)
		}
		defer sub.Unsubscribe() //nolint:errcheck // the connection may be gone already
		subs = append(subs, sub)
	}
	connected := h.nc.StatusChanged(nats.CONNECTED)
	defer h.nc.RemoveStatusListener(connected)
	h.flush(ctx)
	h.mu.Lock()
	h.base = time.Now().UnixMicro()
	h.mu.Unlock()
	close(h.ready)

	drops := time.NewTicker(dropsEvery)
	defer drops.Stop()
	dropped := 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-inbox:
			h.receive(m)
		case <-connected:
			h.missed()
		case <-drops.C:
			now := 0
			for _, s := range subs {
				n, _ := s.Dropped()
				now += n
			}
			if now != dropped {
				h.log.Warn("events were dropped before the gateway could take them", "dropped", now-dropped)
				dropped = now
				h.missed()
			}
		}
	}
}

// flush waits until the server knows the subscriptions. Without a connection they count from the next one on, and
// every watch hears that it may have missed something.
func (h *Hub) flush(ctx context.Context) {
	if !h.nc.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, flushTime)
	defer cancel()
	if err := h.nc.FlushWithContext(ctx); err != nil {
		h.log.Warn("the subscription to events is not confirmed yet", "error", err)
	}
}

// publish gives the event its id and hands it out.
func (h *Hub) publish(e entry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seq++
	if t := e.msg.GetTime(); t != nil {
		h.mark = max(h.mark, t.AsTime().UnixMicro())
	}
	e.mark = max(h.mark, time.Now().UnixMicro()) // one that comes late counts as of now
	e.msg.Id = h.id()
	h.kept[h.seq%uint64(len(h.kept))] = e
	for w := range h.one[e.msg.GetRequestId()] {
		w.offer(e)
	}
	for w := range h.all {
		w.offer(e)
	}
}

// missed tells all watches that events may have been lost.
func (h *Hub) missed() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seq++ // an id from before the gap is told from one after it
	h.gap, h.base = h.seq, time.Now().UnixMicro()
	for w := range h.all {
		w.miss()
	}
	for _, ws := range h.one {
		for w := range ws {
			w.miss()
		}
	}
}

// join adds the watch and returns the id of the last event before it. after, if known, gives the watch what came
// since; otherwise complete is false.
func (h *Hub) join(w *Watch, after string) (id string, complete bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if w.request == "" {
		h.all[w] = struct{}{}
	} else {
		if h.one[w.request] == nil {
			h.one[w.request] = map[*Watch]struct{}{}
		}
		h.one[w.request][w] = struct{}{}
	}
	id = h.id()
	if after == "" {
		return id, true
	}
	n, ok := h.find(after)
	if !ok {
		return id, false
	}
	for n++; n <= h.seq; n++ {
		w.offer(h.kept[n%uint64(len(h.kept))])
	}
	return id, true
}

func (h *Hub) leave(w *Watch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.all, w)
	if ws := h.one[w.request]; ws != nil {
		delete(ws, w)
		if len(ws) == 0 {
			delete(h.one, w.request)
		}
	}
}

// last returns the id of the newest event.
func (h *Hub) last() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.id()
}
