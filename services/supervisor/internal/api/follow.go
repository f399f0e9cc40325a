package api

import (
	"context"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/errs"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// launchEvery is how often a watcher asks whether the run of its request was launched, besides when it is told.
const launchEvery = askEvery / 5

// position checks where the call begins.
func position(req *executionv1.WatchTaskLogRequest) error {
	run, attempt := req.GetFromRun(), req.GetFromAttempt()
	switch {
	case (run == 0) != (attempt == 0):
		return errs.Invalid("REQUEST_INVALID", "from_run and from_attempt come together")
	case run > 0 && req.GetRun() > 0 && run != req.GetRun():
		return errs.Invalid("REQUEST_INVALID", "from_run is %d, but only run %d is asked for", run, req.GetRun())
	case attempt > 0 && req.GetAttempt() > 0 && attempt != req.GetAttempt():
		return errs.Invalid("REQUEST_INVALID", "from_attempt is %d, but only attempt %d is asked for", attempt, req.GetAttempt())
	case req.GetToLine() > 0 && req.GetFollow():
		return errs.Invalid("REQUEST_INVALID", "to_line ends the log: it cannot be followed")
	}
	return nil
}

// onward says whether the log goes on after an attempt, and later whether after a run.
func (w *watch) onward() bool { return w.req.GetFollow() && w.req.GetAttempt() == 0 }

// runs sends the logs of a run, and goes on with the runs that have begun since.
func (w *watch) runs(ctx context.Context) error {
	v, ok, err := w.launched(ctx, max(w.req.GetRun(), w.req.GetFromRun()))
	for ; err == nil && ok; v, ok, err = w.after(ctx) {
		w.run = v
		if err := w.hear(v.Key); err != nil {
			return err
		}
		if err := w.attempts(ctx); err != nil {
			return err
		}
		w.attempt, w.next = 1, 0
	}
	return err
}

// after returns the run that follows the one that was sent, if there is one and it is wanted.
func (w *watch) after(ctx context.Context) (execution.View, bool, error) {
	if !w.onward() || w.req.GetRun() > 0 {
		return execution.View{}, false, nil
	}
	newest, err := find(ctx, w.Reader, w.req.GetRequestId(), 0)
	if err != nil || newest.Key.Run <= w.run.Key.Run {
		return execution.View{}, false, err
	}
	v, err := find(ctx, w.Reader, w.req.GetRequestId(), int32(w.run.Key.Run+1))
	return v, err == nil, err
}

// attempts sends the log of an attempt of the run, and goes on with those that come after it until the task has ended.
func (w *watch) attempts(ctx context.Context) error {
	for {
		log, err := w.begin(ctx)
		if err != nil || !log.Exists {
			return err
		}
		w.attempt = log.Attempt
		if err := w.whole(ctx, log); err != nil {
			return err
		}
		if !w.onward() {
			return nil
		}
		w.attempt, w.next = log.Attempt+1, 0
	}
}

// begin waits for the attempt if that is wanted.
func (w *watch) begin(ctx context.Context) (execution.Log, error) {
	for {
		log, err := w.ask(ctx)
		age := askEvery
		switch {
		case err != nil && w.itemToCome(ctx, err):
			age = launchEvery // nobody tells of a task that is not there yet
		case err != nil, log.Exists:
			return log, err
		case !w.req.GetFollow(), log.TaskState.Terminal():
			if n := w.req.GetAttempt(); n > 0 {
				return log, errs.NotFound("ATTEMPT_NOT_FOUND", "task %s has no attempt %d in run %d", w.req.GetTask(), n, w.run.Key.Run)
			}
			return log, nil
		}
		if err := w.pause(ctx, age); err != nil {
			return log, err
		}
	}
}

// itemToCome says that what was not found may be an item that its fan-out is yet to make.
func (w *watch) itemToCome(ctx context.Context, err error) bool {
	group, _, ok := strings.Cut(w.req.GetTask(), "[")
	if !ok || !w.req.GetFollow() || errs.CodeOf(err) != errs.CodeNotFound {
		return false
	}
	log, err := w.Reader.Log(ctx, w.run.ID, group, 0)
	return err == nil && !log.TaskState.Terminal()
}

// whole sends what an attempt printed from w.next on, and with follow what it prints until it ends.
func (w *watch) whole(ctx context.Context, log execution.Log) error {
	if err := w.start(ctx, log); err != nil {
		return err
	}
	if w.req.GetFollow() && !log.State.Terminal() {
		var err error
		if log, err = w.tail(ctx, log); err != nil {
			return err
		}
	}
	if log.Key == "" {
		return w.stored(ctx, log) // it runs, or has no final log: the bus may have a part
	}
	return w.rest(ctx, log)
}

// launched returns a run; with follow it waits for its launch while the request lives. Without a run, and without an error,
// the request ended before.
func (w *watch) launched(ctx context.Context, run int32) (v execution.View, ok bool, err error) {
	for waited := false; ; waited = true {
		v, err = find(ctx, w.Reader, w.req.GetRequestId(), run)
		if err == nil || !w.req.GetFollow() || errs.CodeOf(err) != errs.CodeNotFound {
			return v, err == nil, err
		}
		res, asked := w.Requests.GetJobRequest(ctx, &jobv1.GetJobRequestRequest{Id: w.req.GetRequestId()})
		r := res.GetRequest()
		switch {
		case asked != nil:
			return v, false, asked
		case run > r.GetRun(): // nobody has asked for it
			return v, false, err
		case ended(r.GetState()):
			v, err = find(ctx, w.Reader, w.req.GetRequestId(), run) // it may have run since the first look
			if err != nil && waited && errs.CodeOf(err) == errs.CodeNotFound {
				return v, false, nil
			}
			return v, err == nil, err
		}
		if !waited {
			if err := w.await(r); err != nil {
				return v, false, err
			}
		}
		w.asked = time.Now()
		if err := w.pause(ctx, launchEvery); err != nil {
			return v, false, err
		}
	}
}

// await listens to the run that a request is to have, and shows the caller that it is waited for.
func (w *watch) await(r *jobv1.JobRequest) error {
	id, err := uuid.Parse(r.GetId())
	if err != nil {
		return badID("request_id", err)
	}
	if err := w.hear(execution.Key{Request: id, Run: int(r.GetRun())}); err != nil {
		return err
	}
	return w.stream.Send(&executionv1.WatchTaskLogResponse{Offset: w.next})
}

// hear listens to the task in a run.
func (w *watch) hear(run execution.Key) (err error) {
	w.hearNothing()
	if w.req.GetFollow() {
		w.moved, w.leave, err = w.Moves.Watch(run, w.req.GetTask())
	}
	return err
}

func (w *watch) hearNothing() {
	if w.leave != nil {
		w.leave()
		w.leave, w.moved = nil, nil
	}
}

func ended(s jobv1.JobRequest_State) bool {
	switch s {
	case jobv1.JobRequest_COMPLETED, jobv1.JobRequest_FAILED, jobv1.JobRequest_CANCELLED, jobv1.JobRequest_SKIPPED:
		return true
	default:
		return false
	}
}
