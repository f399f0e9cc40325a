package supervisor_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/value"
	"github.com/formicary/formicary/libs/testkit"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

func failed(code int32) *antv1.Result {
	return &antv1.Result{Outcome: antv1.Result_FAILED, ExitCode: code, FailureClass: "user", Message: "it said no"}
}

// TestOutcomes runs small jobs to their end.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		plan  *plan.Plan
		fail  map[string]int // how many attempts of a task fail; -1 all
		state executionv1.Execution_State
		code  string
		ran   []string // sorted
		tasks map[string]string
	}{
		"one": {plan: planOf(task("a")), state: executionv1.Execution_COMPLETED, ran: []string{"a"}},
		"diamond": {
			plan:  planOf(task("a", "b", "c"), task("b", "d"), task("c", "d"), task("d")),
			state: executionv1.Execution_COMPLETED, ran: []string{"a", "b", "c", "d"},
		},
		"dependencies": {
			plan:  planOf(task("a"), task("b"), plan.Task{Name: "c", DependsOn: []string{"a", "b"}}),
			state: executionv1.Execution_COMPLETED, ran: []string{"a", "b", "c"},
		},
		"failure skips what follows": {
			plan: planOf(task("a", "b"), task("b", "c"), task("c")), fail: map[string]int{"a": -1},
			state: executionv1.Execution_FAILED, code: "ERR_TASK_EXECUTE", ran: []string{"a"},
			tasks: map[string]string{"a": "FAILED", "b": "SKIPPED", "c": "SKIPPED"},
		},
		"retry then success": {
			plan: planOf(plan.Task{Name: "a", Retry: 2}), fail: map[string]int{"a": 2},
			state: executionv1.Execution_COMPLETED, ran: []string{"a", "a", "a"},
		},
		"allow_failure": {
			plan:  planOf(plan.Task{Name: "a", AllowFailure: true, Routes: []plan.Route{{Key: "COMPLETED", Targets: []string{"b"}}}}, task("b")),
			fail:  map[string]int{"a": -1},
			state: executionv1.Execution_COMPLETED, ran: []string{"a", "b"}, tasks: map[string]string{"a": "FAILED"},
		},
		"always_run after failure": {
			plan: planOf(task("a", "b"), task("b"), plan.Task{Name: "clean", AlwaysRun: true}), fail: map[string]int{"a": -1},
			state: executionv1.Execution_FAILED, ran: []string{"a", "clean"}, tasks: map[string]string{"clean": "COMPLETED"},
		},
		"branch by exit code": {
			plan: planOf(plan.Task{Name: "a", Routes: []plan.Route{
				{Key: "3", Targets: []string{"three"}}, {Key: "COMPLETED", Targets: []string{"ok"}},
			}}, task("three"), task("ok")),
			fail:  map[string]int{"a": -1},
			state: executionv1.Execution_COMPLETED, ran: []string{"a", "three"}, tasks: map[string]string{"ok": "SKIPPED"},
		},
	}
	w := newWorld(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			outer := w.t
			w.t = t
			defer func() { w.t = outer }()
			tries := map[string]int{}
			a := w.newAnt("ant-"+uuid.NewString()[:8], 4, func(work *antv1.Work) *antv1.Result {
				tries[work.GetTask()]++
				if n := tt.fail[work.GetTask()]; n < 0 || tries[work.GetTask()] <= n {
					return failed(3)
				}
				return &antv1.Result{Outcome: antv1.Result_SUCCEEDED}
			})
			defer w.slots.set(a.id, a.session, 0)
			id := w.admit(tt.plan)
			e := w.becomes(id, tt.state)
			if e.GetErrorCode() != tt.code && tt.code != "" {
				t.Errorf("error %s: %s", e.GetErrorCode(), e.GetErrorMessage())
			}
			ran := a.ran()
			slices.Sort(ran)
			if !slices.Equal(ran, tt.ran) {
				t.Errorf("ran %v, want %v", ran, tt.ran)
			}
			tasks := w.tasks(id)
			for task, want := range tt.tasks {
				if got := tasks[task].GetState().String(); got != want {
					t.Errorf("task %s is %s, want %s", task, got, want)
				}
			}
			w.settled()
		})
	}
}

func TestRunsThatEndAtLaunch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tests := map[string]struct {
		change func(*jobv1.Launch)
		state  executionv1.Execution_State
		code   string
	}{
		"cannot be rendered": {func(l *jobv1.Launch) { l.ErrorCode, l.ErrorMessage, l.Plan = "ERR_JOB_LAUNCH", "x:1:1: no", nil }, executionv1.Execution_FAILED, "ERR_JOB_LAUNCH"},
		"unreadable plan":    {func(l *jobv1.Launch) { l.Plan = []byte("{") }, executionv1.Execution_FAILED, "ERR_JOB_LAUNCH"},
		"skipped":            {func(l *jobv1.Launch) { l.Skipped = true }, executionv1.Execution_SKIPPED, ""},
		"cancelled":          {func(l *jobv1.Launch) { l.Cancelled = true }, executionv1.Execution_CANCELLED, "ERR_JOB_CANCELLED"},
	}
	for name, tt := range tests {
		id := w.jobs.add(planOf(task("a")), tt.change)
		w.admitRun(id, 1)
		e := w.becomes(id, tt.state)
		if e.GetErrorCode() != tt.code {
			t.Errorf("%s: error %q", name, e.GetErrorCode())
		}
		testkit.Eventually(t, 20*time.Second, "the event", func() bool { return slices.Equal(w.events.of(id), []string{tt.state.String()}) })
	}
}

func TestLaunchTwiceIsOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.newAnt("ant1", 4, nil)
	id := w.jobs.add(planOf(task("a", "b"), task("b")))
	for range 3 {
		w.admitRun(id, 1)
	}
	w.becomes(id, executionv1.Execution_COMPLETED)
	w.admitRun(id, 1)
	other := w.admit(planOf(task("z")))
	w.becomes(other, executionv1.Execution_COMPLETED)
	w.settled()
	if got := a.ran(); len(got) != 3 {
		t.Errorf("ran %v", got)
	}
}

func TestCancelBeforeLaunch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.newAnt("ant1", 4, nil)
	id := w.jobs.add(planOf(task("a")))
	w.control(id, jobv1.RequestControl_CANCEL)
	w.becomes(id, executionv1.Execution_CANCELLED)
	w.admitRun(id, 1)
	w.becomes(w.admit(planOf(task("z"))), executionv1.Execution_COMPLETED)
	if e := w.execution(id); e.GetState() != executionv1.Execution_CANCELLED {
		t.Errorf("the launch went on: %s", e.GetState())
	}
	if got := a.ran(); !slices.Equal(got, []string{"z"}) {
		t.Errorf("ran %v", got)
	}
	w.settled()
}

func TestCancelStopsWhatRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.newAnt("ant1", 2, func(work *antv1.Work) *antv1.Result {
		if work.GetTask() == "clean" {
			return &antv1.Result{Outcome: antv1.Result_SUCCEEDED}
		}
		return nil
	})
	stops, err := w.nc.SubscribeSync("formicary.stop.ant1")
	if err != nil {
		t.Fatal(err)
	}
	id := w.admit(planOf(task("a", "b"), task("b"), plan.Task{Name: "clean", AlwaysRun: true}))
	uid := a.live("a")
	w.control(id, jobv1.RequestControl_CANCEL)
	if _, err := stops.NextMsg(5 * time.Second); err != nil {
		t.Fatalf("no stop hint: %v", err)
	}
	if got := a.sync(false).GetStop(); !slices.Equal(got, []string{uid}) {
		t.Errorf("Sync stops %v, want %s", got, uid)
	}
	a.end(uid, &antv1.Result{Outcome: antv1.Result_CANCELLED})
	w.becomes(id, executionv1.Execution_CANCELLED)
	if got := a.ran(); !slices.Equal(got, []string{"a", "clean"}) {
		t.Errorf("ran %v", got)
	}
	if got := w.tasks(id)["a"]; got.GetState() != executionv1.Task_CANCELLED || got.GetAttempts()[0].GetState() != executionv1.Attempt_CANCELLED {
		t.Errorf("task %v", got)
	}
	w.settled()
}

func TestCancelBeforeClaimDiesAtTheClaim(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	session := uuid.NewString()
	w.slots.set("ant1", session, 1)
	id := w.admit(planOf(task("a")))
	uid := w.taskBecomes(id, "a", executionv1.Task_DISPATCHED).GetAttempts()[0].GetUid()
	w.control(id, jobv1.RequestControl_CANCEL)
	w.becomes(id, executionv1.Execution_CANCELLED)
	res, err := w.attempts.Claim(t.Context(), &antv1.ClaimRequest{AntId: "ant1", Session: session, Uids: []string{uid}})
	if err != nil {
		t.Fatal(err)
	}
	if why := res.GetWorks()[0].GetRefused(); !strings.Contains(why, "CANCELLED") {
		t.Errorf("refused %q", why)
	}
	w.settled()
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.newAnt("ant1", 2, func(work *antv1.Work) *antv1.Result {
		if work.GetTask() == "a" {
			return nil
		}
		return &antv1.Result{Outcome: antv1.Result_SUCCEEDED}
	})
	id := w.admit(planOf(task("a", "b"), task("b")))
	uid := a.live("a")
	w.control(id, jobv1.RequestControl_PAUSE)
	testkit.Eventually(t, 20*time.Second, "the pause is noted", func() bool {
		var paused bool
		err := w.pool.QueryRow(t.Context(), `SELECT pause_requested FROM execution WHERE request_id = $1`, id).Scan(&paused)
		return err == nil && paused
	})
	if s := w.execution(id).GetState(); s != executionv1.Execution_EXECUTING {
		t.Errorf("%s while a task runs", s)
	}
	a.end(uid, &antv1.Result{Outcome: antv1.Result_SUCCEEDED})
	w.becomes(id, executionv1.Execution_PAUSED)
	if b := w.tasks(id)["b"]; b.GetState() != executionv1.Task_WAITING || b.GetWaitGate() != "pause" {
		t.Errorf("task b is %s, gate %s", b.GetState(), b.GetWaitGate())
	}
	w.admitRun(id, 1)
	w.becomes(id, executionv1.Execution_COMPLETED)
	testkit.Eventually(t, 10*time.Second, "all of it is told", func() bool {
		return slices.Equal(w.events.of(id), []string{"EXECUTING", "PAUSED", "EXECUTING", "COMPLETED"})
	})
	w.settled()
}

func TestRestartKeepsWhatCompleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ok := false
	a := w.newAnt("ant1", 2, func(work *antv1.Work) *antv1.Result {
		if work.GetTask() == "b" && !ok {
			ok = true
			return failed(1)
		}
		return &antv1.Result{Outcome: antv1.Result_SUCCEEDED, Outputs: map[string]string{"from_" + work.GetTask(): "x"}}
	})
	p := planOf(task("a", "b"), task("b", "c"), task("c"))
	id := w.admit(p)
	w.becomes(id, executionv1.Execution_FAILED)
	w.jobs.mu.Lock()
	first := w.jobs.launches[id+"1"]
	w.jobs.mu.Unlock()
	w.jobs.set(&jobv1.Launch{
		RequestId: id, Run: 2, OrgId: "default", JobType: "job", Plan: first.GetPlan(), Vars: first.GetVars(), AgeAt: first.GetAgeAt(), ReuseRun: 1,
	})
	w.admitRun(id, 2)
	w.becomes(id, executionv1.Execution_COMPLETED)
	if got := a.ran(); !slices.Equal(got, []string{"a", "b", "b", "c"}) {
		t.Errorf("ran %v", got)
	}
	if got := w.tasks(id)["a"]; got.GetOutputs().GetFields()["from_a"].GetStringValue() != "x" || len(got.GetAttempts()) != 0 {
		t.Errorf("reused task %v", got)
	}
	w.settled()
}

func TestOutputsReachLaterTasks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.newAnt("ant1", 2, func(work *antv1.Work) *antv1.Result {
		return &antv1.Result{Outcome: antv1.Result_SUCCEEDED, Outputs: map[string]string{"v_" + work.GetTask(): "of " + work.GetTask()}, Body: "bo\x00dy"}
	})
	p := planOf(task("a", "b"), task("b"))
	p.Vars = value.Vars{"Region": "north", "N": 3}
	id := w.admit(p)
	w.becomes(id, executionv1.Execution_COMPLETED)
	env := a.worked[1].GetSpec().GetEnvironment()
	if env["v_a"] != "of a" || env["Region"] != "north" || env["N"] != "3" {
		t.Errorf("environment %v", env)
	}
	if k := a.worked[1].GetIdempotencyKey(); k != id+"/1/b" {
		t.Errorf("idempotency key %s", k)
	}
	w.settled()
}

func TestTimeouts(t *testing.T) {
	t.Parallel()
	t.Run("of the job", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		a := w.newAnt("ant1", 2, func(*antv1.Work) *antv1.Result { return nil })
		p := planOf(task("a", "b"), task("b"))
		p.Timeout = 200 * time.Millisecond
		id := w.admit(p)
		uid := a.live("a")
		testkit.Eventually(t, 20*time.Second, "the attempt is to stop", func() bool { return len(a.sync(false).GetStop()) == 1 })
		a.end(uid, &antv1.Result{Outcome: antv1.Result_CANCELLED})
		if e := w.becomes(id, executionv1.Execution_FAILED); e.GetErrorCode() != "ERR_JOB_TIMEOUT" {
			t.Errorf("error %s", e.GetErrorCode())
		}
		w.settled()
	})
	t.Run("of a wait", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.newAnt("ant1", 0, nil)
		id := w.admit(planOf(plan.Task{Name: "a", PendingTimeout: 3 * time.Second}))
		if e := w.becomes(id, executionv1.Execution_FAILED); e.GetErrorCode() != "ERR_TASK_TIMED_OUT" || !strings.Contains(e.GetErrorMessage(), "within 3s: ") {
			t.Errorf("error %s: %s", e.GetErrorCode(), e.GetErrorMessage())
		}
		p := planOf(task("a"))
		p.PendingTimeout = 3 * time.Second
		id = w.admit(p)
		e := w.becomes(id, executionv1.Execution_FAILED)
		if e.GetErrorCode() != "ERR_JOB_TIMEOUT" || !strings.HasPrefix(e.GetErrorMessage(), "it did not start within 3s: ") {
			t.Errorf("error %s: %s", e.GetErrorCode(), e.GetErrorMessage())
		}
		w.settled()
	})
	t.Run("of a task whose ant forgets it", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		a := w.newAnt("ant1", 1, func(*antv1.Work) *antv1.Result { return nil })
		id := w.admit(planOf(task("a")))
		uid := a.live("a")
		if _, err := w.pool.Exec(t.Context(), `UPDATE attempt SET timeout_at = now() WHERE uid = $1`, uid); err != nil {
			t.Fatal(err)
		}
		w.becomes(id, executionv1.Execution_FAILED)
		if got := w.tasks(id)["a"].GetAttempts()[0].GetState(); got != executionv1.Attempt_TIMED_OUT {
			t.Errorf("attempt is %s", got)
		}
		w.settled()
	})
	t.Run("between retries", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.newAnt("ant1", 1, func(*antv1.Work) *antv1.Result { return failed(1) })
		id := w.admit(planOf(plan.Task{Name: "a", Retry: 1, Backoff: plan.Backoff{Delay: 300 * time.Millisecond}}))
		got := w.taskBecomes(id, "a", executionv1.Task_WAITING)
		if got.GetWaitGate() != "schedule" || !strings.Contains(got.GetWaitReason(), "attempt 1 failed and is tried again") {
			t.Errorf("waits at %s: %s", got.GetWaitGate(), got.GetWaitReason())
		}
		w.becomes(id, executionv1.Execution_FAILED)
		w.settled()
	})
}

func TestGatesAreExplained(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.newAnt("ant1", 1, func(*antv1.Work) *antv1.Result { return nil })
	id := w.admit(planOf(task("a", "c"), task("b"), task("c"), plan.Task{Name: "x", Method: "HTTP_GET"}, plan.Task{Name: "last", AlwaysRun: true}))
	uid := a.live("a")
	testkit.Eventually(t, 20*time.Second, "the reasons are stored", func() bool {
		tasks := w.tasks(id)
		return tasks["b"].GetWaitReason() == "all slots are used" && tasks["x"].GetWaitGate() == "no_ant"
	})
	tasks := w.tasks(id)
	for name, want := range map[string]string{
		"b": "capacity all slots are used", "x": "no_ant no ant offers HTTP_GET", "c": "dependency waits for a",
		"last": "dependency waits until every other task has ended", "a": " ",
	} {
		if got := tasks[name].GetWaitGate() + " " + tasks[name].GetWaitReason(); got != want {
			t.Errorf("task %s: %q, want %q", name, got, want)
		}
	}
	if got := tasks["a"].GetState(); got != executionv1.Task_RUNNING {
		t.Errorf("task a is %s", got)
	}
	w.control(id, jobv1.RequestControl_CANCEL)
	testkit.Eventually(t, 20*time.Second, "the stop", func() bool { return len(a.sync(false).GetStop()) > 0 })
	a.end(uid, &antv1.Result{Outcome: antv1.Result_CANCELLED})
	a.end(a.live("last"), &antv1.Result{Outcome: antv1.Result_SUCCEEDED})
	w.becomes(id, executionv1.Execution_CANCELLED)
	w.settled()
}

func TestTasksArePaged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var tasks []plan.Task
	for i := range 25 {
		tasks = append(tasks, task(fmt.Sprintf("t%d", i)))
	}
	id := w.admit(planOf(tasks...))
	w.becomes(id, executionv1.Execution_READY)
	var names []string
	token := ""
	for {
		res, err := w.executions.ListTasks(t.Context(), &executionv1.ListTasksRequest{RequestId: id, PageSize: 10, PageToken: token, States: []executionv1.Task_State{executionv1.Task_READY}})
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range res.GetTasks() {
			names = append(names, x.GetName())
		}
		if token = res.GetNextPageToken(); token == "" {
			break
		}
	}
	if len(names) != 25 || names[0] != "t0" || names[24] != "t24" {
		t.Errorf("listed %v", names)
	}
}
