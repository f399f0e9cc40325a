// Package relay executes tasks by workers that are reached by messages. It is the conversation about one attempt, the
// same over NATS and over a WebSocket:
//
//	task ──▶ (no accept in time: again) ──▶ accept ──▶ heartbeat, log … ──▶ reply
//
// The first worker that accepts has the attempt; what others say of it changes nothing, and they are told to stop.
// One that falls silent after its accept has lost it: nobody knows whether it still works.
package relay

import (
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"time"

	"github.com/formicary/formicary/libs/run"
	"github.com/formicary/formicary/services/ant/internal/executor"
	"github.com/formicary/formicary/services/ant/internal/output"
	"github.com/formicary/formicary/services/ant/internal/wire"
)

// Times of the conversation.
type Times struct {
	// Accept is how long a task waits for a worker's accept before it is sent again.
	Accept time.Duration
	// Silence is how long a worker that has accepted may say nothing.
	Silence time.Duration
	// Away is how long the connection of a worker may be gone.
	Away time.Duration
}

// DefaultTimes are those of the protocol.
func DefaultTimes() Times {
	return Times{Accept: wire.AcceptWithin, Silence: wire.SilentFor, Away: wire.AwayFor}
}

// Link leads to the workers. Its methods do not block for long.
type Link interface {
	// Open begins the delivery of what workers say of the attempt, and tells where they are to say it.
	Open(x *Execution) (replyTo string, err error)
	// Task hands the encoded task to one worker.
	Task(x *Execution, data []byte) error
	// Cancel tells a worker, or all of them when it names none, to end the attempt. It may get lost.
	Cancel(x *Execution, m *wire.Message)
	// Trace finds the workers of the attempt after a restart; empty when nothing can be said to them then.
	Trace(x *Execution) string
	// Close ends the delivery.
	Close(x *Execution)
}

// maxQueued is how much a worker may say before somebody listens; then whoever delivers waits.
const maxQueued = 64

// Execution is one attempt.
type Execution struct {
	Task executor.Task

	link    Link
	times   Times
	out     executor.Output
	outputs output.Set
	data    []byte // the encoded task
	failed  *executor.End
	events  chan event
	done    chan struct{} // nobody listens any more
	stop    run.Signal

	mu    sync.Mutex
	grace *time.Duration // of the stop that was asked for, the shortest

	// State of the conversation, of the goroutine in Wait only.
	worker   string // that has accepted
	assigned bool
	away     bool
	stopped  bool
	warned   bool // that nobody accepts
	due      time.Time
}

type event struct {
	message *wire.Message
	away    bool   // the connection is gone
	back    string // the worker that is there again
	known   bool   // back: it still has the attempt
}

// New returns the execution of a task.
func New(task executor.Task, out executor.Output, link Link, times Times) *Execution {
	return &Execution{
		Task: task, link: link, times: times, out: out,
		events: make(chan event, maxQueued), done: make(chan struct{}), stop: run.NewSignal(),
	}
}

// Deliver hands on what a worker said of the attempt.
func (x *Execution) Deliver(m *wire.Message) { x.post(event{message: m}) }

// Away says that the connection to the worker is gone.
func (x *Execution) Away() { x.post(event{away: true}) }

// Back says that the worker is there again, and whether it still has the attempt.
func (x *Execution) Back(worker string, known bool) { x.post(event{back: worker, known: known}) }

func (x *Execution) post(e event) {
	select {
	case x.events <- e:
	case <-x.done:
	}
}

// AssignTo says, before Start, that a worker has the task already: it is not sent.
func (x *Execution) AssignTo(worker string) { x.assign(worker) }

// Create does nothing: the worker has its own place.
func (x *Execution) Create() error { return nil }

// Start sends the task.
func (x *Execution) Start() string {
	replyTo, err := x.link.Open(x)
	if err != nil {
		x.failed = new(executor.Refuse(err.Error()))
		return ""
	}
	if x.data, err = wire.Encode(x.message(replyTo)); err != nil {
		x.failed = new(executor.Refuse("the task cannot be sent to a worker: " + err.Error()))
		return ""
	}
	if x.assigned {
		x.wait(x.times.Silence)
		x.note("worker %s has come from another bridge with this task; what it printed before is not known here", x.worker)
	} else {
		x.send()
	}
	return x.link.Trace(x)
}

func (x *Execution) message(replyTo string) *wire.Message {
	t := x.Task
	return &wire.Message{Type: wire.TypeTask, UID: t.UID, ReplyTo: replyTo, Task: &wire.Task{
		JobID: t.JobID, JobType: t.JobType, Run: t.Run, Name: t.Name, Attempt: t.Attempt, IdempotencyKey: t.IdempotencyKey,
		Variables: t.Variables, Environment: t.Environment, Script: t.Script,
		TimeoutSeconds: t.Timeout.Seconds(), HeartbeatSeconds: min(wire.HeartbeatEvery, x.times.Silence/3).Seconds(),
	}}
}

func (x *Execution) send() {
	x.due = time.Now().Add(x.times.Accept)
	switch err := x.link.Task(x, x.data); {
	case errors.Is(err, wire.ErrTooLarge):
		x.failed = new(executor.Refuse("the task cannot be sent to a worker: " + err.Error()))
	case err != nil:
		x.note("the task could not be sent and will be sent again: %v", err)
	}
}

// note writes a line of the ant's own into the log.
func (x *Execution) note(format string, args ...any) {
	x.out.Note("[" + fmt.Sprintf(format, args...) + "]")
}

// Wait listens until the attempt has ended.
func (x *Execution) Wait() executor.End {
	defer func() {
		x.link.Close(x)
		close(x.done)
	}()
	if x.failed != nil {
		return *x.failed
	}
	for {
		timer := time.NewTimer(time.Until(x.due))
		var e *executor.End
		select {
		case ev := <-x.events:
			e = x.on(ev)
		case <-x.stop.C():
			e = x.stopping()
		case <-timer.C:
			e = x.late()
		}
		timer.Stop()
		if e != nil {
			return *e
		}
	}
}

// Stop cancels the attempt at its worker, which gets grace to reply.
func (x *Execution) Stop(grace time.Duration) {
	x.mu.Lock()
	if x.grace == nil || grace < *x.grace {
		x.grace = &grace
	}
	x.mu.Unlock()
	x.stop.Set()
}

// Close does nothing: Wait leaves nothing.
func (x *Execution) Close() {}

func (x *Execution) stopping() *executor.End {
	x.mu.Lock()
	grace := *x.grace
	x.mu.Unlock()
	x.cancel(x.worker, grace)
	if grace <= 0 || !x.assigned {
		return new(executor.Break("stopped"))
	}
	if at := time.Now().Add(grace); !x.stopped || at.Before(x.due) {
		x.due = at
	}
	x.stopped = true
	return nil
}

func (x *Execution) cancel(worker string, grace time.Duration) {
	x.link.Cancel(x, &wire.Message{Type: wire.TypeCancel, UID: x.Task.UID, Worker: worker, GraceSeconds: max(grace, 0).Seconds()})
}

// late is what happens when nothing did until due.
func (x *Execution) late() *executor.End {
	switch {
	case x.stopped:
		return new(executor.Break("stopped; the worker did not end in time"))
	case x.away:
		return new(executor.Lose(fmt.Sprintf("the connection of the worker was gone for %s", x.times.Away)))
	case x.assigned:
		x.cancel(x.worker, 0)
		return new(executor.Lose(fmt.Sprintf("worker %s said nothing for %s", x.worker, x.times.Silence)))
	}
	if !x.warned {
		x.warned = true
		x.note("no worker has accepted the task within %s; it is sent again until one does", x.times.Accept)
	}
	x.send()
	return nil
}

func (x *Execution) on(e event) *executor.End {
	switch {
	case e.away:
		x.away = true
		x.wait(x.times.Away)
	case e.back != "":
		return x.returned(e.back, e.known)
	default:
		return x.hear(e.message)
	}
	return nil
}

// wait moves the time at which silence has a consequence; a stop has set it for good.
func (x *Execution) wait(d time.Duration) {
	if !x.stopped {
		x.due = time.Now().Add(d)
	}
}

// returned goes on after the worker has connected again.
func (x *Execution) returned(worker string, known bool) *executor.End {
	x.away = false
	switch {
	case x.assigned && !known:
		return new(executor.Lose("the worker connected again without the attempt"))
	case x.stopped:
		x.cancel(x.worker, time.Until(x.due))
	case known:
		x.assign(worker)
		x.wait(x.times.Silence)
	default:
		x.send()
	}
	return nil
}

// hear takes what a worker said.
func (x *Execution) hear(m *wire.Message) *executor.End {
	if x.assigned && m.Worker != x.worker {
		if m.Type == wire.TypeAccept || m.Type == wire.TypeHeartbeat {
			x.cancel(m.Worker, 0) // it works for nothing
		}
		return nil
	}
	switch m.Type {
	case wire.TypeAccept:
		x.assign(m.Worker)
	case wire.TypeHeartbeat:
		if !x.assigned {
			return nil
		}
	case wire.TypeLog:
		if !x.assigned {
			return nil
		}
		for _, line := range m.Lines {
			_, _ = io.WriteString(x.out.Stdout(), line+"\n")
		}
	case wire.TypeReply:
		x.assign(m.Worker)
		return new(x.reply(m))
	default:
		return nil
	}
	x.wait(x.times.Silence)
	return nil
}

func (x *Execution) assign(worker string) { x.worker, x.assigned = worker, true }

// Bounds of what a reply may say.
const (
	keptWhole  = 64 << 10 // a longer result stands in the log, and its beginning in the reply
	keptOfLong = 4 << 10
	maxText    = 2 << 10
	maxCode    = 128
)

// reply makes the end of the attempt.
func (x *Execution) reply(m *wire.Message) executor.End {
	m.ExitCode = min(max(m.ExitCode, math.MinInt32), math.MaxInt32) // as wide as the results of ants
	e := executor.End{ExitCode: m.ExitCode, Body: x.body(x.mask(wire.Text(m.Result)))}
	for name, raw := range m.Outputs {
		if err := x.outputs.Put(name, wire.Text(raw)); err != nil {
			e.ExitCode, e.Class, e.Message = max(m.ExitCode, 1), executor.User, "the worker's reply: "+err.Error()
			return e
		}
	}
	e.Outputs = x.outputs.Values()
	switch m.Status {
	case wire.Completed:
	case wire.Lost:
		return executor.Lose(clip(fmt.Sprintf("worker %s gave the attempt back: %s", x.worker, x.mask(m.Message)), maxText))
	case wire.Failed:
		if e.ExitCode == 0 {
			e.ExitCode = 1
		}
		e.Class, e.Message = executor.User, m.Message
		if e.Message == "" {
			e.Message = fmt.Sprintf("exit code %d", e.ExitCode)
		}
		e.Message = clip(x.mask(e.Message), maxText)
		if m.ErrorCode != "" {
			e.Message = clip(x.mask(m.ErrorCode), maxCode) + ": " + e.Message
		}
	default:
		e.ExitCode, e.Class = max(m.ExitCode, 1), executor.User
		e.Message = fmt.Sprintf("the worker's reply has status %.40q: want %s, %s or %s", x.mask(m.Status), wire.Completed, wire.Failed, wire.Lost)
	}
	return e
}

func (x *Execution) body(text string) string {
	if len(text) <= keptWhole {
		return text
	}
	_, _ = io.WriteString(x.out.Stdout(), text+"\n")
	return text[:keptOfLong]
}

func (x *Execution) mask(text string) string { return x.Task.Masks.String(text) }

func clip(s string, most int) string {
	if len(s) > most {
		return s[:most]
	}
	return s
}
