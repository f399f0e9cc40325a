package engine_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/formicary/formicary/libs/jobspec/errorrule"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/move"
)

// defaultRuns are the runs of the model when nothing else is asked for.
const defaultRuns = "2000"

// TestAgainstReference plays random jobs, with random outcomes in random order, duplicates and late events, and crashes
// between any two rounds of a step, through neighbourhoods, and compares every step with a reference that looks at the
// whole run. In the end every job is terminal. FORMICARY_MODEL_RUNS sets the number of runs.
func TestAgainstReference(t *testing.T) {
	runs := os.Getenv("FORMICARY_MODEL_RUNS")
	checks := flag.Lookup("rapid.checks")
	if runs == "" && checks.Value.String() == checks.DefValue {
		runs = defaultRuns
	}
	if runs != "" {
		was := checks.Value.String()
		if err := checks.Value.Set(runs); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = checks.Value.Set(was) })
	}
	rapid.Check(t, func(t *rapid.T) { newModel(t).run() })
}

// model plays one run.
type model struct {
	*world
	t     *rapid.T
	ref   *reference
	moves map[move.Move]bool
	round int
}

func newModel(t *rapid.T) *model {
	b := drawBegin(t)
	kept := map[string][]int{}
	for i := range b.Plan.Tasks {
		for place := range 5 {
			if b.ReuseRun > 0 && one(t, 2, "kept") {
				kept[b.Plan.Tasks[i].Name] = append(kept[b.Plan.Tasks[i].Name], place)
			}
		}
	}
	decisions := map[string]*plan.Decision{}
	for i := range b.Plan.Tasks {
		decisions[b.Plan.Tasks[i].Name] = drawDecision(t, &b.Plan.Tasks[i])
	}
	item := &plan.Decision{Fork: &plan.Fork{JobType: "child", Wait: true}}
	m := &model{t: t, moves: map[move.Move]bool{}}
	for _, allowed := range move.All() {
		m.moves[allowed] = true
	}
	m.world = begin(t, b, func(t *engine.Task) *plan.Decision {
		if t.IsItem() {
			return item
		}
		return decisions[t.Spec.Name]
	}, kept)
	m.ref = newReference(&b, kept, func(t *refTask) *plan.Decision {
		if t.group != nil {
			return item
		}
		return decisions[t.spec.Name]
	}, func(t *refTask) engine.Children {
		now := m.forked
		m.forked = m.before
		defer func() { m.forked = now }()
		return m.await(t.spec)
	})
	m.compare()
	m.crash = func() bool { return rapid.IntRange(0, 9).Draw(t, "crash") == 0 }
	return m
}

// one draws whether something happens that does in one of n cases.
func one(t *rapid.T, n int, label string) bool { return rapid.IntRange(1, n).Draw(t, label) == n }

// drawBegin makes an acyclic plan: edges lead from lower to higher numbers.
func drawBegin(t *rapid.T) engine.Begin {
	n := rapid.IntRange(1, 9).Draw(t, "tasks")
	p := &plan.Plan{
		JobType: "job", Timeout: time.Hour, CleanupTimeout: time.Minute, PauseTime: time.Second,
		FailFast: one(t, 3, "fail_fast"), Retry: rapid.IntRange(0, 1).Draw(t, "job retry"), RetryGiven: rapid.Bool().Draw(t, "job retry given"),
	}
	for i := range n {
		p.Tasks = append(p.Tasks, drawTask(t, p, i, n))
	}
	incoming := map[string]bool{}
	for i := range p.Tasks {
		if task := &p.Tasks[i]; len(task.DependsOn) > 0 {
			incoming[task.Name] = true
		}
		for _, r := range p.Tasks[i].Routes {
			for _, target := range r.Targets {
				incoming[target] = true
			}
		}
	}
	// What waits for clean-up that comes last is such clean-up itself: the language refuses anything else.
	waits := map[string]bool{}
	for i := range p.Tasks {
		task := &p.Tasks[i]
		waits[task.Name] = waits[task.Name] || task.AlwaysRun && !incoming[task.Name] ||
			slices.ContainsFunc(task.DependsOn, func(dep string) bool { return waits[dep] })
		if !waits[task.Name] {
			continue
		}
		task.AlwaysRun = true
		for _, r := range task.Routes {
			for _, target := range r.Targets {
				waits[target] = true
			}
		}
	}
	b := engine.Begin{Run: 1, Retries: rapid.IntRange(0, 1).Draw(t, "retries"), Plan: p, Pauses: rapid.SampledFrom([]int{0, 99}).Draw(t, "pauses")}
	if one(t, 4, "left") {
		b.Before = &engine.Before{Code: "ERR_BEFORE", Left: true}
	}
	if one(t, 3, "reuse") {
		b.Reuse, b.ReuseRun = map[string]engine.Reused{}, 1
		for i := range p.Tasks {
			p.Tasks[i].AllowStartIfCompleted = one(t, 8, "again")
			if !one(t, 3, "anew") {
				b.Reuse[p.Tasks[i].Name] = engine.Reused{Outputs: map[string]string{"from": "before"}}
			}
		}
		b.From = rapid.SampledFrom([]string{"", "t0", "t1", "t2"}).Draw(t, "from")
	}
	for _, code := range []string{"1", "7", "*"} {
		if one(t, 8, "rule") {
			b.Rules = append(b.Rules, errorrule.Rule{
				ExitCode: code, ErrorCode: "ERR_RULE_" + code, Retry: rapid.IntRange(0, 2).Draw(t, "rule retry"),
				Action: rapid.SampledFrom([]string{"", "RETRY_TASK", "RETRY_JOB", "SUSPEND_JOB", "HARD_FAILURE"}).Draw(t, "rule action"),
			})
		}
	}
	return b
}

func drawTask(t *rapid.T, p *plan.Plan, i, n int) plan.Task {
	task := plan.Task{
		Name: fmt.Sprint("t", i), Method: "SHELL", Slots: 1, Timeout: time.Minute, WaitBounded: true,
		AlwaysRun: one(t, 6, "always"), AllowFailure: one(t, 4, "allow"), Retry: rapid.IntRange(0, 2).Draw(t, "retry"),
		RetryGiven: rapid.Bool().Draw(t, "retry given"),
		Skip:       one(t, 12, "skip"), AtMostOnce: one(t, 6, "once"),
	}
	if one(t, 3, "delay") {
		task.Backoff.Delay = 5 * time.Second
	}
	if one(t, 6, "retry_on") {
		task.RetryOn = &plan.RetryOn{
			Any: rapid.Bool().Draw(t, "any"), Timeout: plan.Budget{Own: 1}, OOM: plan.Budget{Shared: true}, Infra: plan.Budget{Own: 1},
		}
	}
	drawKind(t, p, &task)
	drawRoutes(t, &task, i, n)
	for j := range i {
		if one(t, 6, "dep") {
			task.DependsOn = append(task.DependsOn, fmt.Sprint("t", j))
			if one(t, 2, "requires") {
				task.Requires = append(task.Requires, fmt.Sprint("t", j))
			}
		}
	}
	return task
}

// drawKind makes a task something other than a script.
func drawKind(t *rapid.T, p *plan.Plan, task *plan.Task) {
	fan := func() *plan.FanOut {
		return &plan.FanOut{
			ItemVar: "item", MaxParallel: rapid.IntRange(0, 3).Draw(t, "max_parallel"), FailFast: rapid.Bool().Draw(t, "ff"),
			MinSuccess: rapid.IntRange(0, 3).Draw(t, "min_success"),
		}
	}
	switch rapid.IntRange(0, 11).Draw(t, "kind") {
	case 0, 1:
		task.FanOut = fan()
	case 2:
		task.Method, task.FanOut, task.Fork = plan.MethodForkJob, fan(), &plan.Fork{JobType: "child"}
	case 3:
		task.Method, task.Fork = plan.MethodForkJob, &plan.Fork{JobType: "child", Wait: rapid.Bool().Draw(t, "wait")}
	case 4:
		task.Method = plan.MethodAwaitForkedJob
		for i := range p.Tasks {
			if other := &p.Tasks[i]; other.Method == plan.MethodForkJob && other.FanOut == nil {
				task.AwaitForkedTasks = append(task.AwaitForkedTasks, other.Name)
			}
		}
	case 5, 6:
		task.Method = plan.MethodManual
		if rapid.Bool().Draw(t, "sla") {
			task.Approval = &plan.Approval{
				MinApprovals: 1, SLA: time.Minute,
				TimeoutAction: rapid.SampledFrom([]string{plan.AutoApprove, plan.AutoReject, plan.Escalate}).Draw(t, "lapse"),
			}
		}
	case 7:
		task.Method = plan.MethodExpireArtifacts
	case 8:
		task.Method, task.Wait = plan.MethodWait, time.Minute
		if rapid.Bool().Draw(t, "waits") {
			task.FanOut = fan()
		}
	}
	if !plan.NeedsAnt(task.Method) && rapid.Bool().Draw(t, "no timeout") {
		task.Timeout = 0
	}
	task.Late = one(t, 3, "late")
	task.Decide = task.FanOut != nil || task.Fork != nil || one(t, 3, "decide")
}

func drawRoutes(t *rapid.T, task *plan.Task, i, n int) {
	targets := func(label string) []string {
		var names []string
		for j := i + 1; j < n; j++ {
			if one(t, 3, label) {
				names = append(names, fmt.Sprint("t", j))
			}
		}
		return names
	}
	add := func(key string, to []string) {
		if len(to) > 0 {
			task.Routes = append(task.Routes, plan.Route{Key: key, Targets: to})
		}
	}
	if one(t, 4, "code route") {
		actions := []string{"FATAL", "ERR_X", "RESTART_JOB", "RESTART_TASK", "EXECUTING", "PAUSE_JOB", "COMPLETED", "FAILED", "WAIT_FOR_APPROVAL"}
		to := []string{rapid.SampledFrom(actions).Draw(t, "action")}
		if one(t, 4, "code tasks") {
			to = targets("code")
		}
		add("7", to)
	}
	if task.Method == plan.MethodManual && rapid.Bool().Draw(t, "votes") {
		add("APPROVED", targets("approved"))
		add("REJECTED", targets("rejected"))
	}
	if one(t, 6, "timed out") {
		add("TIMED_OUT", targets("timed out"))
	}
	state := func(key string, actions ...string) {
		to := targets(key)
		if one(t, 10, "state action") {
			to = []string{rapid.SampledFrom(actions).Draw(t, "action")}
		}
		add(key, to)
	}
	state("COMPLETED", "WAIT_FOR_APPROVAL", "ERR_DONE", "FATAL")
	state("FAILED", "COMPLETED", "FATAL", "RESTART_JOB", "RESTART_TASK", "WAIT_FOR_APPROVAL", "PAUSE_JOB")
	if one(t, 10, "any") {
		add("*", targets("any"))
	}
}

func drawDecision(t *rapid.T, task *plan.Task) *plan.Decision {
	d := &plan.Decision{AllowFailure: task.AllowFailure || one(t, 6, "may fail")}
	switch rapid.IntRange(0, 11).Draw(t, "decision") {
	case 0:
		d.Off = true
	case 1:
		d.Skip = true
	case 2:
		d.Fault = "no such variable"
	}
	if task.FanOut != nil {
		d.Items = items(task.Name, rapid.IntRange(0, 5).Draw(t, "items"))
		for i := range d.Items {
			d.Items[i].Off = one(t, 5, "item off")
			d.Items[i].AllowFailure = one(t, 5, "item may fail")
			if one(t, 10, "item fault") {
				d.Items[i].Fault = "no time to wait"
			}
		}
	}
	return d
}

func (m *model) run() {
	for m.round = 0; !m.job.State.Terminal(); m.round++ {
		if m.round > 1000 {
			m.t.Fatalf("the job does not end: %+v", m.job)
		}
		was, job := maps.Clone(m.tasks), m.job.State
		m.now = m.now.Add(time.Second)
		m.ref.now = m.now
		m.act()
		m.compare()
		m.checkMoves(was, job)
	}
	m.late()
	m.compare()
}

// calm: nothing is paused or lost any more, so that the job ends.
func (m *model) calm() bool { return m.round > 80 }

// act draws one thing that happens.
func (m *model) act() {
	switch { // what suspends or restarts itself again and again
	case m.round == 400:
		m.cancel()
		m.ref.cancel()
		return
	case m.round > 500 && m.round%50 == 0 && m.job.DeadlineAt != nil:
		m.deadline()
		m.ref.now = m.now
		m.ref.deadline()
		return
	}
	if !m.calm() && one(m.t, 12, "trouble") {
		m.trouble()
		return
	}
	if m.job.State == engine.JobPaused && (m.calm() || one(m.t, 3, "resume")) {
		m.resume()
		m.ref.resume()
		return
	}
	var can []func()
	for _, i := range slices.Sorted(maps.Keys(m.tasks)) {
		if f := m.possible(i); f != nil {
			can = append(can, f)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.forked)) {
		if m.forked[name] == "" && m.tasks[m.named(name)].State.Terminal() {
			can = append(can, func() {
				m.forked[name] = rapid.SampledFrom([]string{"COMPLETED", "FAILED"}).Draw(m.t, "free child")
			})
		}
	}
	if len(can) == 0 {
		m.resume()
		m.ref.resume()
		return
	}
	rapid.SampledFrom(can).Draw(m.t, "act")()
}

// possible returns what can happen to a task.
func (m *model) possible(i int) func() {
	t, r := m.tasks[i], m.ref.tasks[i]
	switch {
	case t.State == engine.TaskReady:
		return func() {
			m.dispatch(i)
			m.ref.dispatched(r)
		}
	case t.State == engine.TaskDispatched:
		return func() {
			if !m.calm() && one(m.t, 5, "unclaimed") {
				m.finish(i, outcome("unclaimed", false, m.now))
				return
			}
			m.claim(i)
			r.state = engine.TaskRunning
		}
	case t.State == engine.TaskRunning:
		return func() { m.finishes(i) }
	case t.WaitGate == engine.GateSchedule:
		return func() { m.wakes(i) }
	case t.WaitGate == engine.GateApproval:
		return func() {
			if t.WakeAt != nil && one(m.t, 3, "lapse") {
				m.wakes(i)
				return
			}
			approve := m.calm() || rapid.Bool().Draw(m.t, "approve")
			m.vote(i, t.Round, map[bool]string{true: plan.OutcomeApproved, false: plan.OutcomeRejected}[approve])
			m.ref.voted(r, approve)
		}
	case t.WaitGate == engine.GateChild:
		return func() { m.child(i) }
	}
	return nil
}

func (m *model) wakes(i int) {
	m.wake(i)
	m.ref.now = m.now
	m.ref.wake(m.ref.tasks[i])
}

// finish ends an attempt.
func (m *model) finish(i int, o engine.Outcome) {
	m.end(i, o)
	m.ref.ended(m.ref.tasks[i], o)
}

func (m *model) drawEnd(i int) engine.Outcome {
	ends := []string{"0", "0", "1", "7", "timeout", "oom", "infra", "rejected", "lost"}
	switch {
	case m.calm():
		ends = []string{"0", "0", "1"}
	case m.stops[i]:
		ends = []string{"cancelled", "cancelled", "0", "1"}
	}
	return outcome(rapid.SampledFrom(ends).Draw(m.t, "end"), true, m.now)
}

// finishes ends an attempt, or two in one step, as in a batch.
func (m *model) finishes(i int) {
	o := m.drawEnd(i)
	others := slices.DeleteFunc(m.in(engine.TaskRunning), func(k int) bool { return k == i })
	if len(others) == 0 || !one(m.t, 3, "batch") {
		m.finish(i, o)
		return
	}
	k := rapid.SampledFrom(others).Draw(m.t, "other")
	second := m.drawEnd(k)
	m.step(func(s *engine.State) {
		s.TaskEnded(i, o, m.now)
		if m.broken = !m.complete(s); !m.broken {
			s.TaskEnded(k, second, m.now)
		}
	}, i, k)
	m.ref.ended(m.ref.tasks[i], o)
	if r := m.ref.tasks[k]; r.live() && !m.ref.state.Terminal() {
		m.ref.ended(r, second)
	}
}

// child draws what happens to the child that a task waits for.
func (m *model) child(i int) {
	t, r := m.tasks[i], m.ref.tasks[i]
	states := []string{"COMPLETED", "COMPLETED", "FAILED", "CANCELLED"}
	switch {
	case t.Method() == plan.MethodAwaitForkedJob:
		m.joined(i)
		m.ref.joined(r, m.await(t.Spec))
		m.ref.settle()
	case t.Fork != nil && t.ChildID == "" && one(m.t, 6, "refused"):
		m.refused(i, t.Round)
		m.ref.refused(r)
	case t.Fork != nil && t.ChildID == "" && !one(m.t, 6, "unheard"):
		m.submitted(i, t.Round)
		if !t.Fork.Wait {
			m.ref.child(r, "COMPLETED")
		}
	default:
		state := rapid.SampledFrom(states).Draw(m.t, "child")
		m.childEnded(i, t.Round, state)
		m.ref.child(r, state)
	}
}

// trouble draws something out of the ordinary.
func (m *model) trouble() {
	waits := slices.Concat(m.in(engine.TaskReady), m.in(engine.TaskWaiting))
	switch rapid.IntRange(0, 9).Draw(m.t, "kind") {
	case 0, 1:
		m.pause()
		m.ref.pauseEvent()
	case 2:
		m.resume()
		m.ref.resume()
	case 3:
		if m.round > 15 {
			m.cancel()
			m.ref.cancel()
		}
	case 4:
		if m.round > 25 && m.job.DeadlineAt != nil {
			m.deadline()
			m.ref.now = m.now
			m.ref.deadline()
		}
	case 5:
		if len(waits) > 0 {
			i := rapid.SampledFrom(waits).Draw(m.t, "overdue")
			m.overdue(i)
			m.ref.now = m.now
			m.ref.overdue(m.ref.tasks[i])
		}
	default:
		m.late()
	}
}

// late brings events that come twice or too late: they change nothing.
func (m *model) late() {
	i := rapid.SampledFrom(slices.Sorted(maps.Keys(m.tasks))).Draw(m.t, "late task")
	t := m.tasks[i]
	if m.job.State.Terminal() {
		m.pause()
		m.resume()
		m.step(func(s *engine.State) { s.Cancel("", m.now) })
		m.step(func(s *engine.State) { s.Deadline("", m.now) })
	}
	if t.State != engine.TaskRunning && t.State != engine.TaskDispatched {
		m.step(func(s *engine.State) { s.TaskEnded(i, outcome("1", true, m.now), m.now) }, i)
	}
	if t.State != engine.TaskReady {
		m.dispatch(i)
	}
	if t.State != engine.TaskWaiting || t.WakeAt == nil {
		m.step(func(s *engine.State) { s.Wake(i, m.now) }, i)
	}
	if t.State != engine.TaskWaiting && t.State != engine.TaskReady {
		m.step(func(s *engine.State) { s.TaskOverdue(i, outcome("timeout", true, m.now), m.now) }, i)
	}
	if t.Round > 0 || t.WaitGate == "" {
		stale := t.Round - 1
		m.step(func(s *engine.State) { s.Voted(i, stale, plan.OutcomeRejected, "too late", nil, m.now) }, i)
		m.step(func(s *engine.State) { s.ChildEnded(i, stale, engine.ChildOutcome{State: "FAILED"}, m.now) }, i)
		m.step(func(s *engine.State) { s.Refused(i, stale, "X", "too late", m.now) }, i)
		m.step(func(s *engine.State) { s.Submitted(i, stale, "another", m.now) }, i)
	}
	if t.ChildID != "" {
		m.step(func(s *engine.State) { s.Submitted(i, t.Round, "another", m.now) }, i)
	}
	m.step(func(s *engine.State) { s.Continue(m.now) })
}

// compare compares the run with the reference, and its counters with a recount.
func (m *model) compare() {
	m.t.Helper()
	m.audit()
	j, r := m.job, m.ref
	if len(m.tasks) != len(r.tasks) {
		m.t.Fatalf("%d tasks, reference %d", len(m.tasks), len(r.tasks))
	}
	for i, want := range r.tasks {
		got := m.tasks[i]
		switch {
		case got.State != want.state || got.WaitGate != want.gate:
			m.t.Fatalf("task %d %s is %s %s, reference %s %s (%s)", i, got.Name(), got.State, got.WaitGate, want.state, want.gate, got.Message)
		case got.State == engine.TaskFailed && got.ErrorCode != want.errorCode:
			m.t.Fatalf("task %d %s failed with %s, reference %s", i, got.Name(), got.ErrorCode, want.errorCode)
		case got.Round != want.round || got.Attempts != want.attempts || (got.WakeAt != nil) != want.wakes:
			m.t.Fatalf("task %d %s: round %d attempts %d wakes %v, reference %+v", i, got.Name(), got.Round, got.Attempts, got.WakeAt, want)
		}
	}
	switch {
	case j.State != r.state, j.Failing != r.failing, j.Stopping != r.stopping, j.PauseRequested != r.pausing, j.ErrorCode != r.code:
		m.t.Fatalf("job %+v, reference %s failing %v stopping %v pausing %v %s", j, r.state, r.failing, r.stopping, r.pausing, r.code)
	case (j.RestartAt != nil) != r.again():
		m.t.Fatalf("restart at %v, reference %v", j.RestartAt, r.again())
	}
}

// checkMoves checks that what has changed is one of Moves.
func (m *model) checkMoves(was map[int]engine.Task, job engine.JobState) {
	m.t.Helper()
	for i, t := range was {
		if move := (move.Move{Entity: "task", From: string(t.State), To: string(m.tasks[i].State)}); move.From != move.To && !m.moves[move] {
			m.t.Fatalf("move %v", move)
		}
	}
	if move := (move.Move{Entity: "execution", From: string(job), To: string(m.job.State)}); move.From != move.To && !m.moves[move] {
		m.t.Fatalf("move %v", move)
	}
}
