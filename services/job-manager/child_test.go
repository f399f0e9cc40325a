package jobmanager_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/formicary/formicary/libs/testkit"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

// fork submits children and returns their answers.
func (c *colony) fork(forks ...*jobv1.ChildSubmission) []*jobv1.ChildAnswer {
	c.Helper()
	return c.forkBy(c.children, forks...)
}

func (c *colony) forkBy(client jobv1.ChildServiceClient, forks ...*jobv1.ChildSubmission) []*jobv1.ChildAnswer {
	c.Helper()
	res, err := client.SubmitChildren(c.Context(), &jobv1.SubmitChildrenRequest{Children: forks})
	if err != nil {
		c.Fatal(err)
	}
	if len(res.GetAnswers()) != len(forks) {
		c.Fatalf("%d answers to %d forks", len(res.GetAnswers()), len(forks))
	}
	for i, a := range res.GetAnswers() {
		if a.GetKey() != forks[i].GetKey() {
			c.Fatalf("the answer to %s is for %s", forks[i].GetKey(), a.GetKey())
		}
	}
	return res.GetAnswers()
}

func (c *colony) cancelChildren(keys ...string) {
	c.Helper()
	if _, err := c.children.CancelChildren(c.Context(), &jobv1.CancelChildrenRequest{Keys: keys, Reason: "the parent was cancelled"}); err != nil {
		c.Fatal(err)
	}
}

func childOf(parent *jobv1.JobRequest, key, jobType string) *jobv1.ChildSubmission {
	return &jobv1.ChildSubmission{Key: key, OrgId: parent.GetOrgId(), ParentRequestId: parent.GetId(), ParentTask: "fork", JobType: jobType}
}

// hearEnded collects the children that ended.
func hearEnded(c *colony) func() []*jobv1.ChildEnded {
	c.Helper()
	heard := hear[jobv1.ChildrenEnded](c, "formicary.event.job.child")
	return func() (all []*jobv1.ChildEnded) {
		for _, m := range heard() {
			all = append(all, m.GetChildren()...)
		}
		return all
	}
}

func TestSubmitChildren(t *testing.T) {
	c := newColony(t)
	submitted := hear[jobv1.RequestSubmitted](c, "formicary.event.job.submitted")
	c.upload(job("parent", ""))
	c.upload(job("child", "priority: 20\nrequired_params: [name]\n"))
	parent := c.submit(&jobv1.SubmitJobRequest{JobType: "parent"})
	first := childOf(parent, "e/1/1", "child")
	first.Params, first.Priority, first.SubmittedBy = params(t, "name", "a"), proto.Int32(90), "somebody"
	second := childOf(parent, "e/2/1", "child")
	second.Params = params(t, "name", "b")
	answers := c.fork(first, second, first) // a key may come twice in a batch
	if answers[0].GetRequestId() == "" || answers[0].GetRequestId() != answers[2].GetRequestId() || answers[1].GetRequestId() == answers[0].GetRequestId() {
		t.Fatalf("%v", answers)
	}
	got := c.get(answers[0].GetRequestId())
	if got.GetParentRequestId() != parent.GetId() || got.GetParentTask() != "fork" || got.GetPriority() != 90 || got.GetCreatedBy() != "somebody" || got.GetRetries() != 0 {
		t.Errorf("%v", got)
	}
	if got := c.get(answers[1].GetRequestId()); got.GetPriority() != 20 || got.GetCreatedBy() != parent.GetCreatedBy() {
		t.Errorf("%v", got)
	}
	testkit.Eventually(t, 20*time.Second, "the scheduler is woken once", func() bool { return len(submitted()) == 2 })

	// The answer was lost with the process that asked: another replica answers the same, also when it would be refused now.
	c.start("other")
	c.upload(job("child", "required_params: [other]\n"))
	again := c.forkBy(jobv1.NewChildServiceClient(c.dial("other")), first, second)
	if again[0].GetRequestId() != answers[0].GetRequestId() || again[1].GetRequestId() != answers[1].GetRequestId() {
		t.Errorf("%v, first %v", again, answers)
	}
	list, err := c.requests.ListJobRequests(t.Context(), &jobv1.ListJobRequestsRequest{ParentRequestId: parent.GetId(), PageSize: 1})
	if err != nil || len(list.GetRequests()) != 1 || list.GetRequests()[0].GetParentRequestId() != parent.GetId() || list.GetNextPageToken() == "" {
		t.Errorf("%v, %v", list, err)
	}
	_, err = c.requests.ListJobRequests(t.Context(), &jobv1.ListJobRequestsRequest{ParentRequestId: "x"})
	wantReason(t, err, "REQUEST_INVALID")
	children, err := c.children.GetChildren(t.Context(), &jobv1.GetChildrenRequest{Keys: []string{"e/2/1", "unknown", "e/1/1"}})
	if err != nil || len(children.GetChildren()) != 2 || children.GetChildren()[0].GetRequestId() != answers[1].GetRequestId() || children.GetChildren()[0].GetState() != jobv1.JobRequest_PENDING {
		t.Errorf("%v, %v", children, err)
	}
}

func TestChildrenUnderConcurrency(t *testing.T) {
	c := newColony(t)
	c.start("other")
	c.upload(job("parent", ""))
	c.upload(job("child", ""))
	parent := c.submit(&jobv1.SubmitJobRequest{JobType: "parent"})
	clients := []jobv1.ChildServiceClient{c.children, jobv1.NewChildServiceClient(c.dial("other"))}
	var forks []*jobv1.ChildSubmission
	for i := range 50 {
		forks = append(forks, childOf(parent, fmt.Sprintf("e/%02d/1", i), "child"))
	}
	var ids sync.Map
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			mine := slices.Clone(forks)
			if w%3 == 1 {
				slices.Reverse(mine)
			}
			if w%4 == 3 {
				c.upload(job("child", fmt.Sprintf("description: text %d\n", w))) // the definition is replaced meanwhile
			}
			for _, a := range c.forkBy(clients[w%2], mine...) {
				if a.GetRetry() {
					continue
				}
				if first, known := ids.LoadOrStore(a.GetKey(), a.GetRequestId()); a.GetRequestId() == "" || known && first != a.GetRequestId() {
					t.Errorf("%v, first %v", a, first)
				}
			}
		})
	}
	wg.Wait()
	if n := c.count("SELECT count(*) FROM request WHERE child_key <> ''"); n != 50 {
		t.Errorf("%d children of 50", n)
	}
}

func TestRefusedChildren(t *testing.T) {
	c := newColony(t)
	c.upload(job("parent", ""))
	c.upload(job("child", "params:\n  - {name: n, type: int, required: true}\n  - {name: m, type: bool, required: true}\n"))
	c.upload(job("off", ""))
	parent := c.submit(&jobv1.SubmitJobRequest{JobType: "parent"})
	c.fork(childOf(parent, "on", "off")) // remembers that it is enabled
	if _, err := c.definitions.DisableJobDefinition(t.Context(), &jobv1.DisableJobDefinitionRequest{Id: "off"}); err != nil {
		t.Fatal(err)
	}
	stranger := childOf(parent, "k7", "child")
	stranger.ParentRequestId = "01900000-0000-7000-8000-000000000001"
	version := childOf(parent, "k2", "child")
	version.JobVersion = "^7"
	faulty := childOf(parent, "k3", "child")
	faulty.Params = params(t, "n", "x", "m", "y")
	nul := childOf(parent, "k8", "child")
	nul.Params = params(t, "n", "a\x00b")
	good := childOf(parent, "k6", "parent")
	good.JobType = "good"
	c.upload(job("good", ""))
	urgent := childOf(parent, "k10", "good")
	urgent.Priority = proto.Int32(101)
	odd := childOf(parent, "k11", "good")
	odd.JobVersion = "\x00"
	answers := c.fork(
		childOf(parent, "k1", "nowhere"), version, faulty, childOf(parent, "k4", "parent"), childOf(parent, "k5", "off"), good, stranger, nul,
		urgent, odd, childOf(parent, "k12", ""), childOf(parent, "k13", strings.Repeat("x", 101)),
	)
	for i, want := range []string{
		"JOB_TYPE_NOT_FOUND", "VERSION_NOT_FOUND", "INVALID_PARAMS", "", "JOB_DISABLED", "", "PARENT_NOT_FOUND", "INVALID_PARAMS",
		"INVALID_PARAMS", "VERSION_NOT_FOUND", "JOB_TYPE_NOT_FOUND", "JOB_TYPE_NOT_FOUND",
	} {
		a := answers[i]
		if a.GetReason() != want || (a.GetRefused() == "") != (want == "") || (a.GetRequestId() == "") == (want == "") || a.GetRetry() {
			t.Errorf("%v, want %q", a, want)
		}
	}
	if text := answers[2].GetRefused(); !strings.Contains(text, "n: ") || !strings.Contains(text, "m: ") {
		t.Errorf("not all faults are told: %s", text)
	}
	// Enabled again by another replica.
	c.start("other")
	if _, err := jobv1.NewJobDefinitionServiceClient(c.dial("other")).EnableJobDefinition(t.Context(), &jobv1.EnableJobDefinitionRequest{Id: "off"}); err != nil {
		t.Fatal(err)
	}
	if a := c.fork(childOf(parent, "k5", "off"))[0]; a.GetRequestId() == "" {
		t.Errorf("%v", a)
	}
	// Disabled by another replica: what is remembered here is not enough.
	if _, err := jobv1.NewJobDefinitionServiceClient(c.dial("other")).DisableJobDefinition(t.Context(), &jobv1.DisableJobDefinitionRequest{Id: "off"}); err != nil {
		t.Fatal(err)
	}
	if a := c.fork(childOf(parent, "k9", "off"))[0]; a.GetReason() != "JOB_DISABLED" {
		t.Errorf("%v", a)
	}
}

func TestDepth(t *testing.T) {
	c := newColony(t)
	c.upload(job("j0", ""))
	c.upload(job("j1", ""))
	r := c.submit(&jobv1.SubmitJobRequest{JobType: "j0"})
	for depth := 1; ; depth++ {
		a := c.fork(childOf(r, fmt.Sprintf("depth/%d", depth), fmt.Sprintf("j%d", depth%2)))[0]
		if depth == 11 {
			if a.GetReason() != "TOO_DEEP" {
				t.Errorf("%v", a)
			}
			return
		}
		if a.GetRequestId() == "" {
			t.Fatalf("depth %d: %v", depth, a)
		}
		r = c.get(a.GetRequestId())
	}
}

func TestCancelChildren(t *testing.T) {
	c := newColony(t)
	ended := hearEnded(c)
	control := hear[jobv1.RequestControl](c, "formicary.event.job.control")
	c.upload(job("parent", ""))
	c.upload(job("j", ""))
	parent := c.submit(&jobv1.SubmitJobRequest{JobType: "parent"})
	answers := c.fork(childOf(parent, "waiting", "j"), childOf(parent, "running", "j"))
	running := answers[1].GetRequestId()
	c.admit(running)
	c.said(&executionv1.ExecutionChanged{RequestId: running, Run: 1, Version: 2, State: executionv1.Execution_EXECUTING, StartedAt: timestamppb.Now()})
	c.awaitState(running, jobv1.JobRequest_EXECUTING, 1)
	for range 2 {
		c.cancelChildren("waiting", "running", "never")
	}
	if got := c.get(answers[0].GetRequestId()); got.GetState() != jobv1.JobRequest_CANCELLED || got.GetErrorMessage() != "the parent was cancelled" {
		t.Errorf("%v", got)
	}
	if got := c.get(running); got.GetState() != jobv1.JobRequest_EXECUTING || got.GetCancelRequestedAt() == nil {
		t.Errorf("%v", got)
	}
	testkit.Eventually(t, 20*time.Second, "supervisor is told", func() bool { return len(control()) == 1 && len(ended()) == 1 })
	if a := c.fork(childOf(parent, "never", "j"))[0]; a.GetRefused() != "cancelled" || a.GetReason() != "CANCELLED" || a.GetRequestId() != "" {
		t.Errorf("%v", a)
	}
	// What was submitted keeps its answer.
	if a := c.fork(childOf(parent, "waiting", "j"))[0]; a.GetRequestId() != answers[0].GetRequestId() {
		t.Errorf("%v", a)
	}
}

// TestCancelMeetsSubmit asks for both at once: no child is left that nobody cancels.
func TestCancelMeetsSubmit(t *testing.T) {
	c := newColony(t)
	c.upload(job("parent", ""))
	c.upload(job("j", ""))
	parent := c.submit(&jobv1.SubmitJobRequest{JobType: "parent"})
	var wg sync.WaitGroup
	for i := range 40 {
		var keys []string
		var forks []*jobv1.ChildSubmission
		for k := range 10 {
			keys = append(keys, fmt.Sprintf("%d/%d", i, k))
			forks = append(forks, childOf(parent, keys[k], "j"))
		}
		wg.Go(func() { c.fork(forks...) })
		wg.Go(func() { c.cancelChildren(keys...) })
	}
	wg.Wait()
	if n := c.count("SELECT count(*) FROM request WHERE child_key <> '' AND state <> 'CANCELLED'"); n != 0 {
		t.Errorf("%d children live on", n)
	}
	if n := c.count("SELECT (SELECT count(*) FROM child_refusal) + (SELECT count(*) FROM request WHERE child_key <> '')"); n != 400 {
		t.Errorf("%d of 400 keys are decided", n)
	}
}

func TestChildrenEnded(t *testing.T) {
	c := newColony(t)
	ended := hearEnded(c)
	c.upload(job("parent", ""))
	c.upload(job("j", ""))
	c.upload(strings.ReplaceAll(job("bad", ""), `"true"`, `'{{CountByJobTypeAndState "j"}} {{.undefined_variable}}'`))
	parent := c.submit(&jobv1.SubmitJobRequest{JobType: "parent"})
	answers := c.fork(childOf(parent, "retried", "j"), childOf(parent, "skipped", "j"), childOf(parent, "unlaunched", "bad"))
	id := func(i int) string { return answers[i].GetRequestId() }
	end := func(i int, run int32, version int64, state executionv1.Execution_State, restart *timestamppb.Timestamp) {
		c.said(&executionv1.ExecutionChanged{
			RequestId: id(i), Run: run, Version: version, State: state, ErrorCode: "ERR_X", ErrorMessage: "why", EndedAt: timestamppb.Now(), RestartAt: restart,
		})
	}
	c.admit(id(0), id(1), id(2))
	end(0, 1, 3, executionv1.Execution_FAILED, timestamppb.Now())
	if got := c.awaitState(id(0), jobv1.JobRequest_PENDING, 2); got.GetRetries() != 1 {
		t.Errorf("%v", got)
	}
	end(1, 1, 3, executionv1.Execution_SKIPPED, nil)
	end(2, 1, 3, executionv1.Execution_FAILED, nil)
	testkit.Eventually(t, 20*time.Second, "two have ended", func() bool { return len(ended()) == 2 })
	c.admit(id(0))
	end(0, 2, 4, executionv1.Execution_FAILED, nil)
	testkit.Eventually(t, 20*time.Second, "the third has ended", func() bool { return len(ended()) == 3 })
	last := ended()[2]
	if last.GetKey() != "retried" || last.GetRequestId() != id(0) || last.GetParentRequestId() != parent.GetId() || last.GetRun() != 2 ||
		last.GetState() != jobv1.JobRequest_FAILED || last.GetErrorCode() != "ERR_X" || last.GetErrorMessage() != "why" {
		t.Errorf("%v", last)
	}
	// Its parent is no child of anybody.
	if _, err := c.requests.CancelJobRequest(t.Context(), &jobv1.CancelJobRequestRequest{Id: parent.GetId()}); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 20*time.Second, "the outbox is empty", func() bool { return c.count("SELECT count(*) FROM outbox") == 0 })
	if len(ended()) != 3 {
		t.Errorf("%v", ended())
	}
}

// TestManyChildren submits as many as a batch may hold.
func TestManyChildren(t *testing.T) {
	c := newColony(t)
	c.upload(job("parent", ""))
	c.upload(job("j", ""))
	parent := c.submit(&jobv1.SubmitJobRequest{JobType: "parent"})
	forks := make([]*jobv1.ChildSubmission, 1000)
	for i := range forks {
		forks[i] = childOf(parent, fmt.Sprintf("e/%d/1", i), "j")
	}
	begin := time.Now()
	c.fork(forks...)
	t.Logf("1000 children take %s", time.Since(begin))
	begin = time.Now()
	c.fork(forks...)
	t.Logf("the same again %s", time.Since(begin))
	if n := c.count("SELECT count(*) FROM request WHERE parent_request_id IS NOT NULL"); n != 1000 {
		t.Errorf("%d children", n)
	}
}
