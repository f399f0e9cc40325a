package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/formicary/formicary/libs/errs"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

// follower tells the way of one request, line by line, until it ends.
type follower struct {
	c  *client
	id string
	// progress takes one line per change of state; nil tells nothing.
	progress io.Writer
	// user would vote; flags name the colony in a command.
	user, flags string
	// logs streams the output of tasks; nil streams nothing.
	logs *streamer

	printed map[string]string // what was said last, by task; "" is the request itself
	change  time.Time         // of the last change
	reason  string            // why it waits, as said last
	calls   int               // streams that failed in a row
	run     int32             // the newest that was heard of
}

// follower of a request whose commands the user could give.
func (a *app) follower(c *client, id string) *follower {
	return &follower{c: c, id: id, user: a.who(), flags: a.flags}
}

const (
	resume     = 300 * time.Millisecond // between two streams
	silentFor  = 2 * time.Second        // then the reason for waiting is said
	checkEvery = time.Second
	patience   = 20 // streams that may fail in a row
)

// until follows the request and returns it in its terminal state.
func (f *follower) until(ctx context.Context) (*jobv1.JobRequest, error) {
	if f.printed == nil {
		f.printed = map[string]string{}
	}
	f.change = time.Now()
	for {
		err := f.stream(ctx)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil && !f.bearable(err) {
			return nil, err
		}
		r, err := f.c.request(ctx, f.id)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err == nil && terminal(r.GetState()):
			f.printState("", r.GetState().String(), requestLine(r.GetJobType(), r.GetState().String(), r.GetErrorCode(), r.GetErrorMessage()), r.GetEndedAt())
			return r, nil
		case err != nil && !f.bearable(err):
			return nil, err
		}
		select {
		case <-time.After(resume):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// bearable says whether an error may pass by itself: a service that restarts is waited for, for a while.
func (f *follower) bearable(err error) bool {
	f.calls++
	code := errs.CodeOf(err)
	return f.calls <= patience && code != errs.CodeNotFound && code != errs.CodeInvalid && code != errs.CodeDenied && code != errs.CodeUnauthenticated
}

// stream follows one event stream to its end; in between it asks why nothing happens.
func (f *follower) stream(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, err := f.c.events.WatchEvents(ctx, &jobv1.WatchEventsRequest{RequestId: f.id, UntilTerminal: true, Tasks: true})
	if err != nil {
		return err
	}
	type received struct {
		e   *jobv1.WatchEventsResponse
		err error
	}
	in := make(chan received)
	go func() {
		for {
			e, err := events.Recv()
			select {
			case in <- received{e, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		select {
		case r := <-in:
			if errors.Is(r.err, io.EOF) {
				return nil
			}
			if r.err != nil {
				return r.err
			}
			f.calls = 0
			if end := f.event(ctx, r.e); end {
				return nil
			}
		case <-tick.C:
			f.explain(ctx)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// event tells one change; it returns true when the request may have ended.
func (f *follower) event(ctx context.Context, e *jobv1.WatchEventsResponse) bool {
	switch e.GetKind() {
	case "request":
		f.change, f.reason = time.Now(), ""
		if e.GetState() == jobv1.JobRequest_MANUAL_APPROVAL_REQUIRED.String() {
			defer f.ballot(ctx)
		}
		f.printState("", e.GetState(), requestLine(e.GetJobType(), e.GetState(), e.GetErrorCode(), e.GetMessage()), e.GetTime())
		return terminal(jobv1.JobRequest_State(jobv1.JobRequest_State_value[e.GetState()]))
	case "task":
		f.change, f.reason = time.Now(), ""
		state := fmt.Sprintf("%s %d", e.GetState(), e.GetAttempt())
		f.printState(e.GetTask(), state, taskLine(e), e.GetTime())
		if e.GetState() == "WAITING" {
			f.ballot(ctx)
		}
		if f.logs != nil {
			f.print(ctx, e)
		}
	case "heartbeat":
		// The last event may have been lost on its way to the stream: the answer to Get is the truth.
		r, err := f.c.request(ctx, f.id)
		return err == nil && terminal(r.GetState())
	}
	return false
}

// startedStates are those of a task whose attempt has been claimed; of one that waits it has ended.
var startedStates = map[string]bool{"RUNNING": true, "WAITING": true, "COMPLETED": true, "FAILED": true, "CANCELLED": true} //nolint:gochecknoglobals // a constant set

// print streams the log of the attempt that the event tells of, after those that began before it and were not heard of.
func (f *follower) print(ctx context.Context, e *jobv1.WatchEventsResponse) {
	for run := f.run; run > 0 && run < e.GetRun(); run++ {
		f.fill(ctx, run)
	}
	f.run = max(f.run, e.GetRun())
	if e.GetAttempt() == 0 || !startedStates[e.GetState()] {
		return
	}
	if f.logs.gap(e.GetRun(), e.GetTask(), e.GetAttempt()) {
		f.fill(ctx, e.GetRun())
	}
	f.logs.follow(e.GetRun(), e.GetTask(), e.GetAttempt(), e.GetState() != "RUNNING")
}

// fill follows all attempts of a run in the order in which they began. What cannot be read now is printed at the end.
func (f *follower) fill(ctx context.Context, run int32) {
	tasks, err := f.c.tasks(ctx, &jobv1.JobRequest{Id: f.id, Run: run})
	if err != nil {
		return
	}
	for _, at := range begun(tasks) {
		f.logs.follow(run, at.task, at.GetNumber(), at.GetEndedAt() != nil)
	}
}

// printState prints a line unless the same state of the same thing was printed last.
func (f *follower) printState(what, state, line string, at *timestamppb.Timestamp) {
	if f.progress == nil || f.printed[what] == state || state == "BLOCKED 0" {
		return
	}
	f.printed[what] = state
	t := time.Now()
	if at != nil {
		t = at.AsTime().Local()
	}
	printf(f.progress, "%s %s\n", t.Format("15:04:05"), line)
}

func requestLine(jobType, state, code, message string) string {
	line := fmt.Sprintf("job %s %s", jobType, state)
	if code != "" {
		line += " " + code
	}
	// What a request waits for before it starts is told when it takes long.
	if message != "" && state != jobv1.JobRequest_PENDING.String() && state != jobv1.JobRequest_READY.String() {
		line += ": " + firstLine(message)
	}
	return line
}

func taskLine(e *jobv1.WatchEventsResponse) string {
	line := e.GetTask() + " " + e.GetState()
	if e.GetAntId() != "" && (e.GetState() == "RUNNING" || e.GetState() == "DISPATCHED") {
		line += " " + e.GetAntId()
	}
	if e.GetAttempt() > 1 {
		line += fmt.Sprintf(" attempt %d", e.GetAttempt())
	}
	switch e.GetState() {
	case "READY", "DISPATCHED", "RUNNING": // what is known of the end is that of the attempt before
		return line
	}
	message := firstLine(e.GetMessage())
	if code := fmt.Sprintf("exit code %d", e.GetExitCode()); e.GetExitCode() != 0 && message != code {
		line += " " + code
	}
	if message != "" {
		line += ": " + message
	}
	return line
}

// explain says why nothing happens when nothing has happened for a while and nothing runs.
func (f *follower) explain(ctx context.Context) {
	if f.progress == nil || time.Since(f.change) < silentFor {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, checkEvery)
	defer cancel()
	res, err := f.c.requests.ExplainJobRequest(ctx, &jobv1.ExplainJobRequestRequest{Id: f.id})
	if err != nil {
		return
	}
	reason := res.GetRequest().GetWait().GetReason()
	for _, t := range res.GetTasks() {
		// A task that waits for another one is no news: the other one is.
		if reason == "" && t.GetWait().GetGate() != jobv1.Gate_GATE_DEPENDENCY && t.GetWait().GetReason() != "" {
			reason = t.GetTask() + ": " + t.GetWait().GetReason()
		}
	}
	if reason != "" && reason != f.reason {
		f.reason = reason
		advice := ""
		if strings.Contains(reason, "method DOCKER: ") {
			advice = "; 'formicary doctor' says whether a Docker engine answers"
		}
		printf(f.progress, "%s waits: %s%s\n", time.Now().Format("15:04:05"), firstLine(reason), advice)
	}
}

func terminal(s jobv1.JobRequest_State) bool {
	switch s {
	case jobv1.JobRequest_COMPLETED, jobv1.JobRequest_FAILED, jobv1.JobRequest_CANCELLED, jobv1.JobRequest_SKIPPED:
		return true
	default:
		return false
	}
}
