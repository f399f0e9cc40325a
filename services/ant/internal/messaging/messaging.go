// Package messaging executes tasks by workers that listen on NATS subjects: the task goes to the subject that the
// definition names, what the worker says of it comes back on its reply subject, or on one of the ant's own.
package messaging

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/formicary/formicary/services/ant/internal/executor"
	"github.com/formicary/formicary/services/ant/internal/relay"
	"github.com/formicary/formicary/services/ant/internal/wire"
)

// Method that this executor executes.
const Method = "MESSAGING"

// Executor sends tasks to subjects.
type Executor struct {
	nc    *nats.Conn
	log   *slog.Logger
	times relay.Times

	mu    sync.Mutex
	live  map[string]*relay.Execution // by uid
	subs  map[string]*subscription    // by reply subject
	inbox string                      // prefix of the ant's own subjects; empty before the first task
	ended map[string]string           // queues of the last attempts that ended, by uid
	order []string                    // their uids, the oldest first
}

// remembered is how many ended attempts are kept: a worker that was slow to take a task is told that it is done.
const remembered = 1000

// subscription of a reply subject, for as long as an attempt uses it.
type subscription struct {
	sub   *nats.Subscription
	users int
}

// New returns an executor over a connection.
func New(nc *nats.Conn, log *slog.Logger, times relay.Times) *Executor {
	return &Executor{nc: nc, log: log, times: times, live: map[string]*relay.Execution{}, subs: map[string]*subscription{}, ended: map[string]string{}}
}

// Methods returns MESSAGING.
func (e *Executor) Methods() []string { return []string{Method} }

// Healthy reports whether there is a connection.
func (e *Executor) Healthy() error {
	if !e.nc.IsConnected() {
		return fmt.Errorf("no connection to NATS: %s", e.nc.Status())
	}
	return nil
}

// traceMark begins the traces of this executor: the queue follows.
const traceMark = "queue "

// Recover tells the workers of an earlier life's attempts to stop. It cannot wait for them.
func (e *Executor) Recover(_ context.Context, traces map[string]string) error {
	for uid, trace := range traces {
		queue, ours := strings.CutPrefix(trace, traceMark)
		if !ours || wire.CheckSubject(queue) != nil {
			continue
		}
		e.cancel(queue, &wire.Message{Type: wire.TypeCancel, UID: uid})
	}
	return nil
}

// Run ends the subscriptions when ctx ends.
func (e *Executor) Run(ctx context.Context) error {
	<-ctx.Done()
	e.mu.Lock()
	defer e.mu.Unlock()
	for subject, s := range e.subs {
		_ = s.sub.Unsubscribe()
		delete(e.subs, subject)
	}
	return nil
}

// Prepare takes a task.
func (e *Executor) Prepare(t executor.Task, out executor.Output) executor.Execution {
	return relay.New(t, out, e, e.times)
}

// Open subscribes to the attempt's reply subject.
func (e *Executor) Open(x *relay.Execution) (replyTo string, err error) {
	t := x.Task
	if err := wire.CheckSubject(t.RequestQueue); err != nil {
		return "", fmt.Errorf("messaging_request_queue: %w", err)
	}
	if t.ReplyQueue != "" {
		if err := wire.CheckSubject(t.ReplyQueue); err != nil {
			return "", fmt.Errorf("messaging_reply_queue: %w", err)
		}
		if t.ReplyQueue == t.RequestQueue {
			return "", fmt.Errorf("messaging_reply_queue: it is the request queue %q, whose workers would be asked for their own replies", t.ReplyQueue)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.inbox == "" {
		e.inbox = nats.NewInbox()
	}
	subject, replyTo := e.subjects(x)
	s := e.subs[subject]
	if s == nil {
		sub, err := e.nc.Subscribe(subject, e.deliver)
		if err != nil {
			return "", fmt.Errorf("subscribe to replies: %w", err)
		}
		s = &subscription{sub: sub}
		e.subs[subject] = s
	}
	s.users++
	e.live[t.UID] = x
	return replyTo, nil
}

// subjects returns what is listened to for an attempt, and the subject that its worker is told.
func (e *Executor) subjects(x *relay.Execution) (listen, replyTo string) {
	if q := x.Task.ReplyQueue; q != "" {
		return q, q
	}
	return e.inbox + ".*", e.inbox + "." + x.Task.UID
}

// Close ends the delivery.
func (e *Executor) Close(x *relay.Execution) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.live[x.Task.UID] != x {
		return // it was refused
	}
	delete(e.live, x.Task.UID)
	e.remember(x)
	subject, _ := e.subjects(x)
	s := e.subs[subject]
	if s == nil {
		return
	}
	if s.users--; s.users == 0 && x.Task.ReplyQueue != "" { // the ant's own is used again
		_ = s.sub.Unsubscribe()
		delete(e.subs, subject)
	}
}

// remember keeps where the workers of an ended attempt are. e.mu is held.
func (e *Executor) remember(x *relay.Execution) {
	if len(e.order) == remembered {
		delete(e.ended, e.order[0])
		e.order = e.order[1:]
	}
	e.ended[x.Task.UID] = x.Task.RequestQueue
	e.order = append(e.order, x.Task.UID)
}

// deliver hands a message to its attempt. A reply subject may be shared with other ants and with strangers: what is for no
// attempt of this one is passed over.
func (e *Executor) deliver(msg *nats.Msg) {
	m, err := wire.Decode(msg.Data)
	if err != nil {
		if len(msg.Data) > 0 { // an empty one says that nobody listens; the task is sent again anyway
			e.log.Debug("message of a worker not understood", "subject", msg.Subject, "bytes", len(msg.Data), "error", err)
		}
		return
	}
	e.mu.Lock()
	x, queue := e.live[m.UID], e.ended[m.UID]
	e.mu.Unlock()
	if x == nil {
		if queue != "" && m.Worker != "" && (m.Type == wire.TypeAccept || m.Type == wire.TypeHeartbeat) { // it works for nothing
			e.cancel(queue, &wire.Message{Type: wire.TypeCancel, UID: m.UID, Worker: m.Worker})
		}
		return
	}
	if subject, replyTo := e.subjectsLocked(x); msg.Subject != replyTo {
		e.log.Debug("message of a worker on the subject of another attempt", "subject", msg.Subject, "want", subject)
		return
	}
	x.Deliver(m)
}

func (e *Executor) subjectsLocked(x *relay.Execution) (listen, replyTo string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.subjects(x)
}

// Task publishes the task for one of the workers of its queue.
func (e *Executor) Task(x *relay.Execution, data []byte) error {
	if most := e.nc.MaxPayload(); most > 0 && int64(len(data)) > most {
		return fmt.Errorf("%w: it has %d bytes and the bus takes %d", wire.ErrTooLarge, len(data), most)
	}
	if err := e.nc.Publish(x.Task.RequestQueue, data); err != nil {
		return fmt.Errorf("publish to %s: %w", x.Task.RequestQueue, err)
	}
	return nil
}

// Cancel tells all workers of the queue; those that have not heard of the attempt pass it over.
func (e *Executor) Cancel(x *relay.Execution, m *wire.Message) { e.cancel(x.Task.RequestQueue, m) }

func (e *Executor) cancel(queue string, m *wire.Message) {
	data, err := wire.Encode(m)
	if err == nil {
		err = e.nc.Publish(wire.CancelSubject(queue), data)
	}
	if err != nil {
		e.log.Warn("cancel not sent to workers", "attempt", m.UID, "queue", queue, "error", err)
	}
}

// Trace names the queue: a later life tells its workers to stop.
func (e *Executor) Trace(x *relay.Execution) string { return traceMark + x.Task.RequestQueue }
