package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/formicary/formicary/services/ant/internal/wire"
)

// A task that comes while no slot is free is held for a while: it is sent to others after 10 s.
const (
	heldFor = 8 * time.Second
	held    = 64
)

// waiting is a task that is held.
type waiting struct {
	m   *wire.Message
	say func(*wire.Message)
	at  time.Time
}

// remembered is how many ended attempts are kept, to answer a task that comes twice.
const remembered = 1000

// job is an attempt that the worker has taken.
type job struct {
	cancel context.CancelFunc
	reply  *wire.Message // how it ended; nil while it runs
	send   func(*wire.Message)
}

// book is what the worker knows of attempts. It speaks through the function that came with the last message about each.
type book struct {
	conf Config
	life context.Context // of the handlers
	stop context.CancelFunc
	all  sync.WaitGroup
	free func() // called when a slot becomes free; may be nil

	mu      sync.Mutex
	jobs    map[string]*job
	ended   []string // oldest first
	waits   []waiting
	running int
}

func newBook(c Config) *book {
	b := &book{conf: c, jobs: map[string]*job{}}
	b.life, b.stop = context.WithCancel(context.Background())
	return b
}

// end cancels the handlers and waits for them.
func (b *book) end() {
	b.mu.Lock()
	b.stop()
	b.mu.Unlock()
	b.all.Wait()
}

// task takes a task, or answers for the second time. It reports whether slots are left.
func (b *book) task(m *wire.Message, say func(*wire.Message)) (more bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	accept := &wire.Message{Type: wire.TypeAccept, UID: m.UID, Worker: b.conf.ID}
	if j := b.jobs[m.UID]; j != nil {
		j.send = say
		say(accept)
		if j.reply != nil {
			say(j.reply)
		}
		return b.running < b.conf.Slots
	}
	switch {
	case m.Task == nil || m.UID == "" || b.life.Err() != nil: // without an accept it is sent again, to somebody else perhaps
	case b.running < b.conf.Slots:
		b.start(m, say)
	case len(b.waits) < held:
		b.drop(m.UID) // one that is held already is fresh again
		b.waits = append(b.waits, waiting{m, say, time.Now()})
	}
	return b.running < b.conf.Slots
}

// start begins a task. b.mu is held.
func (b *book) start(m *wire.Message, say func(*wire.Message)) {
	ctx, cancel := context.WithCancel(b.life)
	j := &job{cancel: cancel, send: say}
	b.jobs[m.UID] = j
	b.running++
	say(&wire.Message{Type: wire.TypeAccept, UID: m.UID, Worker: b.conf.ID})
	b.all.Go(func() { b.run(ctx, m, j) })
}

// next begins a task that was held. b.mu is held.
func (b *book) next() {
	for len(b.waits) > 0 && b.running < b.conf.Slots && b.life.Err() == nil {
		w := b.waits[0]
		b.waits = b.waits[1:]
		if time.Since(w.at) < heldFor {
			b.start(w.m, w.say)
		}
	}
}

// drop forgets a task that is held. b.mu is held.
func (b *book) drop(uid string) {
	b.waits = slices.DeleteFunc(b.waits, func(w waiting) bool { return w.m.UID == uid })
}

func (b *book) run(ctx context.Context, m *wire.Message, j *job) {
	defer j.cancel()
	beats := make(chan struct{})
	b.all.Go(func() { b.beat(m, j, beats) })
	t := Task{
		UID: m.UID, JobID: m.Task.JobID, JobType: m.Task.JobType, Run: m.Task.Run, Name: m.Task.Name, Attempt: m.Task.Attempt,
		IdempotencyKey: m.Task.IdempotencyKey, Variables: m.Task.Variables, Environment: m.Task.Environment, Script: m.Task.Script,
		log: func(lines ...string) {
			b.send(j, &wire.Message{Type: wire.TypeLog, UID: m.UID, Worker: b.conf.ID, Lines: lines})
		},
	}
	result, err := b.handle(ctx, t)
	close(beats)
	reply := b.reply(m.UID, result, err)
	b.mu.Lock()
	j.reply = reply
	b.running--
	b.ended = append(b.ended, m.UID)
	if len(b.ended) > remembered {
		delete(b.jobs, b.ended[0])
		b.ended = b.ended[1:]
	}
	j.send(reply)
	b.next()
	b.mu.Unlock()
	if b.free != nil {
		b.free()
	}
}

func (b *book) handle(ctx context.Context, t Task) (r Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the handler panicked: %v", p)
		}
	}()
	return b.conf.Handler(ctx, t)
}

func (b *book) send(j *job, m *wire.Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	j.send(m)
}

func (b *book) beat(m *wire.Message, j *job, until <-chan struct{}) {
	every := time.Duration(m.Task.HeartbeatSeconds * float64(time.Second))
	if every <= 0 {
		every = wire.HeartbeatEvery
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-until:
			return
		case <-tick.C:
			b.send(j, &wire.Message{Type: wire.TypeHeartbeat, UID: m.UID, Worker: b.conf.ID})
		}
	}
}

// reply makes the message that ends an attempt.
func (b *book) reply(uid string, r Result, err error) *wire.Message {
	m := &wire.Message{Type: wire.TypeReply, UID: uid, Worker: b.conf.ID, Status: wire.Completed, ExitCode: r.ExitCode}
	outputs, encodeErr := encode(r)
	if encodeErr != nil && err == nil {
		err = encodeErr
	}
	m.Outputs, m.Result = outputs.all, outputs.value
	if err == nil {
		return m
	}
	m.Status, m.Message = wire.Failed, err.Error()
	if b.life.Err() != nil {
		m.Status, m.Message = wire.Lost, "the worker was stopped"
	}
	if f, ok := errors.AsType[*Failure](err); ok {
		m.ExitCode, m.ErrorCode, m.Message = f.ExitCode, f.Code, f.Message
	}
	return m
}

type encoded struct {
	all   map[string]json.RawMessage
	value json.RawMessage
}

func encode(r Result) (encoded, error) {
	var e encoded
	var err error
	if r.Value != nil {
		if e.value, err = json.Marshal(r.Value); err != nil {
			return encoded{}, fmt.Errorf("encode result: %w", err)
		}
	}
	for name, v := range r.Outputs {
		raw, err := json.Marshal(v)
		if err != nil {
			return encoded{}, fmt.Errorf("encode output %s: %w", name, err)
		}
		if e.all == nil {
			e.all = map[string]json.RawMessage{}
		}
		e.all[name] = raw
	}
	return e, nil
}

// cancel ends an attempt; one that names another worker is for that one.
func (b *book) cancel(m *wire.Message) {
	if m.Worker != "" && m.Worker != b.conf.ID {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drop(m.UID)
	if j := b.jobs[m.UID]; j != nil {
		j.cancel()
	}
}

// room reports whether there is a free slot.
func (b *book) room() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.running < b.conf.Slots
}

// uids lists the attempts that the worker can still answer for.
func (b *book) uids() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	uids := make([]string, 0, len(b.jobs))
	for uid := range b.jobs {
		uids = append(uids, uid)
	}
	return uids
}

// resume goes on over a new connection: with those that are waited for; the others are given up.
func (b *book) resume(m *wire.Message, say func(*wire.Message)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, uid := range m.Resumed {
		if j := b.jobs[uid]; j != nil {
			j.send = say
			if j.reply != nil {
				say(j.reply)
			}
		}
	}
	for _, uid := range m.Gone {
		if j := b.jobs[uid]; j != nil {
			j.cancel()
		}
	}
}

func lines(text string) []string {
	return strings.Split(strings.TrimRight(text, "\n"), "\n")
}
