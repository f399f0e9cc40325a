package jobmanager_test

import (
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/formicary/formicary/libs/testkit"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	jobmanager "github.com/formicary/formicary/services/job-manager"
)

func TestFence(t *testing.T) {
	c := newColony(t)
	c.upload(job("j", ""))
	r := c.submit(&jobv1.SubmitJobRequest{JobType: "j"})
	old, err := c.admission.BeginEpoch(t.Context(), &jobv1.BeginEpochRequest{LeaderId: "old", Revision: 7})
	if err != nil || old.GetEpoch() != 7 {
		t.Fatalf("%v, %v", old, err)
	}
	// Another cluster of etcd begins with small revisions: epochs still rise.
	next, err := c.admission.BeginEpoch(t.Context(), &jobv1.BeginEpochRequest{LeaderId: "new", Revision: 2})
	if err != nil || next.GetEpoch() != 8 {
		t.Fatalf("%v, %v", next, err)
	}
	for _, stale := range []*jobv1.AdmitRequest{
		{Epoch: 7, LeaderId: "old", RequestIds: []string{r.GetId()}, GatesChanged: true, Gates: []*jobv1.ClosedGate{{OrgId: "default", JobType: "j", Gate: jobv1.Gate_GATE_NO_ANT}}},
		{Epoch: 8, LeaderId: "old", RequestIds: []string{r.GetId()}},
	} {
		_, err := c.admission.Admit(t.Context(), stale)
		wantReason(t, err, "FENCED")
	}
	if c.count("SELECT count(*) FROM fenced_write") != 2 || c.count("SELECT count(*) FROM gate") != 0 || c.get(r.GetId()).GetState() != jobv1.JobRequest_PENDING {
		t.Error("a leader whose time is over changed something")
	}
	res, err := c.admission.Admit(t.Context(), &jobv1.AdmitRequest{Epoch: 8, LeaderId: "new", RequestIds: []string{r.GetId()}})
	if err != nil || len(res.GetRequestIds()) != 1 {
		t.Errorf("%v, %v", res, err)
	}
	again, err := c.admission.Admit(t.Context(), &jobv1.AdmitRequest{Epoch: 8, LeaderId: "new", RequestIds: []string{r.GetId()}})
	if err != nil || len(again.GetRequestIds()) != 0 {
		t.Errorf("admitted twice: %v, %v", again, err)
	}
}

func TestFenceWaitsForWritesUnderWay(t *testing.T) {
	c := newColony(t) // the audit at the end compares every admission with the begin of the next epoch
	c.upload(job("j", ""))
	ids := make(chan string, 100)
	for range cap(ids) {
		ids <- c.submit(&jobv1.SubmitJobRequest{JobType: "j"}).GetId()
	}
	close(ids)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			leader := fmt.Sprintf("s%d", w)
			for id := range ids {
				begun, err := c.admission.BeginEpoch(t.Context(), &jobv1.BeginEpochRequest{LeaderId: leader})
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = c.admission.Admit(t.Context(), &jobv1.AdmitRequest{Epoch: begun.GetEpoch(), LeaderId: leader, RequestIds: []string{id}})
			}
		})
	}
	wg.Wait()
	if c.count("SELECT count(*) FROM request WHERE admitted_epoch > 0") == 0 || c.count("SELECT count(*) FROM fenced_write") == 0 {
		t.Error("the leaders did not meet")
	}
}

func TestExplainNamesTheHolder(t *testing.T) {
	c := newColony(t)
	c.upload(job("j", "max_concurrency: 1\n"))
	holder := c.executing()
	r := c.submit(&jobv1.SubmitJobRequest{JobType: "j"})
	second := c.submit(&jobv1.SubmitJobRequest{JobType: "j"})
	explain := func(id string) *jobv1.ExplainJobRequestResponse {
		res, err := c.requests.ExplainJobRequest(t.Context(), &jobv1.ExplainJobRequestRequest{Id: id})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	w := explain(second.GetId()).GetRequest().GetWait()
	if w.GetGate() != jobv1.Gate_GATE_CONCURRENCY || len(w.GetHolders()) != 1 || w.GetHolders()[0] != holder.GetId() || w.GetRank() != 2 || !strings.Contains(w.GetReason(), holder.GetId()) {
		t.Errorf("%v", w)
	}
	q := c.queue(10).GetTypes()[0]
	if q.GetActive() != 1 || q.GetMaxConcurrency() != 1 || len(q.GetHolders()) != 1 || q.GetPending() != 2 || q.GetHeads()[0].GetRequestId() != r.GetId() {
		t.Errorf("%v", q)
	}
	// The run has begun: supervisor knows which of its tasks wait.
	c.supervisor.mu.Lock()
	c.supervisor.tasks = []*executionv1.Task{
		{Name: "b", State: executionv1.Task_BLOCKED}, {Name: "a", State: executionv1.Task_READY, WaitGate: "no_ant", WaitReason: "no ant offers GPU"},
	}
	c.supervisor.mu.Unlock()
	tasks := explain(holder.GetId()).GetTasks()
	if len(tasks) != 2 || tasks[0].GetTask() != "a" || tasks[0].GetWait().GetGate() != jobv1.Gate_GATE_NO_ANT || tasks[1].GetWait().GetGate() != jobv1.Gate_GATE_DEPENDENCY {
		t.Errorf("%v", tasks)
	}
}

// TestFieldsThatHoldRequests: what a definition says of its own requests.
func TestFieldsThatHoldRequests(t *testing.T) {
	for field, tt := range map[string]struct {
		yaml string
		gate jobv1.Gate
	}{
		"job.disabled":        {"disabled: true\n", jobv1.Gate_GATE_DISABLED},
		"job.max_concurrency": {"max_concurrency: 1\n", jobv1.Gate_GATE_CONCURRENCY},
		"job.concurrency":     {"concurrency: 1\n", jobv1.Gate_GATE_CONCURRENCY},
		"concurrency.limit":   {"concurrency: {limit: 1}\n", jobv1.Gate_GATE_CONCURRENCY},
	} {
		t.Run(field, func(t *testing.T) {
			c := newColony(t)
			c.upload(job("j", tt.yaml))
			if field != "job.disabled" {
				c.executing()
			}
			r := c.submit(&jobv1.SubmitJobRequest{JobType: "j"})
			res, err := c.requests.ExplainJobRequest(t.Context(), &jobv1.ExplainJobRequestRequest{Id: r.GetId()})
			if gate := res.GetRequest().GetWait().GetGate(); err != nil || gate != tt.gate {
				t.Errorf("%s, %v; want %s", gate, err, tt.gate)
			}
		})
	}
}

func TestGatesOfAClass(t *testing.T) {
	c := newColony(t)
	c.upload(job("j", ""))
	r := c.submit(&jobv1.SubmitJobRequest{JobType: "j"})
	c.lead()
	class := c.queue(10).GetTypes()[0].GetHeads()[0].GetPlacementClass()
	if class != "SHELL||1" {
		t.Errorf("class %q", class)
	}
	gates := func(changed bool, list ...*jobv1.ClosedGate) {
		if _, err := c.admission.Admit(t.Context(), &jobv1.AdmitRequest{Epoch: c.epoch, LeaderId: "s1", Gates: list, GatesChanged: changed}); err != nil {
			t.Fatal(err)
		}
	}
	gates(true, &jobv1.ClosedGate{PlacementClass: class, Gate: jobv1.Gate_GATE_NO_ANT, Reason: "no ant offers SHELL", Holders: []string{"x", "y"}})
	gates(false)
	if w := c.get(r.GetId()).GetWait(); w.GetGate() != jobv1.Gate_GATE_NO_ANT || w.GetReason() != "no ant offers SHELL" || len(w.GetHolders()) != 2 {
		t.Errorf("%v", w)
	}
	gates(true)
	if w := c.get(r.GetId()).GetWait(); w.GetGate() != jobv1.Gate_GATE_QUEUE {
		t.Errorf("%v", w)
	}
}

func TestLaunches(t *testing.T) {
	c := newColony(t)
	admitted := hearAdmitted(c)
	c.upload(job("j", ""))
	c.upload(strings.ReplaceAll(job("bad", ""), `"true"`, `'{{CountByJobTypeAndState "j"}} {{.undefined_variable}}'`)) // what counts is known at the launch only
	r := c.submit(&jobv1.SubmitJobRequest{JobType: "j", Params: params(t, "name", "value")})
	bad := c.submit(&jobv1.SubmitJobRequest{JobType: "bad"})
	waiting := c.submit(&jobv1.SubmitJobRequest{JobType: "j"})
	c.admit(r.GetId(), bad.GetId())
	testkit.Eventually(t, 20*time.Second, "supervisor hears of both", func() bool { return len(admitted()) == 2 })
	res, err := c.launch.GetLaunches(t.Context(), &jobv1.GetLaunchesRequest{Runs: []*jobv1.RunRef{
		{RequestId: r.GetId(), Run: 1}, {RequestId: bad.GetId(), Run: 1}, {RequestId: waiting.GetId(), Run: 1}, {RequestId: r.GetId(), Run: 2},
	}})
	if err != nil {
		t.Fatal(err)
	}
	launches := map[string]*jobv1.Launch{}
	for _, l := range res.GetLaunches() {
		launches[l.GetRequestId()] = l
	}
	if len(launches) != 1+1 || launches[bad.GetId()].GetErrorCode() != "ERR_JOB_LAUNCH" || !strings.Contains(launches[bad.GetId()].GetErrorMessage(), "undefined_variable") {
		t.Errorf("%v", res)
	}
	var vars map[string]any
	if err := json.Unmarshal(launches[r.GetId()].GetVars(), &vars); err != nil {
		t.Fatal(err)
	}
	if vars["JobID"] != r.GetId() || vars["JobType"] != "j" || vars["JobRetry"] != 0.0 || vars["OrganizationID"] != "default" || vars["name"] != "value" {
		t.Errorf("%v", vars)
	}
	if !strings.Contains(string(launches[r.GetId()].GetPlan()), `"method":"SHELL"`) {
		t.Errorf("%s", launches[r.GetId()].GetPlan())
	}
}

func TestReconciler(t *testing.T) {
	c := newColony(t, func(conf *jobmanager.Config) {
		conf.SilentAfter, conf.SweepEvery = 200*time.Millisecond, 50*time.Millisecond
	})
	admitted := hearAdmitted(c)
	control := hear[jobv1.RequestControl](c, "formicary.event.job.control")
	c.upload(job("j", ""))
	r := c.submit(&jobv1.SubmitJobRequest{JobType: "j"})
	c.admit(r.GetId())
	testkit.Eventually(t, 10*time.Second, "the admission is told again", func() bool { return len(admitted()) >= 2 })
	if _, err := c.requests.CancelJobRequest(t.Context(), &jobv1.CancelJobRequestRequest{Id: r.GetId()}); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 10*time.Second, "the cancel is told again", func() bool { return len(control()) >= 2 })
	c.supervisor.know(&executionv1.ExecutionChanged{RequestId: r.GetId(), Run: 1, Version: 4, State: executionv1.Execution_CANCELLED, EndedAt: timestamppb.Now()})
	c.awaitState(r.GetId(), jobv1.JobRequest_CANCELLED, 1)
	c.supervisor.mu.Lock()
	asked := c.supervisor.asked
	c.supervisor.mu.Unlock()
	if asked == 0 {
		t.Error("supervisor was not asked")
	}
}

func TestPoison(t *testing.T) {
	c := newColony(t)
	c.upload(job("j", ""))
	for _, payload := range [][]byte{[]byte("\xff garbage"), mustMarshal(t, &executionv1.ExecutionChanges{Changes: []*executionv1.ExecutionChanged{{RequestId: "no id", Run: 1, Version: 1, State: 2}}})} {
		if _, err := c.js.Publish(t.Context(), "formicary.event.execution.changed", payload); err != nil {
			t.Fatal(err)
		}
	}
	unclean := c.submit(&jobv1.SubmitJobRequest{JobType: "j"})
	c.admit(unclean.GetId())
	c.said(&executionv1.ExecutionChanged{RequestId: unclean.GetId(), Run: 1, Version: 2, State: executionv1.Execution_FAILED, ErrorCode: "ERR_X", ErrorMessage: "a\x00b"})
	c.executing() // the others go on
	testkit.Eventually(t, 20*time.Second, "both are kept", func() bool { return c.count("SELECT count(*) FROM poison") == 2 })
	if r := c.awaitState(unclean.GetId(), jobv1.JobRequest_FAILED, 1); r.GetErrorMessage() != "a\uFFFDb" {
		t.Errorf("what PostgreSQL would refuse: %q", r.GetErrorMessage())
	}
}

func mustMarshal(t *testing.T, m proto.Message) []byte {
	t.Helper()
	payload, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

// TestAdmissionUnderWayIsSeen lets a leader that has given up on a write look at the queue: what the write admits must
// not be counted as free any more.
func TestAdmissionUnderWayIsSeen(t *testing.T) {
	c := newColony(t)
	c.upload(job("j", "max_concurrency: 1\n"))
	r := c.submit(&jobv1.SubmitJobRequest{JobType: "j"})
	c.lead()
	testkit.Eventually(t, 20*time.Second, "the outbox is quiet", func() bool { return c.count("SELECT count(*) FROM outbox") == 0 })
	lock, err := c.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Rollback(t.Context()) }()
	if _, err := lock.Exec(t.Context(), "LOCK TABLE outbox IN SHARE MODE"); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		res, err := c.admission.Admit(t.Context(), &jobv1.AdmitRequest{Epoch: c.epoch, LeaderId: "s1", RequestIds: []string{r.GetId()}})
		if err != nil || len(res.GetRequestIds()) != 1 {
			t.Errorf("%v, %v", res, err)
		}
	})
	waiting := func(n int) func() bool {
		return func() bool {
			return c.count("SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())") >= n
		}
	}
	testkit.Eventually(t, 20*time.Second, "the admission is under way", waiting(1))
	seen := make(chan *jobv1.ReadQueueResponse, 1)
	wg.Go(func() {
		q, err := c.admission.ReadQueue(t.Context(), &jobv1.ReadQueueRequest{HeadLimit: 10})
		if err != nil {
			t.Error(err)
		}
		seen <- q
	})
	testkit.Eventually(t, 20*time.Second, "the look has met it", func() bool { return len(seen) == 1 || waiting(2)() })
	if err := lock.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if q := <-seen; len(q.GetTypes()) != 0 {
		t.Errorf("it is still seen as waiting: %v", q.GetTypes())
	}
}

// TestLongPlacementClass keeps a gate whose class is longer than an entry of an index may be: one request with many tags
// must not hold up the admission of all others.
func TestLongPlacementClass(t *testing.T) {
	c := newColony(t)
	var tags []string
	for i := range 32 {
		tags = append(tags, fmt.Sprintf("%x", sha512.Sum512([]byte{byte(i)}))[:100])
	}
	c.upload("job_type: j\ntasks:\n  - {task_type: a, method: SHELL, script: x, tags: '" + strings.Join(tags, ",") + "'}\n")
	c.upload(job("k", ""))
	held, other := c.submit(&jobv1.SubmitJobRequest{JobType: "j"}), c.submit(&jobv1.SubmitJobRequest{JobType: "k"})
	c.lead()
	class := c.queue(10).GetTypes()[0].GetHeads()[0].GetPlacementClass()
	res, err := c.admission.Admit(t.Context(), &jobv1.AdmitRequest{
		Epoch: c.epoch, LeaderId: "s1", RequestIds: []string{other.GetId()}, GatesChanged: true,
		Gates: []*jobv1.ClosedGate{{OrgId: "default", PlacementClass: class, Gate: jobv1.Gate_GATE_NO_ANT, Reason: "no ant"}},
	})
	if err != nil || len(res.GetRequestIds()) != 1 {
		t.Fatalf("%v, %v", res, err)
	}
	if w := c.get(held.GetId()).GetWait(); w.GetGate() != jobv1.Gate_GATE_NO_ANT || w.GetReason() != "no ant" {
		t.Errorf("%v", w)
	}
}

// TestPlacementClassIsBounded submits a job that starts with many tasks of different classes.
func TestPlacementClassIsBounded(t *testing.T) {
	c := newColony(t)
	yaml := "job_type: j\ntasks:\n"
	for i := range 1000 {
		yaml += fmt.Sprintf("  - {task_type: t%d, method: SHELL, script: x, tags: host-%d}\n", i, i)
	}
	c.upload(yaml)
	c.submit(&jobv1.SubmitJobRequest{JobType: "j"})
	class := c.queue(10).GetTypes()[0].GetHeads()[0].GetPlacementClass()
	if len(class) > 4096 || !strings.HasPrefix(class, "SHELL|host-0|1;") || strings.HasSuffix(class, ";") {
		t.Errorf("%d bytes: %.100s", len(class), class)
	}
}

// TestLargeLimits counts what runs up to the limit of its job type, however large that is.
func TestLargeLimits(t *testing.T) {
	c := newColony(t)
	d := c.upload(job("j", "max_concurrency: 10500\n"))
	last := c.submit(&jobv1.SubmitJobRequest{JobType: "j"})
	c.lead()
	if _, err := c.pool.Exec(t.Context(), `
		INSERT INTO request (id, org_id, job_type, definition_id, definition_version, state, priority, age_at, queued, placement_class,
			params, description, idempotency_key, request_hash, created_by, created_at, updated_at, check_at)
		SELECT gen_random_uuid(), 'default', 'j', $1, 1, 'PENDING', 0, now(), true, 'SHELL||1', '{}', '', '', '', 'u', now(), now(), now() + interval '1 hour'
		FROM generate_series(1, 10500)`, d.GetId()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.pool.Exec(t.Context(), "UPDATE request SET state = 'READY', queued = false, admitted_epoch = $2, admitted_at = now() WHERE id <> $1", last.GetId(), c.epoch); err != nil {
		t.Fatal(err)
	}
	if q := c.queue(10).GetTypes()[0]; q.GetActive() != 10_500 {
		t.Errorf("%d are active", q.GetActive())
	}
	if w := c.get(last.GetId()).GetWait(); w.GetGate() != jobv1.Gate_GATE_CONCURRENCY {
		t.Errorf("%v", w)
	}
}
