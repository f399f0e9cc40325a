package jobmanager_test

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/testkit"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

func TestSubmit(t *testing.T) {
	c := newColony(t)
	submitted := hear[jobv1.RequestSubmitted](c, "formicary.event.job.submitted")
	changed := hearChanged(c)
	d := c.upload(job("j", "priority: 30\nrequired_params: [name]\n"))

	_, err := c.requests.SubmitJob(t.Context(), &jobv1.SubmitJobRequest{JobType: "x"})
	wantReason(t, err, "DEFINITION_NOT_FOUND")
	_, err = c.requests.SubmitJob(t.Context(), &jobv1.SubmitJobRequest{JobType: "j"})
	wantReason(t, err, "PARAMS_INVALID")
	var e *errs.Error
	if asTyped(err, &e) && (len(e.Violations) != 1 || e.Violations[0].Field != "name") {
		t.Errorf("%+v", e.Violations)
	}
	_, err = c.requests.SubmitJob(t.Context(), &jobv1.SubmitJobRequest{JobType: "j", Params: params(t, "name", "a\x00b")})
	wantReason(t, err, "PARAMS_INVALID")
	if asTyped(err, &e) && (len(e.Violations) != 1 || e.Violations[0].Field != "name") {
		t.Errorf("%+v", e.Violations)
	}
	for field, bad := range map[string]*jobv1.SubmitJobRequest{
		"job_type": {JobType: "j\x00"}, "job_version": {JobType: "j", JobVersion: "\x00"}, "idempotency_key": {JobType: "j", IdempotencyKey: "\x00"},
		"description": {JobType: "j", Description: "\x00"},
	} {
		_, err := c.requests.SubmitJob(t.Context(), bad)
		wantReason(t, err, "REQUEST_INVALID")
		if asTyped(err, &e) && (len(e.Violations) != 1 || e.Violations[0].Field != field) {
			t.Errorf("%s: %+v", field, e.Violations)
		}
	}

	dry, err := c.requests.SubmitJob(t.Context(), &jobv1.SubmitJobRequest{JobType: "j", Params: params(t, "name", "a"), ValidateOnly: true})
	if err != nil || dry.GetCreated() || c.count("SELECT count(*) FROM request") != 0 {
		t.Errorf("validate_only: %v, %v", dry, err)
	}
	r := c.submit(&jobv1.SubmitJobRequest{JobType: "j", Params: params(t, "name", "a"), Description: "d"})
	if r.GetState() != jobv1.JobRequest_PENDING || r.GetDefinitionId() != d.GetId() || r.GetPriority() != 30 || r.GetRun() != 1 {
		t.Errorf("%v", r)
	}
	got := c.get(r.GetId())
	if got.GetParams().GetFields()["name"].GetStringValue() != "a" || got.GetDescription() != "d" || got.GetWait().GetGate() != jobv1.Gate_GATE_QUEUE || got.GetWait().GetRank() != 1 {
		t.Errorf("%v", got)
	}
	testkit.Eventually(t, 20*time.Second, "both events are sent", func() bool { return len(submitted()) == 1 && len(changed()) == 1 })
	if m := changed()[0]; m.GetRequestId() != r.GetId() || m.GetState() != jobv1.JobRequest_PENDING || m.GetVersion() != 1 {
		t.Errorf("%v", m)
	}
	testkit.Eventually(t, 20*time.Second, "the outbox is empty", func() bool { return c.count("SELECT count(*) FROM outbox") == 0 })
}

func params(t testing.TB, pairs ...string) *structpb.Struct {
	t.Helper()
	s := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for i := 0; i < len(pairs); i += 2 {
		s.Fields[pairs[i]] = structpb.NewStringValue(pairs[i+1])
	}
	return s
}

func TestIdempotencyUnderConcurrency(t *testing.T) {
	c := newColony(t)
	c.upload(job("j", ""))
	var created atomic.Int32
	var ids sync.Map
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			key := fmt.Sprintf("k%d", i%10)
			res, err := c.requests.SubmitJob(t.Context(), &jobv1.SubmitJobRequest{JobType: "j", IdempotencyKey: key, Params: params(t, "p", key)})
			if err != nil {
				t.Error(err)
				return
			}
			if res.GetCreated() {
				created.Add(1)
			}
			if first, known := ids.LoadOrStore(key, res.GetRequest().GetId()); known && first != res.GetRequest().GetId() {
				t.Errorf("%s has two requests", key)
			}
		})
	}
	wg.Wait()
	if created.Load() != 10 || c.count("SELECT count(*) FROM request") != 10 {
		t.Errorf("%d created", created.Load())
	}
	_, err := c.requests.SubmitJob(t.Context(), &jobv1.SubmitJobRequest{JobType: "j", IdempotencyKey: "k1", Params: params(t, "p", "other")})
	wantReason(t, err, "IDEMPOTENCY_CONFLICT")

	// A key keeps its answer when the definition has changed since, even where it would be refused now.
	c.upload(job("j", "required_params: [missing]\n"))
	res, err := c.requests.SubmitJob(t.Context(), &jobv1.SubmitJobRequest{JobType: "j", IdempotencyKey: "k1", Params: params(t, "p", "k1")})
	if first, _ := ids.Load("k1"); err != nil || res.GetCreated() || res.GetRequest().GetId() != first {
		t.Errorf("%v, %v", res, err)
	}
}

func TestAnotherReplicaReplacesTheDefinition(t *testing.T) {
	c := newColony(t)
	c.start("other")
	other := jobv1.NewJobDefinitionServiceClient(c.dial("other"))
	c.upload(job("j", ""))
	c.submit(&jobv1.SubmitJobRequest{JobType: "j"}) // remembers version 1
	if _, err := other.CreateJobDefinition(t.Context(), &jobv1.CreateJobDefinitionRequest{Yaml: job("j", "priority: 7\n")}); err != nil {
		t.Fatal(err)
	}
	if r := c.submit(&jobv1.SubmitJobRequest{JobType: "j"}); r.GetDefinitionVersion() != 2 || r.GetPriority() != 7 {
		t.Errorf("%v", r)
	}
	if r := c.submit(&jobv1.SubmitJobRequest{JobType: "j", JobVersion: "1"}); r.GetDefinitionVersion() != 1 {
		t.Errorf("pinned: %v", r)
	}
	if _, err := c.pool.Exec(t.Context(), "UPDATE request SET state = 'CANCELLED', queued = false, ended_at = now()"); err != nil {
		t.Fatal(err)
	}
	if _, err := other.DeleteJobDefinition(t.Context(), &jobv1.DeleteJobDefinitionRequest{Id: "j"}); err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"", "1"} {
		_, err := c.requests.SubmitJob(t.Context(), &jobv1.SubmitJobRequest{JobType: "j", JobVersion: version})
		wantReason(t, err, "DEFINITION_NOT_FOUND")
	}
}

func TestSubmitRacesWithDelete(t *testing.T) {
	c := newColony(t) // the audit at the end finds a request of a deleted type
	for range 10 {
		c.upload(job("j", ""))
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { _, _ = c.requests.SubmitJob(t.Context(), &jobv1.SubmitJobRequest{JobType: "j"}) })
		}
		wg.Go(func() {
			_, _ = c.definitions.DeleteJobDefinition(t.Context(), &jobv1.DeleteJobDefinitionRequest{Id: "j"})
		})
		wg.Wait()
		if _, err := c.pool.Exec(t.Context(), "UPDATE request SET state = 'CANCELLED', queued = false, ended_at = now() WHERE state = 'PENDING' AND job_type IN (SELECT job_type FROM job_type WHERE newest_id IS NOT NULL)"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNamesOfRequests(t *testing.T) {
	c := newColony(t)
	c.upload(job("j", ""))
	first := c.submit(&jobv1.SubmitJobRequest{JobType: "j"})
	last := c.submit(&jobv1.SubmitJobRequest{JobType: "j"})
	if got := c.get("@latest"); got.GetId() != last.GetId() {
		t.Errorf("@latest is %v", got)
	}
	if got := c.get(first.GetId()[:35]); got.GetId() != first.GetId() {
		t.Errorf("prefix: %v", got)
	}
	for name, reason := range map[string]string{
		"@failed": "REQUEST_NOT_FOUND", "12345678": "REQUEST_NOT_FOUND", "short": "REQUEST_NOT_FOUND", "no-hexadecimal": "REQUEST_NOT_FOUND",
		first.GetId()[:8]: "REQUEST_AMBIGUOUS",
	} {
		_, err := c.requests.GetJobRequest(t.Context(), &jobv1.GetJobRequestRequest{Id: name})
		wantReason(t, err, reason)
	}
}

func TestListByKeyset(t *testing.T) {
	c := newColony(t)
	c.upload(job("j", ""))
	c.upload(job("k", ""))
	var want []string
	for i := range 7 {
		r := c.submit(&jobv1.SubmitJobRequest{JobType: []string{"j", "k"}[i%2]})
		want = append([]string{r.GetId()}, want...)
	}
	if _, err := c.requests.CancelJobRequest(t.Context(), &jobv1.CancelJobRequestRequest{Id: want[0]}); err != nil {
		t.Fatal(err)
	}
	list := func(req *jobv1.ListJobRequestsRequest) (ids []string) {
		for {
			res, err := c.requests.ListJobRequests(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range res.GetRequests() {
				ids = append(ids, r.GetId())
			}
			if req.PageToken = res.GetNextPageToken(); req.PageToken == "" {
				return ids
			}
		}
	}
	if got := list(&jobv1.ListJobRequestsRequest{PageSize: 3}); !slices.Equal(got, want) {
		t.Errorf("all: %v, want %v", got, want)
	}
	if got := list(&jobv1.ListJobRequestsRequest{PageSize: 2, JobType: "k"}); !slices.Equal(got, []string{want[1], want[3], want[5]}) {
		t.Errorf("by type: %v", got)
	}
	some, err := c.requests.ListJobRequests(t.Context(), &jobv1.ListJobRequestsRequest{PageSize: 1, JobType: "k"})
	if err != nil || some.GetNextPageToken() == "" {
		t.Fatalf("%v, %v", some, err)
	}
	_, err = c.requests.ListJobRequests(t.Context(), &jobv1.ListJobRequestsRequest{JobType: "j", PageToken: some.GetNextPageToken()})
	wantReason(t, err, "PAGE_TOKEN_INVALID")
	cancelled := []jobv1.JobRequest_State{jobv1.JobRequest_CANCELLED, jobv1.JobRequest_FAILED}
	if got := list(&jobv1.ListJobRequestsRequest{States: cancelled}); !slices.Equal(got, want[:1]) {
		t.Errorf("by state: %v", got)
	}
	if got := list(&jobv1.ListJobRequestsRequest{States: []jobv1.JobRequest_State{jobv1.JobRequest_PENDING}, JobType: "j"}); len(got) != 3 {
		t.Errorf("by both: %v", got)
	}
}

// executing brings a request of job type j to EXECUTING.
func (c *colony) executing() *jobv1.JobRequest {
	c.Helper()
	r := c.submit(&jobv1.SubmitJobRequest{JobType: "j"})
	c.admit(r.GetId())
	c.said(&executionv1.ExecutionChanged{RequestId: r.GetId(), Run: 1, Version: 2, State: executionv1.Execution_EXECUTING, StartedAt: timestamppb.Now()})
	return c.awaitState(r.GetId(), jobv1.JobRequest_EXECUTING, 1)
}

func TestMirror(t *testing.T) {
	c := newColony(t)
	changed := hearChanged(c)
	c.upload(job("j", ""))
	r := c.executing()
	if r.GetStartedAt() == nil {
		t.Errorf("%v", r)
	}
	change := func(version int64, s executionv1.Execution_State) *executionv1.ExecutionChanged {
		return &executionv1.ExecutionChanged{RequestId: r.GetId(), Run: 1, Version: version, State: s, ErrorCode: "E", EndedAt: timestamppb.Now()}
	}
	// Out of order, stale and repeated: the newest decides, and the end stays.
	c.said(change(9, executionv1.Execution_FAILED), change(3, executionv1.Execution_PAUSED), change(9, executionv1.Execution_FAILED), change(10, executionv1.Execution_COMPLETED))
	testkit.Eventually(t, 10*time.Second, "the request has ended", func() bool { return c.get(r.GetId()).GetEndedAt() != nil })
	barrier := c.executing() // what was said before is handled
	if got := c.get(r.GetId()); !slices.Contains([]jobv1.JobRequest_State{jobv1.JobRequest_FAILED, jobv1.JobRequest_COMPLETED}, got.GetState()) {
		t.Errorf("%v", got)
	}
	testkit.Eventually(t, 20*time.Second, "watchers see every state in order", func() bool {
		var states []jobv1.JobRequest_State
		for _, m := range changed() {
			if m.GetRequestId() == r.GetId() {
				states = append(states, m.GetState())
			}
		}
		return len(states) == 4 && slices.Equal(states[:3], []jobv1.JobRequest_State{jobv1.JobRequest_PENDING, jobv1.JobRequest_READY, jobv1.JobRequest_EXECUTING})
	})
	_ = barrier
}

func TestJobRetryAndResumeByItself(t *testing.T) {
	c := newColony(t)
	c.upload(job("j", ""))
	r := c.executing()
	soon := timestamppb.New(time.Now().Add(time.Hour))
	c.said(&executionv1.ExecutionChanged{RequestId: r.GetId(), Run: 1, Version: 3, State: executionv1.Execution_FAILED, RestartAt: soon, RestartSoft: true})
	got := c.awaitState(r.GetId(), jobv1.JobRequest_PENDING, 2)
	if got.GetWait().GetGate() != jobv1.Gate_GATE_SCHEDULE {
		t.Errorf("%v", got.GetWait())
	}
	if q := c.queue(10); len(q.GetTypes()) != 0 || q.GetNextDue() == nil {
		t.Errorf("%v", q)
	}

	paused := c.executing()
	c.said(&executionv1.ExecutionChanged{
		RequestId: paused.GetId(), Run: 1, Version: 3, State: executionv1.Execution_PAUSED, ResumeAt: timestamppb.New(time.Now().Add(300 * time.Millisecond)),
	})
	c.awaitState(paused.GetId(), jobv1.JobRequest_PAUSED, 1)
	c.awaitState(paused.GetId(), jobv1.JobRequest_PENDING, 1)
	q := c.queue(10)
	if len(q.GetTypes()) != 1 || !q.GetTypes()[0].GetHeads()[0].GetResumed() || !q.GetTypes()[0].GetHeads()[0].GetAgeAt().AsTime().Equal(paused.GetCreatedAt().AsTime()) {
		t.Errorf("%v", q)
	}
}

func TestCancelAgainstResult(t *testing.T) {
	c := newColony(t)
	control := hear[jobv1.RequestControl](c, "formicary.event.job.control")
	c.upload(job("j", ""))
	cancel := func(id string) *jobv1.JobRequest {
		res, err := c.requests.CancelJobRequest(t.Context(), &jobv1.CancelJobRequestRequest{Id: id, Reason: "why"})
		if err != nil {
			t.Fatal(err)
		}
		return res.GetRequest()
	}
	waiting := c.submit(&jobv1.SubmitJobRequest{JobType: "j"})
	if got := cancel(waiting.GetId()); got.GetState() != jobv1.JobRequest_CANCELLED || got.GetErrorMessage() != "why" {
		t.Errorf("%v", got)
	}
	if len(c.queue(10).GetTypes()) != 0 {
		t.Error("it is still in the queue")
	}
	// The result was committed first: cancel asks, the execution says COMPLETED.
	r := c.executing()
	if got := cancel(r.GetId()); got.GetState() != jobv1.JobRequest_EXECUTING || got.GetCancelRequestedAt() == nil {
		t.Errorf("%v", got)
	}
	testkit.Eventually(t, 20*time.Second, "supervisor hears of it", func() bool { return len(control()) == 1 })
	if m := control()[0]; m.GetAction() != jobv1.RequestControl_CANCEL || m.GetReason() != "why" || m.GetRun() != 1 || m.GetJobType() != "j" {
		t.Errorf("%v", m)
	}
	c.said(&executionv1.ExecutionChanged{RequestId: r.GetId(), Run: 1, Version: 3, State: executionv1.Execution_COMPLETED})
	c.awaitState(r.GetId(), jobv1.JobRequest_COMPLETED, 1)
	if got := cancel(r.GetId()); got.GetState() != jobv1.JobRequest_COMPLETED {
		t.Errorf("%v", got)
	}
	// A launch that comes after the cancel finds that it is not wanted.
	ready := c.submit(&jobv1.SubmitJobRequest{JobType: "j"})
	c.admit(ready.GetId())
	cancel(ready.GetId())
	launches, err := c.launch.GetLaunches(t.Context(), &jobv1.GetLaunchesRequest{Runs: []*jobv1.RunRef{{RequestId: ready.GetId(), Run: 1}, {RequestId: waiting.GetId(), Run: 1}, {RequestId: r.GetId(), Run: 1}}})
	if err != nil || len(launches.GetLaunches()) != 2 || !launches.GetLaunches()[0].GetCancelled() || !launches.GetLaunches()[1].GetCancelled() {
		t.Errorf("%v, %v", launches, err)
	}
}

func TestPauseResumeRestart(t *testing.T) {
	c := newColony(t)
	c.upload(job("j", ""))
	r := c.submit(&jobv1.SubmitJobRequest{JobType: "j"})
	_, err := c.requests.ResumeJobRequest(t.Context(), &jobv1.ResumeJobRequestRequest{Id: r.GetId()})
	wantReason(t, err, "REQUEST_STATE")
	if _, err := c.requests.PauseJobRequest(t.Context(), &jobv1.PauseJobRequestRequest{Id: r.GetId()}); err != nil {
		t.Fatal(err)
	}
	if got := c.get(r.GetId()); got.GetState() != jobv1.JobRequest_PAUSED || got.GetWait().GetGate() != jobv1.Gate_GATE_PAUSE {
		t.Errorf("%v", got)
	}
	if _, err := c.requests.ResumeJobRequest(t.Context(), &jobv1.ResumeJobRequestRequest{Id: r.GetId()}); err != nil {
		t.Fatal(err)
	}
	_, err = c.requests.RestartJobRequest(t.Context(), &jobv1.RestartJobRequestRequest{Id: r.GetId()})
	wantReason(t, err, "REQUEST_STATE")
	c.admit(r.GetId())
	c.said(&executionv1.ExecutionChanged{RequestId: r.GetId(), Run: 1, Version: 2, State: executionv1.Execution_FAILED, ErrorCode: "E"})
	c.awaitState(r.GetId(), jobv1.JobRequest_FAILED, 1)
	if c.get("@failed").GetId() != r.GetId() {
		t.Error("@failed is another one")
	}
	res, err := c.requests.RestartJobRequest(t.Context(), &jobv1.RestartJobRequestRequest{Id: r.GetId()})
	if err != nil || res.GetRequest().GetState() != jobv1.JobRequest_PENDING || res.GetRequest().GetRun() != 2 || res.GetRequest().GetErrorCode() != "" {
		t.Fatalf("%v, %v", res, err)
	}
	if q := c.queue(10); !q.GetTypes()[0].GetHeads()[0].GetResumed() {
		t.Error("the queue does not say that it keeps completed tasks")
	}
	c.admit(r.GetId())
	launches, err := c.launch.GetLaunches(t.Context(), &jobv1.GetLaunchesRequest{Runs: []*jobv1.RunRef{{RequestId: r.GetId(), Run: 2}}})
	if err != nil || len(launches.GetLaunches()) != 1 || launches.GetLaunches()[0].GetReuseRun() != 1 {
		t.Errorf("%v, %v", launches, err)
	}
	// What the first run still says changes nothing.
	c.said(&executionv1.ExecutionChanged{RequestId: r.GetId(), Run: 1, Version: 99, State: executionv1.Execution_COMPLETED})
	c.executing()
	if got := c.get(r.GetId()); got.GetState() != jobv1.JobRequest_READY {
		t.Errorf("%v", got)
	}
}

func TestScheduledRequestBecomesDue(t *testing.T) {
	c := newColony(t)
	c.upload(job("j", ""))
	at := time.Now().Add(300 * time.Millisecond)
	c.submit(&jobv1.SubmitJobRequest{JobType: "j", ScheduledAt: timestamppb.New(at)})
	if q := c.queue(10); len(q.GetTypes()) != 0 || q.GetNextDue().AsTime().Sub(at).Abs() > time.Millisecond {
		t.Errorf("%v", q)
	}
	testkit.Eventually(t, 20*time.Second, "it is due", func() bool { return len(c.queue(10).GetTypes()) == 1 })
}
