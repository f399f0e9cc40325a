package socket

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/run"
	"github.com/formicary/formicary/services/ant/internal/executor"
	"github.com/formicary/formicary/services/ant/internal/relay"
	"github.com/formicary/formicary/services/ant/internal/wire"
)

// Worker is one that has registered. It executes the tasks of its ant over its connection.
type Worker struct {
	id    string
	tags  []string
	slots int
	times relay.Times
	log   *slog.Logger

	life    context.Context // ends when its ant is to end
	leave   context.CancelFunc
	gone    chan struct{} // closed when its ant has ended
	changed run.Signal    // it became healthy, or is no longer

	// claims are the attempts that it says it has, which it took over another bridge. met is closed when it is known with
	// which of them its ant goes on, and those listen to it; no connection is attached before.
	claims map[string]bool
	met    chan struct{}

	turn sync.Mutex // held while connections change, so that attempts see it in this order

	mu      sync.Mutex
	conn    *conn
	newest  *conn // of those that wait for met
	granted bool
	kept    map[string]bool // claims that are granted and about to be opened
	fault   error           // of its ant
	left    *time.Timer     // runs while there is no connection
	bye     bool            // the last one said goodbye
	ending  bool
	live    map[string]*relay.Execution
}

func newWorker(m *wire.Message, times relay.Times, log *slog.Logger) *Worker {
	w := &Worker{
		id: m.WorkerID, tags: m.Tags, slots: m.Slots, times: times, log: log.With("worker", m.WorkerID),
		gone: make(chan struct{}), changed: run.NewSignal(), live: map[string]*relay.Execution{},
		claims: map[string]bool{}, met: make(chan struct{}), kept: map[string]bool{},
	}
	for _, uid := range m.Resume {
		if uuid.Validate(uid) == nil {
			w.claims[uid] = true
		}
	}
	if len(w.claims) == 0 {
		w.granted = true
		close(w.met)
	}
	w.life, w.leave = context.WithCancel(context.Background())
	return w
}

// Claims are the attempts that it says it has and this bridge does not know. Its ant asks for them and answers with
// Grant, once.
func (w *Worker) Claims() []string { return slices.Collect(maps.Keys(w.claims)) }

// Grant lets it go on with some of its claims.
func (w *Worker) Grant(uids []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.granted {
		return
	}
	w.granted = true
	for _, uid := range uids {
		if w.live[uid] == nil {
			w.kept[uid] = true
		}
	}
	w.opened()
}

// opened closes met when everything that was granted listens: what the worker says earlier would be lost.
func (w *Worker) opened() {
	if w.granted && len(w.kept) == 0 {
		select {
		case <-w.met:
		default:
			close(w.met)
		}
	}
}

// errSilent says that the colony did not answer what becomes of the claims.
var errSilent = errors.New("the colony does not answer just now; connect again")

// meet waits until it is known with what the worker goes on. Of several connections the last one is attached.
func (w *Worker) meet(ctx context.Context, c *conn) error {
	w.mu.Lock()
	w.newest = c
	w.mu.Unlock()
	limit := time.NewTimer(meetTime)
	defer limit.Stop()
	select {
	case <-w.met:
	case <-w.gone:
	case <-ctx.Done():
		return ctx.Err()
	case <-limit.C:
		if !w.goOnWithoutKept() {
			return errSilent
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.newest != c {
		return errOlder
	}
	return nil
}

// goOnWithoutKept lets the worker in though some of what was granted never listened; false when nothing is granted yet.
func (w *Worker) goOnWithoutKept() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.granted {
		if w.conn == nil && w.left == nil {
			w.left = time.AfterFunc(w.times.Away, w.leave)
		}
		return false
	}
	clear(w.kept)
	w.opened()
	return true
}

// meetTime bounds how long a worker waits for the answer to its registration.
const meetTime = 10 * time.Second

var errOlder = errors.New("the worker has connected again")

// ID that it registered with.
func (w *Worker) ID() string { return w.id }

// Tags that it owns.
func (w *Worker) Tags() []string { return w.tags }

// Slots that it has: how many tasks of cost 1 it does at once.
func (w *Worker) Slots() int { return w.slots }

// Changed is set when its health changes.
func (w *Worker) Changed() run.Signal { return w.changed }

// same reports whether the registration is that of this worker.
func (w *Worker) same(m *wire.Message) bool {
	return slices.Equal(w.tags, m.Tags) && w.slots == m.Slots
}

// attach makes c the connection of the worker and ends the one before; false when the worker is on its way out.
func (w *Worker) attach(c *conn, m *wire.Message) bool {
	w.turn.Lock()
	defer w.turn.Unlock()
	w.mu.Lock()
	if w.ending || w.life.Err() != nil {
		w.mu.Unlock()
		return false
	}
	if w.left != nil && !w.left.Stop() {
		w.mu.Unlock()
		return false
	}
	w.left, w.bye = nil, false
	old := w.conn
	w.conn = c
	live := maps.Clone(w.live)
	var answer wire.Message
	for _, uid := range m.Resume {
		if live[uid] != nil {
			answer.Resumed = append(answer.Resumed, uid)
		} else {
			answer.Gone = append(answer.Gone, uid)
		}
	}
	answer.Type, answer.WorkerID = wire.TypeRegistered, w.id
	_ = c.sendMessage(&answer) // before any task
	w.mu.Unlock()
	if old != nil {
		old.end(StatusSuperseded, "the worker has connected again")
	}
	for uid, x := range live {
		x.Back(w.id, slices.Contains(answer.Resumed, uid))
	}
	w.changed.Set()
	w.log.Info("worker connected", "tags", w.tags, "slots", w.slots, "resumed", len(answer.Resumed), "gone", len(answer.Gone))
	return true
}

// detach begins the grace in which the worker may come back; one that said goodbye and has nothing to do needs none.
func (w *Worker) detach(c *conn, goodbye bool) {
	w.turn.Lock()
	defer w.turn.Unlock()
	w.mu.Lock()
	if w.conn != c {
		w.mu.Unlock()
		return
	}
	w.conn, w.bye = nil, goodbye
	live := slices.Collect(maps.Values(w.live))
	grace := w.times.Away
	if goodbye && len(live) == 0 {
		grace = 0
	}
	w.left = time.AfterFunc(grace, w.leave)
	w.mu.Unlock()
	for _, x := range live {
		x.Away()
	}
	w.changed.Set()
	w.log.Info("worker is not connected", "running", len(live))
}

// end tells the worker that its ant has ended, and why.
func (w *Worker) end(err error) {
	w.leave()
	w.mu.Lock()
	w.ending, w.fault = true, err
	c := w.conn
	if w.left != nil {
		w.left.Stop()
	}
	w.mu.Unlock()
	if c != nil {
		c.end(farewell(err))
	}
	close(w.gone)
}

// farewell is what a worker is told whose ant has ended.
func farewell(err error) (code websocket.StatusCode, why string) {
	switch {
	case errs.Reason(err) == "SESSION_SUPERSEDED":
		return StatusSuperseded, "the worker has registered elsewhere"
	case errs.CodeOf(err) == errs.CodeInvalid:
		return StatusRefused, clip(err.Error())
	case err != nil:
		return websocket.StatusInternalError, "the ant of the worker failed"
	}
	return websocket.StatusGoingAway, "the ant of the worker has ended"
}

// supersede ends the ant of a worker that has registered as another one.
func (w *Worker) supersede() {
	w.mu.Lock()
	if w.conn != nil {
		w.conn.end(StatusSuperseded, "the worker has registered again, with other tags or slots")
	}
	w.mu.Unlock()
	w.leave()
}

// hear takes a message of the worker.
func (w *Worker) hear(c *conn, m *wire.Message) {
	switch m.Type {
	case wire.TypeAccept, wire.TypeHeartbeat, wire.TypeLog, wire.TypeReply:
	default:
		return // of a later version
	}
	w.mu.Lock()
	x := w.live[m.UID]
	current := w.conn == c
	w.mu.Unlock()
	switch {
	case !current:
	case x != nil:
		m.Worker = w.id
		x.Deliver(m)
	case m.Type == wire.TypeAccept, m.Type == wire.TypeHeartbeat: // it works for nothing
		_ = c.sendMessage(&wire.Message{Type: wire.TypeCancel, UID: m.UID})
	}
}

// The executor of the worker's ant.

// Methods returns WEBSOCKET.
func (w *Worker) Methods() []string { return []string{wire.MethodWebsocket} }

// Healthy reports whether there is a connection.
func (w *Worker) Healthy() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conn == nil {
		return errAway
	}
	return nil
}

// Recover has nothing to do: a worker that connects is told which attempts are gone.
func (w *Worker) Recover(context.Context, map[string]string) error { return nil }

// Run has nothing to keep.
func (w *Worker) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Prepare takes a task.
func (w *Worker) Prepare(t executor.Task, out executor.Output) executor.Execution {
	x := relay.New(t, out, w, w.times)
	if w.claims[t.UID] {
		x.AssignTo(w.id)
	}
	return x
}

// The link of its executions.

var errAway = errors.New("the worker is not connected")

// Open begins the delivery.
func (w *Worker) Open(x *relay.Execution) (string, error) {
	w.turn.Lock()
	defer w.turn.Unlock()
	w.mu.Lock()
	w.live[x.Task.UID] = x
	delete(w.kept, x.Task.UID)
	away := w.conn == nil
	w.opened()
	w.mu.Unlock()
	if away {
		x.Away()
	}
	return "", nil
}

// Task sends the task.
func (w *Worker) Task(_ *relay.Execution, data []byte) error {
	w.mu.Lock()
	c := w.conn
	w.mu.Unlock()
	if c == nil {
		return errAway
	}
	return c.send(data)
}

// Cancel tells the worker.
func (w *Worker) Cancel(_ *relay.Execution, m *wire.Message) {
	w.mu.Lock()
	c := w.conn
	w.mu.Unlock()
	if c != nil {
		_ = c.sendMessage(m)
	}
}

// Trace finds nothing after a restart.
func (w *Worker) Trace(*relay.Execution) string { return "" }

// Close ends the delivery.
func (w *Worker) Close(x *relay.Execution) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.live[x.Task.UID] == x {
		delete(w.live, x.Task.UID)
	}
	if w.bye && len(w.live) == 0 {
		w.leave() // its last reply was on its way when it said goodbye
	}
}
