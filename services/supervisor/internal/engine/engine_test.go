package engine_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// plan reads lines "name key=value …": c, f and x:KEY name the tasks or action that follow on completion, failure and
// a code, dep the dependencies; flags: always allow once skip again; retry=N.
func plan(lines ...string) *jobspec.Plan {
	p := &jobspec.Plan{Timeout: time.Hour, CleanupTimeout: 5 * time.Minute, PauseTime: time.Minute}
	for _, line := range lines {
		words := strings.Fields(line)
		t := jobspec.Task{Name: words[0], Method: "SHELL", Slots: 1, Timeout: time.Minute}
		for _, w := range words[1:] {
			key, value, _ := strings.Cut(w, "=")
			list := strings.Split(value, ",")
			switch {
			case key == "c":
				t.Routes = append(t.Routes, jobspec.Route{Key: "COMPLETED", Targets: list})
			case key == "f":
				t.Routes = append(t.Routes, jobspec.Route{Key: "FAILED", Targets: list})
			case strings.HasPrefix(key, "x:"):
				t.Routes = append([]jobspec.Route{{Key: key[2:], Targets: list}}, t.Routes...)
			case key == "dep":
				t.DependsOn = list
			case key == "always":
				t.AlwaysRun = true
			case key == "allow":
				t.AllowFailure = true
			case key == "once":
				t.AtMostOnce = true
			case key == "skip":
				t.Skip = true
			case key == "again":
				t.AllowStartIfCompleted = true
			case key == "retry":
				_, _ = fmt.Sscan(value, &t.Retry)
			default:
				panic(w)
			}
		}
		p.Tasks = append(p.Tasks, t)
	}
	return p
}

// drive runs a job: every READY task is dispatched and ends as ends says (0 when it says nothing). It returns the
// names of the tasks in the order in which their attempts ended.
type drive struct {
	t    *testing.T
	s    *engine.State
	now  time.Time
	ends map[string][]int // exit codes of the attempts in order; the last one repeats
	ran  []string
}

func start(t *testing.T, p *jobspec.Plan, ends map[string][]int) *drive {
	t.Helper()
	return &drive{t: t, s: engine.New(engine.Begin{Run: 1, Plan: p}, t0), now: t0, ends: ends}
}

func (d *drive) named(name string) *engine.Task {
	for _, t := range d.s.Tasks {
		if t.Spec.Name == name {
			return t
		}
	}
	d.t.Fatalf("no task %s", name)
	return nil
}

func (d *drive) ready() []int {
	var idx []int
	for i := range len(d.s.Tasks) {
		if d.s.Tasks[i].State == engine.TaskReady {
			idx = append(idx, i)
		}
	}
	return idx
}

func (d *drive) dispatch(names ...string) {
	for _, n := range names {
		d.s.Dispatched([]int{d.named(n).Idx}, d.now)
		d.named(n).State = engine.TaskRunning // the claim
	}
}

func (d *drive) end(name string, code int) {
	o := engine.Outcome{State: engine.AttemptSucceeded, Claimed: true, ExitCode: code}
	if code != 0 {
		o.State, o.FailureClass, o.Message = engine.AttemptFailed, "user", "it broke"
	}
	d.endAs(name, o)
}

func (d *drive) endAs(name string, o engine.Outcome) {
	d.ran = append(d.ran, name)
	d.s.TaskEnded(d.named(name).Idx, o, d.now)
}

// run goes on until nothing is left to do.
func (d *drive) run() *drive {
	for range 1000 {
		idx := d.ready()
		for _, i := range idx {
			d.dispatch(d.s.Tasks[i].Spec.Name)
		}
		for _, i := range idx {
			name := d.s.Tasks[i].Spec.Name
			code := 0
			if codes := d.ends[name]; len(codes) > 0 {
				code = codes[min(d.s.Tasks[i].Attempts, len(codes))-1]
			}
			d.end(name, code)
		}
		woken := false
		for i := range len(d.s.Tasks) {
			if t := d.s.Tasks[i]; t.State == engine.TaskWaiting && t.WakeAt != nil {
				d.now = *t.WakeAt
				d.s.Wake(i, d.now)
				woken = true
			}
		}
		if len(idx) == 0 && !woken {
			return d
		}
	}
	d.t.Fatal("the job does not end")
	return nil
}

func (d *drive) states() string {
	var b strings.Builder
	for i := range len(d.s.Tasks) {
		fmt.Fprintf(&b, "%s:%s ", d.s.Tasks[i].Spec.Name, d.s.Tasks[i].State)
	}
	return strings.TrimSpace(b.String())
}

func TestFlow(t *testing.T) {
	tests := []struct {
		name string
		plan []string
		ends map[string][]int
		job  engine.JobState
		code string
		want string
	}{
		{"chain", []string{"a c=b", "b c=c", "c"}, nil, engine.JobCompleted, "", "a:COMPLETED b:COMPLETED c:COMPLETED"},
		{"diamond joins", []string{"a c=b,c", "b c=d", "c c=d", "d"}, nil, engine.JobCompleted, "", "a:COMPLETED b:COMPLETED c:COMPLETED d:COMPLETED"},
		{"a branch by code skips the other and rejoins", []string{"a x:3=b c=c", "b c=d", "c c=d", "d"}, map[string][]int{"a": {3}}, engine.JobCompleted, "", "a:FAILED b:COMPLETED c:SKIPPED d:COMPLETED"},
		{"an unhandled failure skips what follows", []string{"a c=b", "b c=c", "c"}, map[string][]int{"a": {1}}, engine.JobFailed, "ERR_TASK_EXECUTE", "a:FAILED b:SKIPPED c:SKIPPED"},
		{"on_failed handles", []string{"a c=b f=fix", "b", "fix"}, map[string][]int{"a": {1}}, engine.JobCompleted, "", "a:FAILED b:SKIPPED fix:COMPLETED"},
		{"allow_failure follows on_completed", []string{"a allow c=b", "b"}, map[string][]int{"a": {1}}, engine.JobCompleted, "", "a:FAILED b:COMPLETED"},
		{"allow_failure leaves a dependency usable", []string{"a allow", "b dep=a"}, map[string][]int{"a": {1}}, engine.JobCompleted, "", "a:FAILED b:COMPLETED"},
		{"a failed dependency skips", []string{"a f=h", "b dep=a", "h"}, map[string][]int{"a": {1}}, engine.JobCompleted, "", "a:FAILED b:SKIPPED h:COMPLETED"},
		{"a skipped dependency beside a control edge only delays", []string{"a x:3=b c=c", "b", "c c=d", "d dep=b"}, nil, engine.JobCompleted, "", "a:COMPLETED b:SKIPPED c:COMPLETED d:COMPLETED"},
		{"always_run runs last after a failure", []string{"a c=b", "b", "clean always"}, map[string][]int{"a": {1}}, engine.JobFailed, "ERR_TASK_EXECUTE", "a:FAILED b:SKIPPED clean:COMPLETED"},
		{"always_run with an edge runs when it is resolved", []string{"a c=clean", "clean always c=z", "z"}, map[string][]int{"a": {1}}, engine.JobFailed, "ERR_TASK_EXECUTE", "a:FAILED clean:COMPLETED z:SKIPPED"},
		{"handlers run in a failing job", []string{"a", "b f=h", "h c=i", "i"}, map[string][]int{"a": {1}, "b": {1}}, engine.JobFailed, "ERR_TASK_EXECUTE", "a:FAILED b:FAILED h:COMPLETED i:COMPLETED"},
		{"retry then success", []string{"a retry=2 c=b", "b"}, map[string][]int{"a": {1, 1, 0}}, engine.JobCompleted, "", "a:COMPLETED b:COMPLETED"},
		{"retry used up", []string{"a retry=2"}, map[string][]int{"a": {1}}, engine.JobFailed, "ERR_TASK_EXECUTE", "a:FAILED"},
		{"a code route wins over retry", []string{"a retry=5 x:3=b", "b"}, map[string][]int{"a": {3}}, engine.JobCompleted, "", "a:FAILED b:COMPLETED"},
		{"sensor polls", []string{"a x:404=EXECUTING c=b", "b"}, map[string][]int{"a": {404, 404, 0}}, engine.JobCompleted, "", "a:COMPLETED b:COMPLETED"},
		{"sensor ends with the task's timeout", []string{"a x:404=EXECUTING"}, map[string][]int{"a": {404}}, engine.JobFailed, "ERR_TASK_TIMED_OUT", "a:FAILED"},
		{"COMPLETED turns a failure into success", []string{"a x:4=COMPLETED c=b", "b"}, map[string][]int{"a": {4}}, engine.JobCompleted, "", "a:COMPLETED b:COMPLETED"},
		{"FAILED turns success into failure", []string{"a x:0=FAILED f=h", "h"}, nil, engine.JobCompleted, "", "a:FAILED h:COMPLETED"},
		{"FATAL fails without a new run", []string{"a allow f=FATAL"}, map[string][]int{"a": {1}}, engine.JobFailed, "ERR_FATAL", "a:FAILED"},
		{"ERR_ names the code", []string{"a x:9=ERR_QUOTA"}, map[string][]int{"a": {9}}, engine.JobFailed, "ERR_QUOTA", "a:FAILED"},
		{"RESTART_TASK runs it again", []string{"a x:5=RESTART_TASK c=b", "b"}, map[string][]int{"a": {5, 0}}, engine.JobCompleted, "", "a:COMPLETED b:COMPLETED"},
		{"except completes without running", []string{"a skip c=b", "b"}, nil, engine.JobCompleted, "", "a:COMPLETED b:COMPLETED"},
		{"only clean-up", []string{"clean always"}, nil, engine.JobCompleted, "", "clean:COMPLETED"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := start(t, plan(tt.plan...), tt.ends).run()
			if got := d.states(); got != tt.want {
				t.Errorf("tasks\n got %s\nwant %s", got, tt.want)
			}
			if d.s.Job.State != tt.job || d.s.Job.ErrorCode != tt.code {
				t.Errorf("job %s %q (%s), want %s %q", d.s.Job.State, d.s.Job.ErrorCode, d.s.Job.ErrorMessage, tt.job, tt.code)
			}
			if d.s.Job.TasksOpen != 0 || d.s.Job.NormalOpen != 0 || d.s.Job.Running != 0 {
				t.Errorf("counters %+v", d.s.Job)
			}
		})
	}
}

func TestAlwaysRunComesLast(t *testing.T) {
	d := start(t, plan("clean always", "a c=b", "b"), nil).run()
	if got := strings.Join(d.ran, " "); got != "a b clean" {
		t.Errorf("order %s", got)
	}
}

func TestCancelStopsEverythingButCleanUp(t *testing.T) {
	d := start(t, plan("a c=b", "b", "c", "d", "clean always"), nil)
	d.dispatch("a")
	d.s.Dispatched([]int{d.named("c").Idx}, t0) // not claimed
	d.s.Cancel("enough", t0)
	if want := "a:RUNNING b:CANCELLED c:CANCELLED d:CANCELLED clean:BLOCKED"; d.states() != want {
		t.Errorf("got %s, want %s", d.states(), want)
	}
	if len(d.s.Stop) != 1 || d.s.Stop[0] != 0 || len(d.s.Withdraw) != 1 || d.s.Withdraw[0] != d.named("c").Idx {
		t.Errorf("stop %v, withdraw %v", d.s.Stop, d.s.Withdraw)
	}
	d.endAs("a", engine.Outcome{State: engine.AttemptCancelled, Claimed: true, FailureClass: "cancelled"})
	d.run()
	if want := "a:CANCELLED b:CANCELLED c:CANCELLED d:CANCELLED clean:COMPLETED"; d.states() != want {
		t.Errorf("got %s, want %s", d.states(), want)
	}
	if d.s.Job.State != engine.JobCancelled || d.s.Job.ErrorMessage != "enough" {
		t.Errorf("job %+v", d.s.Job)
	}
}

func TestCancelBeforeTheStartRunsNothing(t *testing.T) {
	d := start(t, plan("a c=b", "b", "clean always"), nil)
	d.s.Cancel("", t0)
	if d.s.Job.State != engine.JobCancelled || len(d.ready()) != 0 {
		t.Errorf("job %s, tasks %s", d.s.Job.State, d.states())
	}
}

func TestSecondDeadlineEndsTheCleanUp(t *testing.T) {
	d := start(t, plan("a", "clean always"), nil)
	d.dispatch("a")
	d.s.Deadline(*d.s.Job.DeadlineAt)
	d.endAs("a", engine.Outcome{State: engine.AttemptTimedOut, Claimed: true, FailureClass: "timeout"})
	d.dispatch("clean")
	if d.s.Job.DeadlineAt == nil {
		t.Fatal("the clean-up has no deadline")
	}
	d.s.Deadline(*d.s.Job.DeadlineAt)
	if len(d.s.Stop) != 2 {
		t.Fatalf("stop %v", d.s.Stop)
	}
	d.endAs("clean", engine.Outcome{State: engine.AttemptCancelled, Claimed: true})
	if d.s.Job.State != engine.JobFailed || d.s.Job.ErrorCode != "ERR_JOB_TIMEOUT" {
		t.Errorf("job %+v", d.s.Job)
	}
}

func TestPauseAndResume(t *testing.T) {
	d := start(t, plan("a c=b", "b", "c"), nil)
	d.dispatch("a")
	d.s.Pause(t0)
	if d.s.Job.State != engine.JobExecuting || d.named("c").State != engine.TaskWaiting {
		t.Fatalf("job %s, %s", d.s.Job.State, d.states())
	}
	d.end("a", 0)
	if d.s.Job.State != engine.JobPaused || d.s.Job.DeadlineAt != nil {
		t.Fatalf("job %+v", d.s.Job)
	}
	if want := "a:COMPLETED b:WAITING c:WAITING"; d.states() != want {
		t.Errorf("got %s, want %s", d.states(), want)
	}
	d.s.Resume(t0)
	if d.run().s.Job.State != engine.JobCompleted {
		t.Errorf("job %+v", d.s.Job)
	}
}

// TestPausedCleanUpGoesOn: a job that fails while a pause is awaited is paused before its clean-up.
func TestPausedCleanUpGoesOn(t *testing.T) {
	p := plan("a", "clean always retry=1")
	p.Timeout = 0
	d := start(t, p, map[string][]int{"clean": {1, 0}})
	d.dispatch("a")
	d.s.Pause(t0)
	d.end("a", 1)
	if d.s.Job.State != engine.JobPaused || d.named("clean").State != engine.TaskWaiting {
		t.Fatalf("job %s, %s", d.s.Job.State, d.states())
	}
	d.s.Resume(t0)
	if at := d.s.Job.DeadlineAt; at == nil || !at.Equal(t0.Add(5*time.Minute)) {
		t.Errorf("the clean-up ends at %v", at)
	}
	if d.run().s.Job.State != engine.JobFailed || d.named("clean").State != engine.TaskCompleted {
		t.Errorf("job %s, %s", d.s.Job.State, d.states())
	}
}

func TestPauseJobActionResumesByItself(t *testing.T) {
	d := start(t, plan("a x:7=PAUSE_JOB c=b", "b"), map[string][]int{"a": {7, 0}})
	d.run()
	if d.s.Job.State != engine.JobPaused || d.s.Job.ResumeAt == nil || !d.s.Job.ResumeAt.Equal(t0.Add(time.Minute)) {
		t.Fatalf("job %+v", d.s.Job)
	}
	d.s.Resume(*d.s.Job.ResumeAt)
	if d.run().s.Job.State != engine.JobCompleted {
		t.Errorf("job %+v, %s", d.s.Job, d.states())
	}
}

func TestLostAttempts(t *testing.T) {
	lost := engine.Outcome{State: engine.AttemptLost, Claimed: true, FailureClass: "infra", NotBefore: t0.Add(35 * time.Second)}
	d := start(t, plan("a"), nil)
	for i := range 3 {
		d.dispatch("a")
		d.endAs("a", lost)
		a := d.named("a")
		if a.State != engine.TaskWaiting || !a.WakeAt.Equal(lost.NotBefore) || a.InfraTries != i+1 {
			t.Fatalf("after loss %d: %+v", i+1, a)
		}
		d.s.Wake(a.Idx, *a.WakeAt)
	}
	d.dispatch("a")
	d.endAs("a", lost)
	if d.s.Job.State != engine.JobFailed || d.named("a").FailureClass != "infra" {
		t.Errorf("job %+v, task %+v", d.s.Job, d.named("a"))
	}

	d = start(t, plan("a once"), nil)
	d.dispatch("a")
	d.endAs("a", lost)
	if d.named("a").State != engine.TaskFailed {
		t.Errorf("at_most_once ran again: %s", d.states())
	}

	d = start(t, plan("a"), nil)
	d.s.Dispatched([]int{0}, t0)
	d.endAs("a", engine.Outcome{State: engine.AttemptLost, FailureClass: "infra"})
	if a := d.named("a"); a.State != engine.TaskReady || a.InfraTries != 0 || a.Attempts != 1 {
		t.Errorf("an attempt that never started cost something: %+v", a)
	}
}

func TestFailFastStopsWhatRuns(t *testing.T) {
	p := plan("a", "b", "c")
	p.FailFast = true
	d := start(t, p, nil)
	d.dispatch("a", "b")
	d.s.Dispatched([]int{2}, t0)
	d.end("a", 1)
	if want := "a:FAILED b:RUNNING c:CANCELLED"; d.states() != want || len(d.s.Stop) != 1 {
		t.Errorf("got %s, stop %v", d.states(), d.s.Stop)
	}
	d.endAs("b", engine.Outcome{State: engine.AttemptCancelled, Claimed: true})
	if d.s.Job.State != engine.JobFailed {
		t.Errorf("job %+v", d.s.Job)
	}
}

func TestJobRetryAsksForANewRun(t *testing.T) {
	p := plan("a")
	p.Retry, p.Backoff = 1, jobspec.Backoff{Delay: time.Second}
	d := start(t, p, map[string][]int{"a": {1}}).run()
	if d.s.Job.RestartAt == nil || !d.s.Job.RestartAt.Equal(t0.Add(time.Second)) || !d.s.Job.RestartSoft {
		t.Errorf("job %+v", d.s.Job)
	}
	d.s = engine.New(engine.Begin{Run: 2, Retries: 1, Plan: p}, t0)
	if d.run(); d.s.Job.RestartAt != nil || d.s.Job.State != engine.JobFailed {
		t.Errorf("second run: %+v", d.s.Job)
	}
}

func TestRestartReusesCompletedTasks(t *testing.T) {
	reuse := map[string]engine.Reused{"a": {Outputs: map[string]string{"K": "v"}}, "b": {}, "d": {}}
	s := engine.New(engine.Begin{Run: 2, Plan: plan("a c=b,c", "b again c=d", "c c=d", "d"), Reuse: reuse}, t0)
	d := &drive{t: t, s: s, now: t0}
	if want := "a:COMPLETED b:READY c:READY d:BLOCKED"; d.states() != want {
		t.Fatalf("got %s, want %s", d.states(), want)
	}
	d.run()
	if got := strings.Join(d.ran, " "); got != "b c d" {
		t.Errorf("ran %s; d follows tasks that have run", got)
	}
	if s.Job.State != engine.JobCompleted || s.Tasks[0].Outputs["K"] != "v" {
		t.Errorf("job %+v, outputs %v", s.Job, s.Tasks[0].Outputs)
	}
}

func TestOverdueTaskFails(t *testing.T) {
	d := start(t, plan("a f=b", "b"), nil)
	d.s.TaskOverdue(0, engine.Outcome{State: engine.AttemptTimedOut, FailureClass: "timeout", Message: "no ant"}, t0)
	if want := "a:FAILED b:READY"; d.states() != want {
		t.Errorf("got %s, want %s", d.states(), want)
	}
}
