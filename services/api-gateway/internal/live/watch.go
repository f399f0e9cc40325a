package live

import (
	"context"
	"io"
	"strings"
	"sync"
	"time"

	"buf.build/go/protovalidate"
	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/run"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

// Watch is one client's view. Next is called by one goroutine.
type Watch struct {
	hub     *Hub
	ctx     context.Context // a watch is a stream: it ends with its call
	org     string
	request string // full id; empty watches all
	jobType string // the filter
	tasks   bool
	until   bool
	wake    run.Signal

	mu     sync.Mutex
	queue  []entry
	over   bool // the queue was full: the watch ends
	missed bool // events may have been lost

	// Below: of Next alone.
	out       []*jobv1.WatchEventsResponse
	seen      seen
	ofType    string // job type of the request
	ending    bool   // nothing comes after out and the tasks
	readTasks bool   // the tasks are to be read, from page on
	page      string
	taskWait  time.Duration // between two reads of the tasks
	beatAt    time.Time
	checkAt   time.Time
	tasksAt   time.Time
	endAt     time.Time
	timer     *time.Timer
}

// Watch starts a watch for the caller of ctx; it ends with ctx. after is the id of the last event that the client
// has seen, or empty.
func (h *Hub) Watch(ctx context.Context, req *jobv1.WatchEventsRequest, after string) (*Watch, error) {
	if err := protovalidate.Validate(req); err != nil {
		return nil, errs.Invalid("REQUEST_INVALID", "%s", err)
	}
	if req.GetUntilTerminal() && req.GetRequestId() == "" {
		return nil, errs.Invalid("REQUEST_INVALID", "until_terminal needs a request_id")
	}
	select {
	case <-h.ready:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	now := time.Now()
	w := &Watch{
		hub: h, ctx: ctx, org: access.From(ctx).Org, jobType: req.GetJobType(), tasks: req.GetTasks(), until: req.GetUntilTerminal(),
		wake: run.NewSignal(), taskWait: h.conf.Recheck, endAt: now.Add(h.conf.Life), timer: time.NewTimer(time.Hour),
	}
	var err error
	if w.request, err = h.resolve(ctx, req.GetRequestId()); err != nil {
		return nil, err
	}
	id, complete := h.join(w, after)
	context.AfterFunc(ctx, func() { h.leave(w) })
	hello := &jobv1.WatchEventsResponse{Id: id, Kind: kindHello, RequestId: w.request, Time: timestamppb.New(now)}
	if !complete {
		hello.Message = incomplete
	}
	w.out = append(w.out, hello)
	if w.request == "" {
		return w, nil
	}
	err = w.read()
	if err == nil && w.jobType != "" && w.jobType != w.ofType { // it would wait for ever for what cannot come
		err = errs.Invalid("REQUEST_INVALID", "request %s is of the job type %s, not %s", w.request, w.ofType, w.jobType)
	}
	if err != nil {
		h.leave(w)
		return nil, err
	}
	w.readTasks = w.tasks
	return w, nil
}

const incomplete = "events may be missing since the last id: read again what is shown"

// resolve returns the full id of what the client named by a prefix or a word.
func (h *Hub) resolve(ctx context.Context, id string) (string, error) {
	if id == "" {
		return "", nil
	}
	if len(id) == 36 && uuid.Validate(id) == nil {
		return strings.ToLower(id), nil
	}
	res, err := h.requests.GetJobRequest(ctx, &jobv1.GetJobRequestRequest{Id: id})
	return res.GetRequest().GetId(), err
}

// offer queues an event if the watch wants it. The hub's lock is held.
func (w *Watch) offer(e entry) {
	if e.org != w.org || e.msg.GetKind() == kindTask && !w.tasks || w.jobType != "" && e.msg.GetJobType() != w.jobType ||
		w.request != "" && e.msg.GetRequestId() != w.request {
		return
	}
	w.mu.Lock()
	if len(w.queue) < w.hub.conf.Queue {
		w.queue = append(w.queue, e)
	} else if !w.over {
		w.over = true
		w.hub.slow()
	}
	w.mu.Unlock()
	w.wake.Set()
}

func (w *Watch) miss() {
	w.mu.Lock()
	w.missed = true
	w.mu.Unlock()
	w.wake.Set()
}

// Next returns the next event as soon as there is one, and io.EOF at the end. The event is shared: it is not to be
// changed.
func (w *Watch) Next() (*jobv1.WatchEventsResponse, error) {
	for {
		if w.ctx.Err() != nil {
			return nil, context.Cause(w.ctx)
		}
		if len(w.out) > 0 {
			m := w.out[0]
			w.out = w.out[1:]
			w.beatAt = time.Now().Add(w.hub.conf.Heartbeat)
			return m, nil
		}
		if w.readTasks {
			w.readPage()
			continue
		}
		if w.ending {
			return nil, io.EOF
		}
		if err := w.drain(); err != nil {
			return nil, err
		}
		if len(w.out) == 0 && !w.ending {
			w.wait()
		}
	}
}

// drain moves what has come into out.
func (w *Watch) drain() error {
	w.mu.Lock()
	queue, over, missed := w.queue, w.over, w.missed
	w.queue, w.missed = nil, false
	w.mu.Unlock()
	for _, e := range queue {
		w.send(e.msg)
		if w.ending {
			return nil
		}
	}
	switch {
	case over && len(queue) == 0:
		return errs.Exhausted("WATCH_TOO_SLOW", "the client is more than %d events behind; watch again from the last id", w.hub.conf.Queue)
	case missed && w.request == "":
		w.out = append(w.out, &jobv1.WatchEventsResponse{Id: w.hub.last(), Kind: kindHello, Message: incomplete, Time: timestamppb.Now()})
	case missed:
		w.checkAt, w.tasksAt = time.Time{}, time.Time{}
	}
	return nil
}

// send puts the event into out unless a newer one is there already, or was.
func (w *Watch) send(m *jobv1.WatchEventsResponse) {
	if w.request == "" {
		w.out = append(w.out, m)
		return
	}
	w.checkAt = time.Now().Add(w.hub.conf.Recheck)
	if w.seen.newer(m) {
		w.out = append(w.out, m)
	}
	if w.until && m.GetKind() == kindRequest && m.GetRun() >= w.seen.run && terminal(m.GetState()) {
		w.ending, w.readTasks = true, w.tasks
	}
}

// wait returns when something has come or a time has come; it does what is due then.
func (w *Watch) wait() {
	next := w.endAt
	if w.beatAt.Before(next) {
		next = w.beatAt
	}
	if w.request != "" && w.checkAt.Before(next) {
		next = w.checkAt
	}
	w.timer.Reset(time.Until(next))
	select {
	case <-w.ctx.Done():
		return
	case <-w.wake.C():
		return
	case <-w.timer.C:
	}
	now := time.Now()
	switch {
	case !now.Before(w.endAt):
		w.ending = true
	case w.request != "" && !now.Before(w.checkAt):
		w.check(now)
	case !now.Before(w.beatAt):
		w.out = append(w.out, &jobv1.WatchEventsResponse{Id: w.hub.last(), Kind: kindHeartbeat, Time: timestamppb.New(now)})
	}
}

// check reads what may have changed unheard. The tasks of a long silent request are read less and less often.
func (w *Watch) check(now time.Time) {
	heard := len(w.out)
	if err := w.read(); err != nil {
		w.hub.log.Debug("state of a watched request", "request_id", w.request, "error", err)
		return
	}
	if len(w.out) > heard {
		w.taskWait = w.hub.conf.Recheck
	}
	if w.tasks && !now.Before(w.tasksAt) {
		w.readTasks = true
		w.taskWait = min(2*w.taskWait, 12*w.hub.conf.Recheck)
		w.tasksAt = now.Add(w.taskWait)
	}
}

// read tells the state of the request as its owner has it now.
func (w *Watch) read() error {
	w.checkAt = time.Now().Add(w.hub.conf.Recheck)
	ctx, cancel := context.WithTimeout(w.ctx, w.hub.conf.ReadTime)
	defer cancel()
	id := w.hub.last() // before the read: what comes after it may be told twice, never not at all
	res, err := w.hub.requests.GetJobRequest(ctx, &jobv1.GetJobRequestRequest{Id: w.request})
	if err != nil {
		return err
	}
	w.ofType = res.GetRequest().GetJobType()
	w.send(fromRequest(id, res.GetRequest()))
	return nil
}

const taskPage = 500

// readPage tells the state of some tasks. Before the launch there are none.
func (w *Watch) readPage() {
	ctx, cancel := context.WithTimeout(w.ctx, w.hub.conf.ReadTime)
	defer cancel()
	id := w.hub.last()
	res, err := w.hub.tasks.ListTasks(ctx, &executionv1.ListTasksRequest{RequestId: w.request, Run: w.seen.run, PageSize: taskPage, PageToken: w.page})
	if err != nil && errs.CodeOf(err) != errs.CodeNotFound {
		w.hub.log.Debug("tasks of a watched request", "request_id", w.request, "error", err)
	}
	for _, t := range res.GetTasks() {
		if m := fromTask(id, w, t); w.seen.newer(m) {
			w.out = append(w.out, m)
		}
	}
	w.page = res.GetNextPageToken()
	w.readTasks = w.page != ""
}

// Close ends the watch before its context does.
func (w *Watch) Close() { w.hub.leave(w) }
