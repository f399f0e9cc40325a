package supervisor_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/testkit"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

const waitTime = 20 * time.Second

// fork is a task that submits a job; change makes it another.
func fork(name string, change func(*plan.Fork), next ...string) plan.Task {
	t := task(name, next...)
	t.Method, t.Fork = plan.MethodForkJob, &plan.Fork{JobType: "child-job", Wait: true}
	if change != nil {
		change(t.Fork)
	}
	return t
}

func TestForkWaitsForItsChild(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.newAnt("ant1", 4, func(work *antv1.Work) *antv1.Result {
		return &antv1.Result{Outcome: antv1.Result_SUCCEEDED, Outputs: map[string]string{"image": "app:1", "secret": "x", "from": work.GetTask()}}
	})
	id := w.admit(planOf(fork("build", func(f *plan.Fork) {
		f.Params, f.Version = map[string]any{"branch": "main", "n": 3}, "^1.2"
		f.Outputs = []plan.OutputName{{Name: "image", As: "built"}}
	}, "after"), task("after")))
	key, child := w.submitted(id, "build")
	sent := w.children.children(id)["build"]
	if sent.GetJobType() != "child-job" || sent.GetJobVersion() != "^1.2" || sent.GetOrgId() != "default" || sent.GetSubmittedBy() != "sam" ||
		sent.GetParams().AsMap()["branch"] != "main" || sent.GetParams().AsMap()["n"] != 3.0 {
		t.Errorf("submitted %v", sent)
	}
	waits := w.waiting(id, "build")
	if waits.GetWaitGate() != "child" || waits.GetChildRequestId() != child || !strings.HasPrefix(waits.GetWaitReason(), "waits for job "+child+" (child-job) which has not begun") {
		t.Errorf("waits: %s, %s, child %s", waits.GetWaitGate(), waits.GetWaitReason(), waits.GetChildRequestId())
	}

	// The child runs in this supervisor too.
	w.runChild(child, planOf(task("compile")))
	w.childEnds(key, child, jobv1.JobRequest_COMPLETED, "", "")
	w.becomes(id, executionv1.Execution_COMPLETED)
	outputs := w.tasks(id)["build"].GetOutputs().AsMap()
	if outputs["built"] != "app:1" || outputs["build.ForkedJobID"] != child || outputs["secret"] != nil {
		t.Errorf("outputs %v", outputs)
	}
	// Once more changes nothing.
	w.childEnds(key, child, jobv1.JobRequest_FAILED, "ERR_X", "")
	w.settled()
	if e := w.execution(id); e.GetState() != executionv1.Execution_COMPLETED || len(a.ran()) != 2 {
		t.Errorf("%s after the repetition, ran %v", e.GetState(), a.ran())
	}
}

// runChild lets the child run to its end.
func (w *world) runChild(request string, p *plan.Plan) {
	w.t.Helper()
	w.jobs.add(p, func(l *jobv1.Launch) { l.RequestId = request })
	w.admitRun(request, 1)
	w.becomes(request, executionv1.Execution_COMPLETED)
}

// waiting waits until a task waits for a child that exists, or for people.
func (w *world) waiting(id, name string) *executionv1.Task {
	w.t.Helper()
	var task *executionv1.Task
	testkit.Eventually(w.t, waitTime, name+" waits", func() bool {
		if w.execution(id) == nil {
			return false
		}
		task = w.tasks(id)[name]
		return task.GetState() == executionv1.Task_WAITING && (task.GetWaitGate() != "child" || task.GetChildRequestId() != "" || task.GetMethod() != "FORK_JOB")
	})
	return task
}

func TestOutputsOfAChildWithoutMapping(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.newAnt("ant1", 4, func(work *antv1.Work) *antv1.Result {
		return &antv1.Result{Outcome: antv1.Result_SUCCEEDED, Outputs: map[string]string{"image": "app:1", work.GetTask(): strings.Repeat("x", 50_000)}}
	})
	id := w.admit(planOf(fork("build", nil)))
	key, child := w.submitted(id, "build")
	w.waiting(id, "build")
	w.runChild(child, planOf(task("compile", "link"), task("link")))
	w.childEnds(key, child, jobv1.JobRequest_COMPLETED, "", "")
	w.becomes(id, executionv1.Execution_COMPLETED)
	outputs := w.tasks(id)["build"].GetOutputs().AsMap()
	// Both large ones together are too much.
	if outputs["image"] != "app:1" || outputs["build.ForkedJobID"] != child || len(outputs) != 3 {
		t.Errorf("outputs of %d values", len(outputs))
	}
}

func TestChildrenThatDoNotCompleteFailTheirTask(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for state, want := range map[jobv1.JobRequest_State]executionv1.Execution_State{
		jobv1.JobRequest_FAILED: executionv1.Execution_FAILED, jobv1.JobRequest_CANCELLED: executionv1.Execution_FAILED,
		jobv1.JobRequest_SKIPPED: executionv1.Execution_COMPLETED,
	} {
		id := w.admit(planOf(fork("build", nil)))
		key, child := w.submitted(id, "build")
		w.childEnds(key, child, state, "ERR_CHILD", "it broke")
		w.becomes(id, want)
		if got := w.tasks(id)["build"]; want == executionv1.Execution_FAILED && !strings.Contains(got.GetMessage(), "ERR_CHILD it broke") {
			t.Errorf("%s: %s", state, got.GetMessage())
		}
	}
}

func TestForkWithoutWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.newAnt("ant1", 4, nil)
	loose := func(f *plan.Fork) { f.Wait = false }
	join := plan.Task{Name: "join", Method: plan.MethodAwaitForkedJob, AwaitForkedTasks: []string{"a", "b"}}
	a, b := fork("a", loose, "b"), fork("b", loose, "join")
	id := w.admit(planOf(a, b, join))
	keyA, childA := w.submitted(id, "a")
	keyB, childB := w.submitted(id, "b")
	w.taskBecomes(id, "b", executionv1.Task_COMPLETED)
	w.childEnds(keyA, childA, jobv1.JobRequest_COMPLETED, "", "")
	testkit.Eventually(t, waitTime, "join waits for one job", func() bool {
		got := w.tasks(id)["join"]
		return got.GetState() == executionv1.Task_WAITING && strings.Contains(got.GetWaitReason(), childB) && !strings.Contains(got.GetWaitReason(), childA)
	})
	w.childEnds(keyB, childB, jobv1.JobRequest_COMPLETED, "", "")
	w.becomes(id, executionv1.Execution_COMPLETED)
	if got := w.tasks(id)["a"]; got.GetOutputs().AsMap()["a.ForkedJobID"] != childA || got.GetChildRequestId() != childA {
		t.Errorf("outputs %v", got.GetOutputs())
	}
}

func TestARefusedChildFailsItsTask(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.children.refuse["nothing"] = "JOB_TYPE_NOT_FOUND"
	refused := fork("a", func(f *plan.Fork) { f.JobType = "nothing" })
	refused.Retry = 5
	id := w.admit(planOf(refused))
	e := w.becomes(id, executionv1.Execution_FAILED)
	task := w.tasks(id)["a"]
	if task.GetFailureClass() != "rejected" || !strings.Contains(task.GetMessage(), "JOB_TYPE_NOT_FOUND") || e.GetErrorCode() == "" {
		t.Errorf("%s %s, %s", task.GetFailureClass(), task.GetMessage(), e.GetErrorCode())
	}
}

// TestOneChildWhateverGetsLost: job-manager is away, then its answer gets lost, then the answer comes twice.
func TestOneChildWhateverGetsLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.children.away, w.children.lose = 2, 2
	id := w.admit(planOf(fork("a", nil)))
	key, child := w.submitted(id, "a")
	w.waiting(id, "a")
	if w.children.count() != 1 {
		t.Errorf("%d children", w.children.count())
	}
	// As after a crash between the call and the step.
	if _, err := w.pool.Exec(t.Context(), `UPDATE child SET due_at = now() - interval '1 hour' WHERE state = 'SUBMITTED'`); err != nil {
		t.Fatal(err)
	}
	w.childEnds(key, child, jobv1.JobRequest_COMPLETED, "", "")
	w.becomes(id, executionv1.Execution_COMPLETED)
	if w.children.count() != 1 || w.children.submits < 3 {
		t.Errorf("%d children of %d submissions", w.children.count(), w.children.submits)
	}
}

// TestAReplicaGoesOnWithWhatAnotherLeft: the one that took a child died before it could store the answer.
func TestAReplicaGoesOnWithWhatAnotherLeft(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.children.mu.Lock()
	w.children.away = 1 << 30
	w.children.mu.Unlock()
	id := w.admit(planOf(fork("a", nil)))
	w.taskBecomes(id, "a", executionv1.Task_WAITING)
	// It was submitted, and the answer died with the replica: the row says so only by its lease.
	w.children.mu.Lock()
	var key string
	for range 1 {
		if err := w.pool.QueryRow(t.Context(), `SELECT execution_id || '/' || task_idx || '/' || round FROM child`).Scan(&key); err != nil {
			w.children.mu.Unlock()
			t.Fatal(err)
		}
	}
	request := uuid.Must(uuid.NewV7()).String()
	w.children.requests[key], w.children.known[key] = request, &jobv1.ChildSubmission{Key: key, ParentRequestId: id, ParentTask: "a"}
	w.children.away = 0
	w.children.mu.Unlock()
	w.replica("another")
	if got := w.waiting(id, "a").GetChildRequestId(); got != request {
		t.Errorf("child %s, want %s", got, request)
	}
	if w.children.count() != 1 {
		t.Errorf("%d children", w.children.count())
	}
}

// TestTheEndOfAChildIsAskedFor when no event tells it.
func TestTheEndOfAChildIsAskedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.admit(planOf(fork("a", nil)))
	key, child := w.submitted(id, "a")
	w.waiting(id, "a")
	w.children.mu.Lock()
	w.children.ended[key] = w.childEnded(key, child, jobv1.JobRequest_COMPLETED, "", "")
	w.children.mu.Unlock()
	if _, err := w.pool.Exec(t.Context(), `UPDATE child SET heard_at = now() - interval '1 hour'`); err != nil {
		t.Fatal(err)
	}
	w.becomes(id, executionv1.Execution_COMPLETED)
}

func TestCancelReachesTheChildren(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.newAnt("ant1", 4, func(work *antv1.Work) *antv1.Result {
		if work.GetTask() == "long" {
			return nil
		}
		return &antv1.Result{Outcome: antv1.Result_SUCCEEDED}
	})
	loose := func(cascade bool) func(*plan.Fork) {
		return func(f *plan.Fork) { f.Wait, f.CascadeCancel = false, cascade }
	}
	id := w.admit(planOf(fork("waited", nil), fork("cascading", loose(true)), fork("free", loose(false)), task("long")))
	waited, _ := w.submitted(id, "waited")
	cascading, _ := w.submitted(id, "cascading")
	free, _ := w.submitted(id, "free")
	w.waiting(id, "waited")
	w.taskBecomes(id, "cascading", executionv1.Task_COMPLETED)
	w.taskBecomes(id, "free", executionv1.Task_COMPLETED)
	w.control(id, jobv1.RequestControl_CANCEL)
	testkit.Eventually(t, waitTime, "the children are cancelled", func() bool { return w.children.cancelled(waited) && w.children.cancelled(cascading) })
	if w.children.cancelled(free) {
		t.Error("a child that goes its own way was cancelled")
	}
	w.taskBecomes(id, "waited", executionv1.Task_CANCELLED)
}

func TestABadMessageAboutChildrenIsSetAside(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.admit(planOf(fork("a", nil)))
	key, child := w.submitted(id, "a")
	if _, err := w.js.Publish(t.Context(), "formicary.event.job.child", []byte("\xff\xff")); err != nil {
		t.Fatal(err)
	}
	w.childEnds("no key", child, jobv1.JobRequest_COMPLETED, "", "")
	w.childEnds(uuid.NewString()+"/0/1", uuid.NewString(), jobv1.JobRequest_COMPLETED, "", "") // of a run that does not exist
	w.childEnds(key, child, jobv1.JobRequest_COMPLETED, "", "")
	w.becomes(id, executionv1.Execution_COMPLETED)
	testkit.Eventually(t, waitTime, "two messages are set aside", func() bool {
		var n int
		err := w.pool.QueryRow(t.Context(), `SELECT count(*) FROM quarantine WHERE kind = 'child'`).Scan(&n)
		return err == nil && n == 2
	})
}
