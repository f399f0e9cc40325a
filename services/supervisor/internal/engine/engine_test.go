package engine_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/placement"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
)

// short plays a script over lines of a definition.
func short(t *testing.T, lines, script string) *actor {
	t.Helper()
	return play(t, draw(strings.Split(lines, ";")...), script, false)
}

func (a *actor) task(name string) *engine.Task {
	t := a.tasks[a.named(name)]
	return &t
}

func TestAlwaysRunComesLast(t *testing.T) {
	a := short(t, "clean always; a c=b; b", "")
	if got := strings.Join(a.ran, " "); got != "a b clean" {
		t.Errorf("order %s", got)
	}
}

func TestWhatIsStoppedAndWithdrawn(t *testing.T) {
	a := short(t, "a; b; k always; g items=3", ">a ~b >k stop")
	s := a.whole0()
	s.Cancel("enough", a.now)
	if !slices.Equal(s.Stop, []int{0}) || !slices.Equal(s.Withdraw, []int{1}) {
		t.Errorf("stop %v, withdraw %v", s.Stop, s.Withdraw)
	}
	if s.Job.ErrorMessage != "enough" || s.Tasks[1].Message != "the job was cancelled" {
		t.Errorf("job %q, task %q", s.Job.ErrorMessage, s.Tasks[1].Message)
	}
}

// whole0 is the run as it stands, wholly loaded.
func (w *world) whole0() *engine.State {
	s := &engine.State{Job: w.job, Tasks: map[int]*engine.Task{}, Out: w.out, AllOpen: true, TrailingLoaded: true}
	for i := range w.tasks {
		w.load(s, i)
	}
	return s
}

func TestDeadlines(t *testing.T) {
	a := short(t, "job timeout=1h; a; k always", ">a stop")
	if at := a.job.DeadlineAt; at == nil || !at.Equal(t0.Add(time.Hour)) {
		t.Fatalf("the job ends at %v", at)
	}
	a.deadline()
	if at := a.job.DeadlineAt; at == nil || !at.Equal(t0.Add(time.Hour+6*time.Minute)) {
		t.Errorf("the clean-up ends at %v", at)
	}
	a.now = a.now.Add(3 * time.Second)
	a.end(a.named("a"), outcome("cancelled", true, a.now))
	if at := a.job.DeadlineAt; at == nil || !at.Equal(a.now.Add(5*time.Minute)) {
		t.Errorf("the clean-up that begins at %s ends at %v", a.now, at)
	}
	began := a.job.DeadlineAt
	a.now = a.now.Add(time.Minute)
	if a.cancel(); !a.job.DeadlineAt.Equal(*began) {
		t.Errorf("a cancel moves the end of the clean-up to %v", a.job.DeadlineAt)
	}
	for _, stopped := range []string{">a cancel", ">a deadline"} {
		a = short(t, "a grace=100s; b grace=2m; c; k always", stopped+" stop")
		if at := a.job.DeadlineAt; at == nil || !at.Equal(a.now.Add(100*time.Second+6*time.Minute)) {
			t.Errorf("%s: the clean-up after a long grace ends at %v", stopped, at)
		}
		a.now = a.now.Add(99 * time.Second)
		a.end(a.named("a"), outcome("cancelled", true, a.now))
		if at := a.job.DeadlineAt; at == nil || !at.Equal(a.now.Add(5*time.Minute)) || a.task("k").State != engine.TaskReady {
			t.Errorf("%s: the clean-up is %s and ends at %v", stopped, a.task("k").State, at)
		}
	}

	a = short(t, "job timeout=1h; a c=b; b", ">a pause !a stop")
	if a.job.State != engine.JobPaused || a.job.DeadlineAt != nil {
		t.Fatalf("job %+v", a.job)
	}
	a.now = a.now.Add(24 * time.Hour)
	a.resume()
	if at := a.job.DeadlineAt; at == nil || !at.Equal(a.now.Add(time.Hour)) {
		t.Errorf("the job that was resumed ends at %v", at)
	}

	a = short(t, "job timeout=1h total=30m; a", ">a stop")
	if at := a.job.DeadlineAt; at == nil || !at.Equal(t0.Add(30*time.Minute)) {
		t.Errorf("all runs end at %v", at)
	}
	a.deadline()
	if !strings.Contains(a.job.ErrorMessage, "all runs") {
		t.Errorf("message %q", a.job.ErrorMessage)
	}
}

func TestRestartsAreBounded(t *testing.T) {
	a := short(t, "a x:5=RESTART_TASK", "a=5").task("a")
	if a.Attempts != plan.MaxRestarts+1 || a.Tries() != a.Attempts || !strings.Contains(a.Message, "it was started again 100 times") {
		t.Errorf("%d attempts: %s", a.Attempts, a.Message)
	}
	if a = short(t, "a retry=2 x:5=RESTART_TASK", "a=5").task("a"); a.Attempts != 3 {
		t.Errorf("%d attempts", a.Attempts)
	}
	b := short(t, "a x:7=PAUSE_JOB", "a=7,7,0 . resume . resume")
	if b.job.State != engine.JobCompleted || b.job.Policy.Pauses != 2 {
		t.Errorf("%s after %d pauses", b.job.State, b.job.Policy.Pauses)
	}
	if a = short(t, "a", "a=unclaimed,lost,unclaimed,0").task("a"); a.Attempts != 4 || a.Tries() != 2 {
		t.Errorf("%d of %d attempts were started", a.Tries(), a.Attempts)
	}
}

func TestTimesOfPausesAndRestarts(t *testing.T) {
	a := short(t, "a x:7=PAUSE_JOB", "a=7")
	if at := a.job.ResumeAt; at == nil || !at.Equal(t0.Add(time.Minute)) || !a.job.Policy.AutoResume {
		t.Errorf("resumed at %v", at)
	}
	a = short(t, "job rule=3:ERR_STOP:SUSPEND_JOB; a", "a=3")
	if a.job.ResumeAt != nil || a.task("a").WaitReason != "the job is suspended: ERR_STOP: because of the rule" {
		t.Errorf("resumed at %v, %s", a.job.ResumeAt, a.task("a").WaitReason)
	}
	d := draw("job retry=3 retries=1", "a")
	d.Plan.Backoff = plan.Backoff{Min: time.Second, Factor: 10}
	a = play(t, d, "a=1", false)
	if at := a.job.RestartAt; at == nil || !at.Equal(t0.Add(10*time.Second)) {
		t.Errorf("the second retry is at %v", at)
	}
}

func TestLostAttempts(t *testing.T) {
	a := short(t, "a", ">a stop")
	for i := range 3 {
		a.end(0, outcome("lost", true, a.now))
		if task := a.task("a"); task.State != engine.TaskWaiting || !task.WakeAt.Equal(a.now.Add(35*time.Second)) || task.InfraTries != i+1 {
			t.Fatalf("after loss %d: %+v", i+1, task)
		}
		a.wake(0)
		a.dispatch(0)
	}
	a.end(0, outcome("lost", true, a.now))
	if a.job.State != engine.JobFailed || a.task("a").FailureClass != engine.ClassInfra {
		t.Errorf("job %+v, task %+v", a.job, a.task("a"))
	}
	if !strings.Contains(a.job.ErrorMessage, "lost with its ant") {
		t.Errorf("message %q", a.job.ErrorMessage)
	}

	a = short(t, "a", "~a stop")
	a.end(0, outcome("unclaimed", false, a.now))
	if task := a.task("a"); task.State != engine.TaskReady || task.InfraTries != 0 || task.Attempts != 1 {
		t.Errorf("an attempt that never started cost something: %+v", task)
	}
}

func TestReusedOutputs(t *testing.T) {
	a := short(t, "job reuse=a,c; a c=b; b c=c; c", "stop")
	if got := a.task("a"); got.Outputs["from"] != "before" || got.Message != "completed in an earlier run" {
		t.Errorf("a: %+v", got)
	}
	a.run()
	if got := a.task("c"); got.Outputs["from"] != "" || got.Outputs["made"] != "yes" || got.Reuse {
		t.Errorf("c follows one that has run: %+v", got)
	}
}

func TestForks(t *testing.T) {
	a := short(t, "f fork retry=1", "stop")
	f := a.task("f")
	if f.Round != 1 || f.Fork == nil || f.Fork.JobType != "child" || a.job.Active != 1 || a.job.State != engine.JobExecuting {
		t.Fatalf("fork %+v, job %+v", f, a.job)
	}
	a.submitted(0, 1)
	if f = a.task("f"); f.ChildID != "child-0-1" || f.WaitReason != "it waits for job child-0-1 (child)" {
		t.Errorf("fork %+v", f)
	}
	a.childEnded(0, 1, "FAILED")
	if f = a.task("f"); f.Round != 2 || f.ChildID != "" {
		t.Errorf("the second round: %+v", f)
	}
	a.submitted(0, 1)
	a.childEnded(0, 1, "COMPLETED")
	if f = a.task("f"); f.State != engine.TaskWaiting || f.ChildID != "" {
		t.Errorf("an event of the first round changed the second: %+v", f)
	}
	a.childEnded(0, 2, "COMPLETED") // before anybody heard that it was submitted
	if f = a.task("f"); f.Outputs["f.ForkedJobID"] != "child-0-2" || f.Outputs["mapped"] != "1" || len(f.Outputs) != 2 {
		t.Errorf("outputs %v", f.Outputs)
	}

	a = short(t, "f fork; e chore; w await=f", "f=never e=never . cancel")
	if !slices.Equal(a.cancelled, []int{0, 1}) {
		t.Errorf("cancelled children of %v", a.cancelled)
	}
	a = short(t, "f fork", "f=refused")
	if f := a.task("f"); f.FailureClass != engine.ClassRejected || !strings.Contains(f.Message, "JOB_NOT_FOUND: no such job") {
		t.Errorf("refused: %+v", f)
	}
}

// A join that is tried again at once stands at its gate while the step asks about its children: the answer counts once.
func TestJoinThatIsTriedAgain(t *testing.T) {
	a := short(t, "f fork=nowait c=w; w await=f retry=2 f=WAIT_FOR_APPROVAL", "f=open,FAILED . $f stop")
	if w := a.task("w"); w.WaitGate != engine.GateApproval || w.Round != 1 || w.UserTries != 2 {
		t.Errorf("it asked for approval in round %d at the gate %q after %d tries, want once after 2", w.Round, w.WaitGate, w.UserTries)
	}
}

func TestApprovals(t *testing.T) {
	a := short(t, "m manual sla=escalate no=RESTART_TASK", "stop")
	m := a.task("m")
	if m.Round != 1 || m.WakeAt == nil || !m.WakeAt.Equal(t0.Add(time.Hour)) || a.job.Approvals != 1 || a.job.DeadlineAt != nil {
		t.Fatalf("approval %+v, job %+v", m, a.job)
	}
	a.wake(0)
	if m = a.task("m"); m.WakeAt != nil || !slices.Equal(a.escalated, []int{0}) {
		t.Errorf("escalated %v: %+v", a.escalated, m)
	}
	a.vote(0, 1, plan.OutcomeRejected)
	a.run()
	if m = a.task("m"); m.Round != 2 {
		t.Fatalf("asked again: %+v", m)
	}
	a.vote(0, 1, plan.OutcomeApproved)
	if a.task("m").State != engine.TaskWaiting {
		t.Error("a vote of the first round decided the second")
	}
	a.vote(0, 2, plan.OutcomeApproved)
	if m = a.task("m"); m.State != engine.TaskCompleted || m.Message != "by alice" {
		t.Errorf("approved: %+v", m)
	}

	a = short(t, "m manual sla=reject; n manual sla=approve", ". @n @m")
	if !slices.Equal(a.lapsed, []int{1, 0}) || !strings.Contains(a.job.ErrorMessage, "was rejected") {
		t.Errorf("lapsed %v, message %q", a.lapsed, a.job.ErrorMessage)
	}
	a = short(t, "m manual; n manual", "m=no")
	if !slices.Equal(a.dismissed, []int{1}) {
		t.Errorf("dismissed %v", a.dismissed)
	}
	a = short(t, "a x:3=WAIT_FOR_APPROVAL", "a=3 !a stop")
	if a.task("a").Accepted != engine.AttemptFailed {
		t.Errorf("accepted %+v", a.task("a"))
	}
	a.vote(0, 1, plan.OutcomeApproved)
	if got := a.task("a"); got.State != engine.TaskCompleted || got.ExitCode != 3 || got.FailureClass != "" || got.Accepted != "" {
		t.Errorf("the outcome that was approved: %+v", got)
	}
}

func TestWaitingForApprovalGivesThePlaceBack(t *testing.T) {
	a := short(t, "m manual c=b; b", "m=yes !m stop")
	if j := a.job; j.State != engine.JobPaused || !j.PauseRequested || !j.Policy.AutoResume || j.ResumeAt == nil || !j.ResumeAt.Equal(a.now) {
		t.Errorf("job %+v", j)
	}
	a.resume()
	if j := a.job; j.State != engine.JobExecuting || j.PauseRequested || j.ResumeAt != nil || a.task("b").State != engine.TaskReady {
		t.Errorf("job %+v", j)
	}
}

func TestGroups(t *testing.T) {
	a := short(t, "g items=3 max=2 f=h; h; z", "g[1]=3 stop")
	g := a.task("g")
	if it := *g.Items; it != (engine.Items{Total: 3, First: 3, Next: 2, Open: 3}) || a.job.TasksTotal != 6 || a.job.TasksOpen != 6 {
		t.Fatalf("items %+v, job %+v", it, a.job)
	}
	item := a.task("g[1]")
	if item.Group != 0 || item.Item != 1 || item.ItemValue != 1 || item.Spec != g.Spec || !item.IsItem() || g.IsItem() {
		t.Errorf("item %+v", item)
	}
	a.run()
	g = a.task("g")
	if g.ExitCode != 3 || !strings.HasPrefix(g.Message, "1 of 3 items failed, 3 must complete; the first was item 1: it broke") {
		t.Errorf("group %d %q", g.ExitCode, g.Message)
	}
	want := map[string]string{"FanOutItemCount": "3", "FanOutMode": "task", "FanOutSource": "list", "item_0_status": "COMPLETED", "item_1_status": "FAILED", "item_1_exit_code": "3"}
	for key, value := range want {
		if g.Outputs[key] != value {
			t.Errorf("%s = %q, want %q", key, g.Outputs[key], value)
		}
	}
	if !strings.Contains(g.Outputs["g_results"], `"made":"yes"`) {
		t.Errorf("results %s", g.Outputs["g_results"])
	}
	a = short(t, "g items=2 jobs", "")
	if g := a.task("g"); g.Outputs["FanOutMode"] != "job" || a.task("g[0]").Method() != plan.MethodForkJob {
		t.Errorf("job mode %v", g.Outputs)
	}
}

// Results tell an error of what failed only, and are there when the items could not be made.
func TestResultsOfItems(t *testing.T) {
	results := func(plan, script string) string { return short(t, plan, script).task("g").Outputs["g_results"] }
	for what, got := range map[string]string{
		"kept":    results("job kept=g:0 retries=1; g items=2 f=h; h", "g[1]=1"),
		"off":     results("g items=2 offs=0 f=h; h", "g[1]=1"),
		"counted": results("g items=2 x:4=COMPLETED f=h; h", "g[0]=4 g[1]=1"),
	} {
		if n := strings.Count(got, `"error_message"`); n != 1 || !strings.Contains(got, `"error_code":"ERR_TASK_EXECUTE","error_message":"it broke"`) {
			t.Errorf("an item that is %s: %s", what, got)
		}
	}
	if got := results("g items=2 fault f=h; h", ""); got != "[]" {
		t.Errorf("a list that is none: %q", got)
	}
	if got := results("g items=20001 f=h; h", ""); got != "[]" {
		t.Errorf("a list that is too long: %q", got)
	}
}

// What is told of a failure begins with its cause, whatever the log says in the end.
func TestErrorsBeginWithTheCause(t *testing.T) {
	failed := engine.Outcome{State: engine.AttemptFailed, Claimed: true, FailureClass: engine.ClassUser}
	for message, want := range map[string]string{
		"":                        `task "a" failed`,
		"it broke":                `task "a" failed: it broke`,
		"no name\nx\nall is well": `task "a" failed: no name … all is well`,
	} {
		a := short(t, "a", ">a stop")
		failed.Message = message
		a.end(0, failed)
		if a.job.ErrorMessage != want {
			t.Errorf("%q, want %q", a.job.ErrorMessage, want)
		}
	}
	a := short(t, "a", ">a stop")
	failed.ExitCode, failed.Message = 3, "exit code 3\nx\nno such file"
	a.end(0, failed)
	if want := `task "a" failed with code 3: no such file`; a.job.ErrorMessage != want {
		t.Errorf("%q, want %q", a.job.ErrorMessage, want)
	}
	a = short(t, "g items=1", ">g[0] stop")
	a.end(1, failed)
	if want := `task "g" failed with code 3: 1 of 1 items failed, 1 must complete; the first was item 0: exit code 3 … no such file`; a.job.ErrorMessage != want {
		t.Errorf("%q, want %q", a.job.ErrorMessage, want)
	}
	a = short(t, "a", ">a stop")
	late := outcome("timeout", true, a.now)
	late.Message = "it ran for 2s\nx\nall is well"
	a.end(0, late)
	if want := `task "a" did not end within its timeout: it ran for 2s … all is well`; a.job.ErrorMessage != want {
		t.Errorf("%q, want %q", a.job.ErrorMessage, want)
	}
}

// What waited when the job failed is not said to have never begun.
func TestWhyAWaitWasStopped(t *testing.T) {
	for plan, want := range map[string]string{
		"x manual; a": "it was stopped because the job failed", "x wait=1m; a": "it was stopped because the job failed",
		"x dep=b; b; a": "a task it depends on did not complete", "x; a": "the job failed before it could start",
	} {
		a := short(t, plan, ">a a=1 !a")
		if got := a.task("x").Message; got != want {
			t.Errorf("%s: %q, want %q", plan, got, want)
		}
	}
}

// What no ant renders is decided anew for each attempt; whether it runs is not.
func TestEachAttemptIsDecided(t *testing.T) {
	for method, tt := range map[string]struct{ plan, script string }{
		"fork": {"x fork retry=1 delay=1s", "x=FAILED,COMPLETED"}, "wait": {"x wait=1m x:0=RESTART_TASK retry=1", ""}, "chore": {"x chore retry=1", "x=FAILED,COMPLETED"},
		"manual": {"x manual no=RESTART_TASK", "x=no,yes"}, "job of a fan-out": {"x items=1 jobs retry=1", "x[0]=FAILED,COMPLETED"},
	} {
		for _, late := range []bool{false, true} {
			d := draw(tt.plan)
			d.Plan.Tasks[0].Decide, d.Plan.Tasks[0].Late = true, late
			if d.decisions["x"] == nil {
				d.decisions["x"] = &plan.Decision{}
			}
			asked := 0
			a := &actor{ends: map[string][]string{}, used: map[string]int{}}
			if name, ends, ok := strings.Cut(tt.script, "="); ok {
				a.ends[name] = strings.Split(ends, ",")
			}
			a.world = begin(t, d.Begin, func(x *engine.Task) *plan.Decision {
				if x.IsItem() || !x.IsGroup() {
					asked++
				}
				own := *d.decide(x)
				own.Off = x.StartedAt != nil // it is too late for that
				return &own
			}, nil)
			a.run()
			if want := map[bool]int{false: 1, true: 2}[late]; asked != want || a.task("x").State == engine.TaskSkipped {
				t.Errorf("%s, late %v: asked %d times, want %d; it is %s", method, late, asked, want, a.task("x").State)
			}
		}
	}
}

func TestPlacementOfItems(t *testing.T) {
	d := draw("g items=2")
	class := placement.Class{Method: "DOCKER", Tags: []string{"arm"}, Slots: 2}
	d.decisions["g"].Items[1].Class = &class
	a := play(t, d, "stop", false)
	if got := a.task("g[0]").Class(); got.String() != "SHELL||1" {
		t.Errorf("item 0 %s", got)
	}
	if item := a.task("g[1]"); item.Class().String() != class.String() || item.Method() != "DOCKER" {
		t.Errorf("item 1 %s", item.Class())
	}
	d = draw("a off")
	d.decisions["a"] = &plan.Decision{Class: &class}
	a = play(t, d, "stop", false)
	if got := a.task("a").Class(); got.String() != class.String() {
		t.Errorf("a %s", got)
	}
}

func TestTooManyTasks(t *testing.T) {
	a := short(t, "g items=15000 max=1 c=h; h items=5000", "stop")
	a.step(func(s *engine.State) { s.TaskOverdue(0, outcome("timeout", true, a.now), a.now) }, 0)
	if a.job.TasksTotal != 15002 || a.job.State != engine.JobFailed {
		t.Fatalf("job %+v", a.job)
	}
	d := draw("g items=15000 max=1 f=h", "h items=4999")
	b := play(t, d, "stop", false)
	b.step(func(s *engine.State) { s.TaskOverdue(0, outcome("timeout", true, b.now), b.now) }, 0)
	if h := b.task("h"); h.State != engine.TaskFailed || h.FailureClass != engine.ClassRejected {
		t.Errorf("%s: %s", h.State, h.Message)
	}
}

// TestAnItemCostsItsNeighbourhood counts what a step on one of many items loads: the item, its group and the next one.
func TestAnItemCostsItsNeighbourhood(t *testing.T) {
	for _, n := range []int{100, 1000, 10_000} {
		a := short(t, fmt.Sprintf("g items=%d max=4", n), ">g[0] stop")
		a.loads = 0
		a.finishTask(a.named("g[0]"))
		if a.loads > 3 || a.task("g[4]").State != engine.TaskReady {
			t.Errorf("one of %d items loads %d tasks", n, a.loads)
		}
	}
}

// BenchmarkItemEnds ends one item of a group and releases the next.
func BenchmarkItemEnds(b *testing.B) {
	for _, n := range []int{1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			d := draw(fmt.Sprintf("g items=%d max=100", n))
			w := begin(b, d.Begin, d.decide, nil)
			g, item, next := w.tasks[0], w.tasks[1], w.tasks[101]
			item.State = engine.TaskRunning
			w.job.Running++
			o := outcome("0", true, w.now)
			b.ReportAllocs()
			for b.Loop() {
				g, item, next := row(&g), row(&item), row(&next)
				s := &engine.State{Job: w.job, Tasks: map[int]*engine.Task{0: &g, 1: &item, 101: &next}}
				s.TaskEnded(1, o, w.now)
				if !s.Need().Empty() || next.State != engine.TaskReady {
					b.Fatalf("needs %+v", s.Need())
				}
			}
		})
	}
}

// BenchmarkGroup makes the items of a group and ends them all, one by one.
func BenchmarkGroup(b *testing.B) {
	for _, n := range []int{1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			d := draw(fmt.Sprintf("g items=%d max=100", n))
			for b.Loop() {
				s := engine.New(d.Begin, t0)
				s.Decide(0, d.decide(s.Tasks[0]))
				s.Continue(t0)
				for i := 1; i <= n; i++ {
					s.Dispatched([]int{i}, t0)
					s.TaskEnded(i, engine.Outcome{State: engine.AttemptSucceeded, Claimed: true}, t0)
				}
				if s.Job.State != engine.JobCompleted {
					b.Fatalf("job %+v", s.Job)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/item")
		})
	}
}

// The timeout of what waits without an ant counts from each of its attempts, and not from what came before.
func TestTimeoutsOfWhatWaits(t *testing.T) {
	at := func(a *actor, name string) time.Duration {
		task := a.task(name)
		if limit := task.Limit(); limit != nil {
			return limit.At.Sub(a.now)
		}
		return 0
	}
	for plan, script := range map[string]string{
		"x fork timeout=2s": "x=never .", "f fork=nowait c=x; x await=f timeout=2s": "f=open .", "x chore timeout=2s": "x=never .",
		"x manual timeout=2s": ".", "x manual sla=escalate timeout=2s": ".", "x fork retry=1 timeout=2s": "x=never . #x .",
		"f fork=nowait c=x; x await=f timeout=2s retry=1": "f=open . #x .",
	} {
		if left := at(short(t, plan, script+" stop"), "x"); left != 2*time.Second {
			t.Errorf("%s: %s are left", plan, left)
		}
	}
	old := short(t, "x fork timeout=2s", "x=never . stop").task("x")
	old.Spec.WaitBounded = false // a plan from when each task had a timeout, whatever its method
	if limit := old.Limit(); limit != nil {
		t.Errorf("a limit that nobody wrote: %+v", limit)
	}
	for plan, script := range map[string]string{"x timeout=2s": "", "x c=WAIT_FOR_APPROVAL timeout=2s": ".", "x timeout=2s retry=1 delay=1h": "x=1 !x"} {
		if left := at(short(t, plan, script+" stop"), "x"); left != 0 {
			t.Errorf("%s: %s are left", plan, left)
		}
	}
	a := short(t, "x fork timeout=2s", "x=never . #x")
	if x := a.task("x"); len(a.cancelled) != 1 || x.Message != "too long" || a.job.ErrorMessage != `task "x" did not end within its timeout: too long` {
		t.Errorf("cancelled %v; %s; %s", a.cancelled, x.Message, a.job.ErrorMessage)
	}
}

// What all attempts of a task may take together bounds the wait for an ant, too.
func TestTotalOfWhatNoAntTakes(t *testing.T) {
	d := draw("a total=10s retry=3 f=h", "h")
	due := t0.Add(-4 * time.Second)
	d.DueAt = &due
	a := play(t, d, "stop", false)
	task := a.task("a")
	if limit := task.Limit(); limit == nil || !limit.At.Equal(t0.Add(6*time.Second)) || limit.Attempt {
		t.Fatalf("limit %+v", limit)
	}
	a.overdue(0)
	if task = a.task("a"); task.State != engine.TaskFailed || task.ErrorCode != "ERR_TASK_TIMED_OUT" || a.task("h").State != engine.TaskReady {
		t.Errorf("a is %s %s, h %s", task.State, task.ErrorCode, a.task("h").State)
	}
	a = short(t, "a total=10s retry=1 delay=1s", "a=1 >a stop")
	a.now = a.now.Add(time.Second)
	began := *a.task("a").StartedAt
	a.finishTask(0)
	a.wake(0)
	if task = a.task("a"); task.State != engine.TaskReady || !task.Limit().At.Equal(began.Add(10*time.Second)) {
		t.Errorf("a is %s until %+v, began %v", task.State, task.Limit(), began)
	}
}

// The wait for the start of a run is bounded from when it could have started; a pause is no wait.
func TestTimeToStart(t *testing.T) {
	waits := func(lines ...string) *actor {
		d := draw(lines...)
		d.Plan.Timeout, d.Plan.PendingTimeout = time.Hour, 10*time.Second
		due := t0.Add(-4 * time.Second)
		d.DueAt = &due
		for i := range d.Plan.Tasks {
			d.Plan.Tasks[i].PendingTimeout = time.Hour
		}
		return play(t, d, "stop", false)
	}
	a := waits("job retry=3", "a c=b", "b", "k always")
	task := a.task("a")
	if at := a.job.DeadlineAt; at == nil || !at.Equal(t0.Add(6*time.Second)) || !task.Limit().At.Equal(t0.Add(time.Hour-4*time.Second)) {
		t.Errorf("the run ends at %v, its task at %v", at, task.Limit().At)
	}
	a.deadline()
	if a.job.State != engine.JobFailed || a.job.ErrorCode != "ERR_JOB_TIMEOUT" || a.job.ErrorMessage != "it did not start within 10s: no slot" || a.job.RestartAt != nil {
		t.Errorf("job %+v", a.job)
	}
	a = waits("a c=b", "b")
	a.now = a.now.Add(time.Second)
	a.dispatch(0)
	if at := a.job.DeadlineAt; at == nil || !at.Equal(a.now.Add(time.Hour)) {
		t.Errorf("the run that began ends at %v", at)
	}
	a = waits("a c=b", "b")
	a.pause()
	a.now = a.now.Add(time.Hour)
	a.resume()
	if at := a.job.DeadlineAt; at == nil || !at.Equal(a.now.Add(10*time.Second)) {
		t.Errorf("the run that goes on ends at %v", at)
	}
	a = waits("a c=b", "b")
	began := a.now.Add(time.Second)
	a.job.StartedAt = &began // by a version that knows nothing of the bound
	a.deadline()
	if at := a.job.DeadlineAt; a.job.State.Terminal() || at == nil || !at.Equal(began.Add(time.Hour)) {
		t.Errorf("the run that had begun: %+v", a.job)
	}
	if a = waits("m manual"); a.job.DeadlineAt != nil || a.job.State != engine.JobApproval {
		t.Errorf("a run that waits for people: %+v", a.job)
	}
}

// The body of an HTTP task is a variable for those that follow, as far as all of it is known.
func TestBodiesAreOutputs(t *testing.T) {
	for name, o := range map[string]engine.Outcome{
		"whole": {Body: "{}"}, "none": {}, "the beginning": {Body: "{}", BodyCut: true}, "too long": {Body: strings.Repeat("x", 64<<10+1)},
		"beside outputs": {Body: "{}", Outputs: map[string]string{"a": "b"}}, "of a script": {Body: "{}"},
	} {
		d := draw("a")
		if name != "of a script" {
			d.Plan.Tasks[0].Method = plan.MethodHTTPGet
		}
		a := play(t, d, ">a stop", false)
		o.State, o.Claimed = engine.AttemptSucceeded, true
		a.end(0, o)
		_, ok := a.task("a").Outputs["a_result"]
		if want := name == "whole" || name == "beside outputs"; ok != want || a.task("a").Result != o.Body {
			t.Errorf("%s: outputs %v", name, a.task("a").Outputs)
		}
	}
}
