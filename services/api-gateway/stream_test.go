package apigateway_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/testkit"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

const other = "0198c0de-0000-7000-8000-000000000002"

// state is what job-manager answers for the request id.
func state(run int32, version int64, s jobv1.JobRequest_State) answer {
	return one(&jobv1.GetJobRequestResponse{Request: &jobv1.JobRequest{Id: id, JobType: "etl", Run: run, Version: version, State: s}})
}

func (w *world) task(request, task string, attempt int32, s executionv1.Task_State) {
	w.publish("formicary.live.task", &executionv1.TaskChanges{Changes: []*executionv1.TaskChanged{
		{RequestId: request, OrgId: "default", JobType: "etl", Run: 1, Task: task, Attempt: attempt, State: s},
	}})
}

func TestWatchAll(t *testing.T) {
	w := start(t)
	next := w.events("")
	if hello := want(t, next, "hello")[0]; hello.ID == "" || hello.Message != "" {
		t.Errorf("%+v", hello)
	}
	w.task(id, "a", 1, executionv1.Task_RUNNING) // not asked for
	w.changed(id, 1, 1, jobv1.JobRequest_PENDING)
	w.changed(other, 1, 1, jobv1.JobRequest_COMPLETED)
	w.publish("formicary.event.job.changed", &jobv1.RequestChanges{Changes: []*jobv1.RequestChanged{{RequestId: id, OrgId: "another", State: jobv1.JobRequest_FAILED}}})
	if err := w.nats.Publish("formicary.event.job.changed", []byte("rubbish")); err != nil {
		t.Fatal(err)
	}
	w.changed(id, 1, 2, jobv1.JobRequest_READY)
	got := want(t, next, "request PENDING", "request COMPLETED", "request READY")
	if got[0].RequestID != id || got[1].RequestID != other || got[2].Version != "2" || got[2].Run != 1 {
		t.Errorf("%+v", got)
	}
}

func TestWatchFilters(t *testing.T) {
	w := start(t)
	tasks := w.events("?tasks=true&job_type=etl")
	want(t, tasks, "hello")
	w.publish("formicary.event.job.changed", &jobv1.RequestChanges{Changes: []*jobv1.RequestChanged{{RequestId: id, OrgId: "default", JobType: "other", State: jobv1.JobRequest_FAILED}}})
	w.task(id, "a", 1, executionv1.Task_RUNNING)
	want(t, tasks, "task a RUNNING")
}

func TestWatchRequestTellsTheStateFirst(t *testing.T) {
	w := start(t)
	w.peers.when(jobs+"GetJobRequest", state(1, 5, jobv1.JobRequest_EXECUTING))
	w.peers.when(runs+"ListTasks", func(_ context.Context, req proto.Message, send func(proto.Message) error) error {
		if req.(*executionv1.ListTasksRequest).GetPageToken() == "" {
			return send(&executionv1.ListTasksResponse{NextPageToken: "2", Tasks: []*executionv1.Task{{
				Name: "a", State: executionv1.Task_COMPLETED, Attempts: []*executionv1.Attempt{{Number: 1, AntId: "ant-1"}},
			}}})
		}
		return send(&executionv1.ListTasksResponse{Tasks: []*executionv1.Task{{Name: "b", State: executionv1.Task_RUNNING, Attempts: []*executionv1.Attempt{{Number: 1}}}}})
	})
	next := w.events("?tasks=true&until_terminal=true&request_id=" + id)
	want(t, next, "hello", "request EXECUTING", "task a COMPLETED", "task b RUNNING")

	w.changed(id, 1, 4, jobv1.JobRequest_READY) // older
	w.changed(id, 1, 5, jobv1.JobRequest_EXECUTING)
	w.task(id, "a", 1, executionv1.Task_RUNNING) // older
	w.task(id, "b", 1, executionv1.Task_WAITING)
	w.task(id, "b", 1, executionv1.Task_READY)
	w.task(id, "b", 2, executionv1.Task_RUNNING)
	w.changed(other, 9, 9, jobv1.JobRequest_FAILED) // another's
	w.task(id, "b", 2, executionv1.Task_COMPLETED)
	want(t, next, "task b WAITING", "task b READY", "task b RUNNING", "task b COMPLETED")
	w.changed(id, 1, 6, jobv1.JobRequest_COMPLETED)
	want(t, next, "request COMPLETED")
	if e, ok := next(); ok {
		t.Errorf("after the end: %+v", e)
	}
}

func TestWatchOfAnEndedRequestEnds(t *testing.T) {
	w := start(t)
	w.peers.when(jobs+"GetJobRequest", state(1, 5, jobv1.JobRequest_FAILED))
	w.peers.when(runs+"ListTasks", one(&executionv1.ListTasksResponse{Tasks: []*executionv1.Task{{Name: "a", State: executionv1.Task_FAILED}}}))
	next := w.events("?tasks=true&until_terminal=true&request_id=@latest")
	got := want(t, next, "hello", "request FAILED", "task a FAILED")
	if got[0].RequestID != id {
		t.Errorf("the name was not resolved: %+v", got[0])
	}
	if e, ok := next(); ok {
		t.Errorf("after the end: %+v", e)
	}
}

func TestWatchOfNothing(t *testing.T) {
	w := start(t)
	w.peers.when(jobs+"GetJobRequest", fails(errs.NotFound("REQUEST_NOT_FOUND", "no")))
	for _, accept := range []string{"application/json", "text/event-stream"} {
		if got := w.do("GET", "/api/v1/events?request_id="+id, "", "Accept: "+accept); got.code != http.StatusNotFound || reason(t, got) != "REQUEST_NOT_FOUND" {
			t.Errorf("%d %s", got.code, got.body)
		}
	}
	if got := w.do("GET", "/api/v1/events?until_terminal=true", ""); got.code != http.StatusBadRequest {
		t.Errorf("%d %s", got.code, got.body)
	}
	if got := w.do("GET", "/api/v1/events?request_id="+strings.Repeat("x", 65), ""); got.code != http.StatusBadRequest {
		t.Errorf("%d %s", got.code, got.body)
	}
}

func TestWatchOfAnotherJobTypeIsRefused(t *testing.T) {
	w := start(t)
	for _, s := range []jobv1.JobRequest_State{jobv1.JobRequest_EXECUTING, jobv1.JobRequest_COMPLETED} {
		w.peers.when(jobs+"GetJobRequest", state(1, 5, s))
		for _, query := range []string{"", "&until_terminal=true", "&until_terminal=true&tasks=true"} {
			got := w.do("GET", "/api/v1/events?job_type=other&request_id="+id+query, "")
			if got.code != http.StatusBadRequest || !strings.Contains(got.body, "not other") {
				t.Errorf("%s %s: %d %s", s, query, got.code, got.body)
			}
		}
	}
}

func TestNothingFallsBetweenStateAndEvents(t *testing.T) {
	w := start(t)
	// The state is read as EXECUTING; the end is told while the answer is on its way.
	w.peers.when(jobs+"GetJobRequest", func(ctx context.Context, req proto.Message, send func(proto.Message) error) error {
		w.changed(id, 1, 6, jobv1.JobRequest_COMPLETED)
		if err := w.nats.FlushTimeout(time.Second); err != nil {
			return err
		}
		return state(1, 5, jobv1.JobRequest_EXECUTING)(ctx, req, send)
	})
	next := w.events("?until_terminal=true&request_id=" + id)
	want(t, next, "hello", "request EXECUTING", "request COMPLETED")
}

func TestALostEventCostsSecondsOnly(t *testing.T) {
	w := start(t, func(s *setting) { s.conf.Recheck = 30 * time.Millisecond })
	w.peers.when(jobs+"GetJobRequest", state(1, 5, jobv1.JobRequest_EXECUTING))
	w.peers.when(runs+"ListTasks", one(&executionv1.ListTasksResponse{Tasks: []*executionv1.Task{{Name: "a", State: executionv1.Task_RUNNING}}}))
	next := w.events("?tasks=true&until_terminal=true&request_id=" + id)
	want(t, next, "hello", "request EXECUTING", "task a RUNNING")
	w.peers.when(runs+"ListTasks", one(&executionv1.ListTasksResponse{Tasks: []*executionv1.Task{{Name: "a", State: executionv1.Task_COMPLETED}}}))
	want(t, next, "task a COMPLETED")
	w.peers.when(jobs+"GetJobRequest", fails(errs.Unavailable("LATER", "no")))
	n := w.peers.count()
	testkit.Eventually(t, 20*time.Second, "a check failed", func() bool { return w.peers.count() > n+1 })
	w.peers.when(jobs+"GetJobRequest", state(1, 7, jobv1.JobRequest_COMPLETED))
	want(t, next, "request COMPLETED")
	if e, ok := next(); ok {
		t.Errorf("after the end: %+v", e)
	}
}

func TestHeartbeatAndEndOfLife(t *testing.T) {
	w := start(t, func(s *setting) { s.conf.Heartbeat, s.conf.StreamLife = 20*time.Millisecond, 150*time.Millisecond })
	next := w.events("")
	want(t, next, "hello")
	beats := 0
	for e, ok := next(); ok; e, ok = next() {
		if e.Kind != "heartbeat" || e.ID == "" {
			t.Errorf("%+v", e)
		}
		beats++
	}
	if beats < 2 {
		t.Errorf("%d heartbeats", beats)
	}
}

func TestResume(t *testing.T) {
	w := start(t, func(s *setting) { s.conf.KeptEvents = 4 })
	next := w.events("")
	hello := want(t, next, "hello")[0]
	w.changed(id, 1, 1, jobv1.JobRequest_PENDING)
	w.changed(id, 1, 2, jobv1.JobRequest_READY)
	w.changed(other, 1, 1, jobv1.JobRequest_PENDING)
	got := want(t, next, "request PENDING", "request READY", "request PENDING")

	again := w.events("", "Last-Event-ID: "+got[0].ID)
	want(t, again, "hello", "request READY", "request PENDING")
	w.changed(id, 1, 3, jobv1.JobRequest_EXECUTING)
	want(t, again, "request EXECUTING")

	fromStart := w.events("", "Last-Event-ID: "+hello.ID)
	want(t, fromStart, "hello", "request PENDING", "request READY", "request PENDING", "request EXECUTING")

	w.changed(id, 1, 4, jobv1.JobRequest_COMPLETED)
	want(t, again, "request COMPLETED")
	for _, gone := range []string{hello.ID, "elsewhere-7", "rubbish"} {
		late := w.events("", "Last-Event-ID: "+gone)
		if h := want(t, late, "hello")[0]; !strings.Contains(h.Message, "missing") {
			t.Errorf("%s: %+v", gone, h)
		}
	}
}

func TestWatchOverGRPC(t *testing.T) {
	w := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	client := jobv1.NewEventServiceClient(w.grpc)
	s, err := client.WatchEvents(ctx, &jobv1.WatchEventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	hello, err := s.Recv()
	if err != nil || hello.GetKind() != "hello" {
		t.Fatal(hello, err)
	}
	w.changed(id, 1, 1, jobv1.JobRequest_PENDING)
	if e, err := s.Recv(); err != nil || e.GetState() != "PENDING" {
		t.Fatal(e, err)
	}
	s, err = client.WatchEvents(metadata.AppendToOutgoingContext(ctx, "last-event-id", hello.GetId()), &jobv1.WatchEventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"hello", "request"} {
		if e, err := s.Recv(); err != nil || e.GetKind() != kind {
			t.Fatal(e, err)
		}
	}
}

func TestSlowWatchIsEnded(t *testing.T) {
	w := start(t, func(s *setting) { s.conf.WatchQueue = 10 })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s, err := jobv1.NewEventServiceClient(w.grpc).WatchEvents(ctx, &jobv1.WatchEventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); err != nil {
		t.Fatal(err)
	}
	fast := w.events("?request_id=" + id)
	// A client that does not read fills the window of its stream, then its queue.
	for i := range 5000 {
		w.changed(other, 1, int64(i), jobv1.JobRequest_PENDING)
	}
	for err == nil {
		_, err = s.Recv()
	}
	if errs.Reason(err) != "WATCH_TOO_SLOW" {
		t.Errorf("ended with %v", err)
	}
	w.changed(id, 1, 1, jobv1.JobRequest_PENDING)
	w.peers.when(jobs+"GetJobRequest", state(1, 1, jobv1.JobRequest_PENDING))
	want(t, fast, "hello")
}

func TestTooManyStreams(t *testing.T) {
	w := start(t, func(s *setting) { s.conf.MaxStreams = 1 })
	want(t, w.events(""), "hello")
	if got := w.do("GET", "/api/v1/events", ""); got.code != http.StatusTooManyRequests || reason(t, got) != "TOO_MANY_STREAMS" {
		t.Errorf("%d %s", got.code, got.body)
	}
}

func TestServerSentEvents(t *testing.T) {
	w := start(t)
	next := w.lines("/api/v1/events", "Accept: text/html, text/event-stream;q=0.9, */*")
	read := func() (id, data string) {
		for line := next(); line != ""; line = next() {
			key, value, _ := strings.Cut(line, ": ")
			switch key {
			case "id":
				id = value
			case "data":
				data = strings.ReplaceAll(value, " ", "")
			default:
				t.Errorf("line %q", line)
			}
		}
		return id, data
	}
	helloID, hello := read()
	if helloID == "" || !strings.Contains(hello, `"kind":"hello"`) {
		t.Errorf("%q %q", helloID, hello)
	}
	w.changed(id, 1, 1, jobv1.JobRequest_PENDING)
	eventID, data := read()
	if !strings.HasPrefix(data, `{"id":"`+eventID+`"`) || !strings.Contains(data, `"state":"PENDING"`) || eventID == helloID {
		t.Errorf("%q %q", eventID, data)
	}
	res := w.open(t.Context(), "GET", "/api/v1/events", nil, "Accept: text/event-stream", "Last-Event-ID: "+helloID)
	defer func() { _ = res.Body.Close() }()
	if ct := res.Header.Get("Content-Type"); ct != "text/event-stream" {
		t.Errorf("content type %q", ct)
	}
}

// log answers with pieces of a log from the wanted offset on.
func log(text string, end error) answer {
	return func(_ context.Context, req proto.Message, send func(proto.Message) error) error {
		offset := req.(*executionv1.WatchTaskLogRequest).GetOffset()
		for offset < int64(len(text)) {
			n := min(4, int64(len(text))-offset)
			if err := send(&executionv1.WatchTaskLogResponse{Offset: offset, Data: []byte(text[offset : offset+n]), Attempt: 1, Run: 2}); err != nil {
				return err
			}
			offset += n
		}
		return end
	}
}

func TestTaskLog(t *testing.T) {
	w := start(t)
	path := "/api/v1/jobs/requests/" + id + "/tasks/build/log"
	w.peers.when(logs+"WatchTaskLog", log("one\ntwo\n\x00\xff\n", nil))

	if got := w.do("GET", path, "", "Accept: text/plain"); got.body != "one\ntwo\n\x00\xff\n" || !strings.HasPrefix(got.header.Get("Content-Type"), "text/plain") {
		t.Errorf("text: %q %v", got.body, got.header)
	}
	if got := w.do("GET", path+"?offset=4&follow=true", "", "Accept: text/plain"); got.body != "two\n\x00\xff\n" {
		t.Errorf("text from 4: %q", got.body)
	}
	got := strings.Split(strings.ReplaceAll(w.do("GET", path, "").body, " ", ""), "\n")
	if want := `{"result":{"offset":"4","data":"` + base64.StdEncoding.EncodeToString([]byte("two\n")) + `","attempt":1,"run":2}}`; len(got) != 4 || got[1] != want {
		t.Errorf("NDJSON: %q", got)
	}
	sse := w.do("GET", path, "", "Accept: text/event-stream").body
	for _, line := range []string{"id: 2-1-4\ndata: {", "id: 2-1-8\ndata: {", "id: 2-1-11\ndata: {"} {
		if !strings.Contains(sse, line) {
			t.Errorf("SSE without %q: %q", line, sse)
		}
	}
	w.do("GET", path+"?offset=1", "", "Accept: text/event-stream", "Last-Event-ID: 2-1-8")
	req, _ := w.peers.last(t).req.(*executionv1.WatchTaskLogRequest)
	if req.GetOffset() != 8 || req.GetFromRun() != 2 || req.GetFromAttempt() != 1 || req.GetRun() != 0 || req.GetAttempt() != 0 {
		t.Errorf("resumed with %v", req)
	}
	for _, id := range []string{"8", "0"} { // of a version before: an offset of nobody knows which attempt
		if got := w.do("GET", path, "", "Accept: text/event-stream", "Last-Event-ID: "+id); got.code != http.StatusOK || !strings.Contains(got.body, "id: 2-1-4\n") {
			t.Errorf("id %s: %d %s", id, got.code, got.body)
		}
		if req, _ := w.peers.last(t).req.(*executionv1.WatchTaskLogRequest); req.GetOffset() != 0 || req.GetFromAttempt() != 0 {
			t.Errorf("id %s: resumed with %v", id, req)
		}
	}
	for _, id := range []string{"-8", "8x", "1-8", "0-1-8", "1-0-8", "1-1-", "1-1--8", "x-1-8", "1-1-8-9", "1-99999999999-8", "4f1e2d3c4b5a-17-1764406800000000"} {
		if got := w.do("GET", path, "", "Accept: text/event-stream", "Last-Event-ID: "+id); got.code != http.StatusBadRequest || reason(t, got) != "LAST_EVENT_ID_INVALID" {
			t.Errorf("id %s: %d %s", id, got.code, got.body)
		}
	}
	// Before there is an attempt there is no place either.
	w.peers.when(logs+"WatchTaskLog", func(_ context.Context, _ proto.Message, send func(proto.Message) error) error {
		return send(&executionv1.WatchTaskLogResponse{})
	})
	if got := w.do("GET", path+"?follow=true", "", "Accept: text/event-stream"); strings.Contains(got.body, "id:") {
		t.Errorf("waiting: %q", got.body)
	}
}

func TestTaskLogThatFails(t *testing.T) {
	w := start(t)
	path := "/api/v1/jobs/requests/" + id + "/tasks/build/log"
	w.peers.when(logs+"WatchTaskLog", fails(errs.NotFound("TASK_NOT_FOUND", "no task build")))
	for _, accept := range []string{"text/plain", "text/event-stream", "application/json"} {
		if got := w.do("GET", path, "", "Accept: "+accept); got.code != http.StatusNotFound || reason(t, got) != "TASK_NOT_FOUND" {
			t.Errorf("%s: %d %s", accept, got.code, got.body)
		}
	}
	w.peers.when(logs+"WatchTaskLog", log("one\n", errs.Unavailable("LATER", "the store is away")))
	for accept, end := range map[string]string{
		"text/plain":        "one\n\n[the log breaks off: the store is away]\n",
		"text/event-stream": "\n\nevent: failure\ndata: {",
		"application/json":  "\n{\"error\":{",
	} {
		if got := w.do("GET", path, "", "Accept: "+accept); got.code != http.StatusOK || !strings.Contains(got.body, end) {
			t.Errorf("%s: %d %q", accept, got.code, got.body)
		}
	}
	w.peers.when(logs+"WatchTaskLog", log("", nil))
	if got := w.do("GET", path, "", "Accept: text/plain"); got.code != http.StatusOK || got.body != "" {
		t.Errorf("empty: %d %q", got.code, got.body)
	}
}

func TestTaskLogOverGRPC(t *testing.T) {
	w := start(t)
	w.peers.when(logs+"WatchTaskLog", log("one\ntwo\n", nil))
	s, err := executionv1.NewLogServiceClient(w.grpc).WatchTaskLog(t.Context(), &executionv1.WatchTaskLogRequest{RequestId: id, Task: "a"})
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text += string(m.GetData())
	}
	if text != "one\ntwo\n" {
		t.Errorf("%q", text)
	}
}

func TestAClientThatGoesEndsItsStream(t *testing.T) {
	w := start(t)
	var open atomic.Int32
	w.peers.when(logs+"WatchTaskLog", func(ctx context.Context, _ proto.Message, send func(proto.Message) error) error {
		open.Add(1)
		defer open.Add(-1)
		if err := send(&executionv1.WatchTaskLogResponse{Data: []byte("x")}); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	})
	ctx, cancel := context.WithCancel(t.Context())
	res := w.open(ctx, "GET", fmt.Sprintf("/api/v1/jobs/requests/%s/tasks/build/log?follow=true", id), nil)
	defer func() { _ = res.Body.Close() }()
	testkit.Eventually(t, 20*time.Second, "the log is open", func() bool { return open.Load() == 1 })
	cancel()
	testkit.Eventually(t, 20*time.Second, "the log is closed", func() bool { return open.Load() == 0 })
}
