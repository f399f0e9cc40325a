package jobmanager_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/formicary/formicary/libs/testkit"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	jobmanager "github.com/formicary/formicary/services/job-manager"
)

// ended brings a run of a request to its end.
func (c *colony) ended(id string, run int32, state executionv1.Execution_State, restart *timestamppb.Timestamp) {
	c.Helper()
	c.admit(id)
	c.said(&executionv1.ExecutionChanged{
		RequestId: id, Run: run, Version: 5, State: state, ErrorCode: "ERR_X", ErrorMessage: "why", EndedAt: timestamppb.Now(), RestartAt: restart, RestartSoft: true,
	})
}

func (c *colony) restart(req *jobv1.RestartJobRequestRequest) *jobv1.JobRequest {
	c.Helper()
	res, err := c.requests.RestartJobRequest(c.Context(), req)
	if err != nil {
		c.Fatal(err)
	}
	return res.GetRequest()
}

// launched admits the run of a request and returns what supervisor gets.
func (c *colony) launched(id string, run int32) *jobv1.Launch {
	c.Helper()
	c.admit(id)
	return c.launchOf(id, run)
}

func (c *colony) launchOf(id string, run int32) *jobv1.Launch {
	c.Helper()
	res, err := c.launch.GetLaunches(c.Context(), &jobv1.GetLaunchesRequest{Runs: []*jobv1.RunRef{{RequestId: id, Run: run}}})
	if err != nil {
		c.Fatal(err)
	}
	if len(res.GetLaunches()) != 1 {
		c.Fatalf("%d launches", len(res.GetLaunches()))
	}
	return res.GetLaunches()[0]
}

func (c *colony) saidEnd(id string, run int32, state executionv1.Execution_State) {
	c.Helper()
	c.said(&executionv1.ExecutionChanged{RequestId: id, Run: run, Version: 5, State: state, ErrorCode: "ERR_X", EndedAt: timestamppb.Now()})
}

func TestRestartVariants(t *testing.T) {
	c := newColony(t)
	c.upload(job("j", "sem_version: 1.0.0\n"))
	r := c.submit(&jobv1.SubmitJobRequest{JobType: "j"})
	c.ended(r.GetId(), 1, executionv1.Execution_FAILED, nil)
	c.awaitState(r.GetId(), jobv1.JobRequest_FAILED, 1)
	c.upload(strings.ReplaceAll(job("j", "sem_version: 1.1.0\nparams:\n  - {name: n, type: int, default: 7}\n"), "task_type: a", "task_type: b"))
	for reason, req := range map[string]*jobv1.RestartJobRequestRequest{
		"TASK_NOT_FOUND":    {Id: r.GetId(), FromTask: "b"},
		"VERSION_NOT_FOUND": {Id: r.GetId(), JobVersion: "^2"},
		"REQUEST_INVALID":   {Id: r.GetId(), FromTask: "a", Hard: true},
	} {
		_, err := c.requests.RestartJobRequest(t.Context(), req)
		wantReason(t, err, reason)
	}
	if got := c.restart(&jobv1.RestartJobRequestRequest{Id: r.GetId(), FromTask: "a"}); got.GetRun() != 2 || got.GetDefinitionVersion() != 1 {
		t.Errorf("%v", got)
	}
	if l := c.launched(r.GetId(), 2); l.GetFromTask() != "a" || l.GetReuseRun() != 1 || l.GetRetries() != 0 || l.GetSubmittedBy() != r.GetCreatedBy() {
		t.Errorf("%v", l)
	}
	// A retry of that run keeps what it completed, the task included.
	c.said(&executionv1.ExecutionChanged{RequestId: r.GetId(), Run: 2, Version: 5, State: executionv1.Execution_FAILED, RestartAt: timestamppb.Now(), RestartSoft: true})
	c.awaitState(r.GetId(), jobv1.JobRequest_PENDING, 3)
	if l := c.launched(r.GetId(), 3); l.GetFromTask() != "" || l.GetReuseRun() != 2 || l.GetRetries() != 1 {
		t.Errorf("%v", l)
	}
	c.saidEnd(r.GetId(), 3, executionv1.Execution_FAILED)
	c.awaitState(r.GetId(), jobv1.JobRequest_FAILED, 3)
	// With another version: its parameters and tasks count.
	_, err := c.requests.RestartJobRequest(t.Context(), &jobv1.RestartJobRequestRequest{Id: r.GetId(), FromTask: "a", JobVersion: "^1.1"})
	wantReason(t, err, "TASK_NOT_FOUND")
	got := c.restart(&jobv1.RestartJobRequestRequest{Id: r.GetId(), FromTask: "b", JobVersion: "^1.1"})
	if got.GetDefinitionVersion() != 2 || got.GetParams().GetFields()["n"].GetNumberValue() != 7 || got.GetRetries() != 0 || got.GetRun() != 4 {
		t.Errorf("%v", got)
	}
	if stored := c.get(r.GetId()); stored.GetDefinitionVersion() != 2 || stored.GetParams().GetFields()["n"].GetNumberValue() != 7 || stored.GetRetries() != 0 {
		t.Errorf("%v", stored)
	}
	if l := c.launched(r.GetId(), 4); !strings.Contains(string(l.GetPlan()), `"name":"b"`) || l.GetDefinitionId() != got.GetDefinitionId() {
		t.Errorf("%v", l)
	}
	c.saidEnd(r.GetId(), 4, executionv1.Execution_COMPLETED)
	c.awaitState(r.GetId(), jobv1.JobRequest_COMPLETED, 4)
	c.restart(&jobv1.RestartJobRequestRequest{Id: r.GetId(), Hard: true})
	if l := c.launched(r.GetId(), 5); l.GetReuseRun() != 0 {
		t.Errorf("%v", l)
	}
	c.upload(job("j", "required_params: [must]\n"))
	c.saidEnd(r.GetId(), 5, executionv1.Execution_FAILED)
	c.awaitState(r.GetId(), jobv1.JobRequest_FAILED, 5)
	_, err = c.requests.RestartJobRequest(t.Context(), &jobv1.RestartJobRequestRequest{Id: r.GetId(), JobVersion: "3"})
	wantReason(t, err, "PARAMS_INVALID")
}

// TestTotalTimeout refuses the retry that would begin too late; a person may restart all the same.
func TestTotalTimeout(t *testing.T) {
	c := newColony(t)
	c.upload(job("j", "timeouts:\n  total: 1h\n"))
	r := c.submit(&jobv1.SubmitJobRequest{JobType: "j"})
	c.launched(r.GetId(), 1)
	retry := func(run int32, after time.Duration) {
		c.said(&executionv1.ExecutionChanged{
			RequestId: r.GetId(), Run: run, Version: 5, State: executionv1.Execution_FAILED, ErrorCode: "ERR_X", ErrorMessage: "why", EndedAt: timestamppb.Now(),
			RestartAt: timestamppb.New(time.Now().Add(after)),
		})
	}
	retry(1, -time.Second)
	c.awaitState(r.GetId(), jobv1.JobRequest_PENDING, 2)
	c.launched(r.GetId(), 2)
	retry(2, 61*time.Minute)
	got := c.awaitState(r.GetId(), jobv1.JobRequest_FAILED, 2)
	if got.GetErrorCode() != "ERR_X" || !strings.HasPrefix(got.GetErrorMessage(), "why; not tried again") || got.GetRetries() != 1 {
		t.Errorf("%v", got)
	}
	if _, err := c.pool.Exec(t.Context(), "UPDATE request SET created_at = now() - interval '2 hours', total_deadline = now() - interval '1 hour'"); err != nil {
		t.Fatal(err)
	}
	c.restart(&jobv1.RestartJobRequestRequest{Id: r.GetId()})
	c.launched(r.GetId(), 3)
	retry(3, -time.Second)
	if got := c.awaitState(r.GetId(), jobv1.JobRequest_PENDING, 4); got.GetRetries() != 1 {
		t.Errorf("%v", got)
	}
}

func TestLostRun(t *testing.T) {
	c := newColony(t, func(conf *jobmanager.Config) {
		conf.SilentAfter, conf.SweepEvery = 100*time.Millisecond, 50*time.Millisecond
	})
	c.upload(job("j", ""))
	r := c.executing()
	kept := c.executing()
	missing := func() int { return c.count("SELECT count(*) FROM request WHERE missing_at IS NOT NULL") }
	testkit.Eventually(t, 10*time.Second, "it is missed", func() bool { return missing() == 2 })
	if got := c.get(r.GetId()); got.GetState() != jobv1.JobRequest_EXECUTING {
		t.Errorf("%v", got)
	}
	c.supervisor.know(&executionv1.ExecutionChanged{RequestId: kept.GetId(), Run: 1, Version: 2, State: executionv1.Execution_EXECUTING})
	testkit.Eventually(t, 10*time.Second, "one is found again", func() bool { return missing() == 1 })
	if _, err := c.pool.Exec(t.Context(), "UPDATE request SET missing_at = missing_at - interval '121 seconds' WHERE missing_at IS NOT NULL"); err != nil {
		t.Fatal(err)
	}
	if got := c.awaitState(r.GetId(), jobv1.JobRequest_FAILED, 1); got.GetErrorCode() != "ERR_RUN_LOST" {
		t.Errorf("%v", got)
	}
}

// TestExplainWaits passes on what tasks wait for.
func TestExplainWaits(t *testing.T) {
	c := newColony(t)
	c.upload(job("j", ""))
	r := c.executing()
	c.supervisor.mu.Lock()
	for _, gate := range []string{"approval", "child", "items"} {
		c.supervisor.tasks = append(c.supervisor.tasks, &executionv1.Task{Name: gate, State: executionv1.Task_WAITING, WaitGate: gate, WaitReason: "why"})
	}
	c.supervisor.mu.Unlock()
	c.said(&executionv1.ExecutionChanged{RequestId: r.GetId(), Run: 1, Version: 3, State: executionv1.Execution_MANUAL_APPROVAL_REQUIRED})
	c.awaitState(r.GetId(), jobv1.JobRequest_MANUAL_APPROVAL_REQUIRED, 1)
	res, err := c.requests.ExplainJobRequest(t.Context(), &jobv1.ExplainJobRequestRequest{Id: r.GetId()})
	if err != nil || len(res.GetTasks()) != 3 || res.GetRequest().GetWait().GetGate() != jobv1.Gate_GATE_APPROVAL {
		t.Fatalf("%v, %v", res, err)
	}
	for i, want := range []jobv1.Gate{jobv1.Gate_GATE_APPROVAL, jobv1.Gate_GATE_CHILD, jobv1.Gate_GATE_ITEMS} {
		if got := res.GetTasks()[i].GetWait(); got.GetGate() != want || got.GetReason() != "why" {
			t.Errorf("%v, want %s", got, want)
		}
	}
}
