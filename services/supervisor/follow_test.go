package supervisor_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/testkit"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

// requestService plays job-manager for those who ask about requests.
type requestService struct {
	jobv1.UnimplementedJobRequestServiceServer
	mu     sync.Mutex
	states map[string]jobv1.JobRequest_State // by id; all are in their first run
	asked  map[string]int
}

func (r *requestService) set(id string, s jobv1.JobRequest_State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.states[id] = s
}

func (r *requestService) GetJobRequest(_ context.Context, req *jobv1.GetJobRequestRequest) (*jobv1.GetJobRequestResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.states[req.GetId()]
	r.asked[req.GetId()]++
	if !ok {
		return nil, errs.NotFound("REQUEST_NOT_FOUND", "no request %s", req.GetId())
	}
	return &jobv1.GetJobRequestResponse{Request: &jobv1.JobRequest{Id: req.GetId(), Run: 1, State: s}}, nil
}

// TestFollowGoesOnWithTheNextAttempt follows a task over a retry, and comes back in every place of it.
func TestFollowGoesOnWithTheNextAttempt(t *testing.T) {
	t.Parallel()
	store := objects{}
	s3 := httptest.NewServer(store)
	t.Cleanup(s3.Close)
	w := newWorldWith(t, strings.TrimPrefix(s3.URL, "http://"))
	a := w.newAnt("ant1", 1, func(*antv1.Work) *antv1.Result { return nil })
	id := w.admit(planOf(plan.Task{Name: "a", Retry: 1, Backoff: plan.Backoff{Delay: 200 * time.Millisecond}}))
	first := a.live("a")
	whole := make(chan []*executionv1.WatchTaskLogResponse, 1)
	go func() {
		_, all := w.watch(&executionv1.WatchTaskLogRequest{RequestId: id, Task: "a", Follow: true}, 0)
		whole <- all
	}()
	w.say(first, 0, "one\n")
	store["logs/1"], store["logs/2"] = "one\n", "second\n"
	a.end(first, &antv1.Result{Outcome: antv1.Result_FAILED, ExitCode: 1, FailureClass: "user", LogKey: "logs/1", LogBytes: 4})
	second := a.live("a")
	// Attempt 1 has ended and attempt 2 runs: the place in attempt 1 says nothing of attempt 2.
	back := make(chan string, 1)
	go func() {
		text, _ := w.watch(&executionv1.WatchTaskLogRequest{RequestId: id, Task: "a", Follow: true, FromRun: 1, FromAttempt: 1, Offset: 4}, 0)
		back <- text
	}()
	w.say(second, 0, "sec")
	a.end(second, &antv1.Result{Outcome: antv1.Result_SUCCEEDED, LogKey: "logs/2", LogBytes: 7})
	var text strings.Builder
	for _, m := range <-whole {
		if len(m.GetData()) > 0 {
			text.WriteString(string(m.GetData()))
			if want := int32(1); strings.HasPrefix(string(m.GetData()), "one") && m.GetAttempt() != want || m.GetRun() != 1 {
				t.Errorf("piece %v", m)
			}
		}
	}
	if text.String() != "one\nsecond\n" {
		t.Errorf("followed: %q", text.String())
	}
	if got := <-back; got != "second\n" {
		t.Errorf("came back: %q", got)
	}
	w.becomes(id, executionv1.Execution_COMPLETED)
	for _, c := range []struct {
		req  *executionv1.WatchTaskLogRequest
		want string
	}{
		{&executionv1.WatchTaskLogRequest{Follow: true, FromRun: 1, FromAttempt: 1, Offset: 2}, "e\nsecond\n"},
		{&executionv1.WatchTaskLogRequest{Follow: true, FromRun: 1, FromAttempt: 2, Offset: 6}, "\n"},
		{&executionv1.WatchTaskLogRequest{Follow: true, FromRun: 1, FromAttempt: 1, Offset: 0, Attempt: 1}, "one\n"},
		{&executionv1.WatchTaskLogRequest{Follow: true, Attempt: 1}, "one\n"},
		{&executionv1.WatchTaskLogRequest{Follow: true}, "second\n"},
		{&executionv1.WatchTaskLogRequest{FromRun: 1, FromAttempt: 1}, "one\n"},
	} {
		c.req.RequestId, c.req.Task = id, "a"
		if got, _ := w.watch(c.req, 0); got != c.want {
			t.Errorf("%v: %q, want %q", c.req, got, c.want)
		}
	}
	for _, bad := range []*executionv1.WatchTaskLogRequest{{FromRun: 1}, {FromAttempt: 1}, {FromRun: 1, FromAttempt: 1, Attempt: 2}, {FromRun: 1, FromAttempt: 1, Run: 2}} {
		bad.RequestId, bad.Task = id, "a"
		if err := w.refused(bad); errs.CodeOf(err) != errs.CodeInvalid {
			t.Errorf("%v: %v", bad, err)
		}
	}
	w.settled()
}

// refused returns the error that a call begins with.
func (w *world) refused(req *executionv1.WatchTaskLogRequest) error {
	w.t.Helper()
	stream, err := w.logs.WatchTaskLog(w.t.Context(), req)
	if err == nil {
		_, err = stream.Recv()
	}
	return err
}

func TestLogIsFollowedBeforeTheLaunch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	follow := func(id string) chan string {
		done := make(chan string, 1)
		go func() {
			got, _ := w.watch(&executionv1.WatchTaskLogRequest{RequestId: id, Task: "a", Follow: true}, 0)
			done <- got
		}()
		return done
	}
	a := w.newAnt("ant1", 1, func(*antv1.Work) *antv1.Result { return nil })
	id := w.jobs.add(planOf(task("a")))
	w.requests.set(id, jobv1.JobRequest_PENDING)
	for name, req := range map[string]*executionv1.WatchTaskLogRequest{
		"EXECUTION_NOT_FOUND": {RequestId: id, Task: "a"},
		"REQUEST_NOT_FOUND":   {RequestId: uuid.NewString(), Task: "a", Follow: true},
	} {
		if err := w.refused(req); errs.Reason(err) != name {
			t.Errorf("%v, want %s", err, name)
		}
	}
	if err := w.refused(&executionv1.WatchTaskLogRequest{RequestId: id, Task: "a", Follow: true, Run: 2}); errs.Reason(err) != "EXECUTION_NOT_FOUND" {
		t.Errorf("a run that nobody asked for: %v", err)
	}
	done := follow(id)
	w.admitRun(id, 1)
	uid := a.live("a")
	w.say(uid, 0, "hello\n")
	a.end(uid, success())
	if got := <-done; got != "hello\n" {
		t.Errorf("followed: %q", got)
	}
	w.becomes(id, executionv1.Execution_COMPLETED)

	cancelled := uuid.NewString()
	w.requests.set(cancelled, jobv1.JobRequest_PENDING)
	done = follow(cancelled)
	testkit.Eventually(t, 20*time.Second, "it is waited for", func() bool {
		w.requests.mu.Lock()
		defer w.requests.mu.Unlock()
		return w.requests.asked[cancelled] > 0
	})
	w.requests.set(cancelled, jobv1.JobRequest_CANCELLED)
	if got := <-done; got != "" {
		t.Errorf("cancelled before its launch: %q", got)
	}
	if err := w.refused(&executionv1.WatchTaskLogRequest{RequestId: cancelled, Task: "a", Follow: true}); errs.Reason(err) != "EXECUTION_NOT_FOUND" {
		t.Errorf("cancelled long ago: %v", err)
	}
	w.settled()
}

// TestLogsOfWhatIsNotThere waits for an item whose fan-out has not begun, and refuses what will never be.
func TestLogsOfWhatIsNotThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.newAnt("ant1", 2, func(*antv1.Work) *antv1.Result { return nil })
	id := w.admitText("job_type: job\ntasks:\n- {task_type: first, method: SHELL, script: [x], on_completed: fan}\n- {task_type: fan, method: SHELL, script: [x], fan_out: {items: [a], item_var: i}}\n")
	first := a.live("first")
	for name, req := range map[string]*executionv1.WatchTaskLogRequest{
		"TASK_NOT_FOUND":    {RequestId: id, Task: "fan[0]"},
		"ATTEMPT_NOT_FOUND": {RequestId: id, Task: "first", Attempt: 9},
	} {
		if err := w.refused(req); errs.Reason(err) != name {
			t.Errorf("%v, want %s", err, name)
		}
	}
	if err := w.refused(&executionv1.WatchTaskLogRequest{RequestId: id, Task: "none[0]", Follow: true}); errs.Reason(err) != "TASK_NOT_FOUND" {
		t.Errorf("an item of nothing: %v", err)
	}
	done := make(chan string, 1)
	go func() {
		got, _ := w.watch(&executionv1.WatchTaskLogRequest{RequestId: id, Task: "fan[0]", Follow: true}, 0)
		done <- got
	}()
	a.end(first, success())
	item := a.live("fan[0]")
	w.say(item, 0, "hello\n")
	a.end(item, success())
	if got := <-done; got != "hello\n" {
		t.Errorf("followed: %q", got)
	}
	w.settled()
}
