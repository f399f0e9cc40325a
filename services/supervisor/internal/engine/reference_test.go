package engine_test

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/formicary/formicary/libs/jobspec/errorrule"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
)

// reference decides like the engine in the slow, obvious way: it keeps no counters and no edges, looks at the whole run
// after every event, and repeats every rule until nothing changes.
type reference struct {
	plan    *plan.Plan
	rules   []errorrule.Rule
	decide  func(t *refTask) *plan.Decision
	await   func(t *refTask) engine.Children
	kept    map[string][]int
	from    string
	retries int
	now     time.Time
	tasks   []*refTask

	state                                 engine.JobState
	code                                  string
	failing, stopping, cancelled, pausing bool
	auto, started, over, left             bool
	reopened, held                        bool
	jobRetry, pauses                      int
	restart, final                        bool
}

// refTask is a task of a reference.
type refTask struct {
	spec  *plan.Task
	group *refTask // of an item
	items []*refTask
	made  bool // a group whose items are made
	place int  // of an item in its group

	state     engine.TaskState
	gate      string
	wakes     bool
	reuse     bool // completed in the run before
	asking    bool // needs a decision, or word of children
	begun     *time.Time
	tries     map[string]int
	attempts  int
	round     int
	fork      *plan.Fork
	accepted  string // outcome that waits for approval
	code      int
	errorCode string
	class     string
	taken     []string
	post      bool // taken are post-processing of its failure
	halted    bool
	fault     bool      // an item that cannot be started
	off       bool      // an item whose condition does not hold
	mayFail   bool      // by a decision
	waiting   bool      // its own time passes
	postponed bool      // clean-up that runs if no other run follows
	noMore    bool      // of a group: releases no further item
	late      bool      // of a group: took too long
	since     time.Time // it waits for a child or a vote
}

func newReference(b *engine.Begin, kept map[string][]int, decide func(*refTask) *plan.Decision, await func(*refTask) engine.Children) *reference {
	r := &reference{
		kept: kept, from: b.From, plan: b.Plan, rules: b.Rules, decide: decide, await: await, retries: b.Retries, now: t0,
		state: engine.JobReady, jobRetry: b.Plan.Retry, pauses: b.Pauses, left: b.Before != nil && b.Before.Left,
	}
	for i := range b.Plan.Tasks {
		t := &refTask{spec: &b.Plan.Tasks[i], state: engine.TaskBlocked, tries: map[string]int{}}
		_, t.reuse = b.Reuse[t.spec.Name]
		if t.reuse && t.spec.Name != b.From { // the whole of it, or nothing
			kept = maps.Clone(kept)
			delete(kept, t.spec.Name)
			r.kept = kept
		}
		t.reuse = t.reuse && t.spec.Name != b.From && !t.spec.AlwaysRun && !t.spec.AllowStartIfCompleted
		r.tasks = append(r.tasks, t)
	}
	for _, t := range r.tasks {
		for _, fork := range r.tasks {
			if !t.reuse && slices.Contains(t.spec.AwaitForkedTasks, fork.spec.Name) {
				fork.reuse = false
			}
		}
	}
	r.settle()
	return r
}

func (t *refTask) live() bool {
	return t.state == engine.TaskDispatched || t.state == engine.TaskRunning
}

func (t *refTask) isGroup() bool { return t.spec.FanOut != nil && t.group == nil }

func (t *refTask) method() string {
	if t.group != nil && t.spec.Fork != nil {
		return plan.MethodForkJob
	}
	return t.spec.Method
}

// asksAgain says that each attempt is decided about.
func (t *refTask) asksAgain() bool {
	switch {
	case !t.spec.Late || !t.spec.Decide:
		return false
	case t.spec.FanOut != nil:
		return t.group != nil && t.spec.Fork != nil
	}
	return slices.Contains([]string{plan.MethodForkJob, plan.MethodManual, plan.MethodWait, plan.MethodExpireArtifacts}, t.method())
}

// edges returns the tasks of the plan that lead to t, and whether by a route.
func (r *reference) edges(t *refTask) (control, data []*refTask) {
	for _, from := range r.tasks {
		if from.group != nil || t.group != nil {
			continue
		}
		for _, route := range from.spec.Routes {
			if slices.Contains(route.Targets, t.spec.Name) && !slices.Contains(control, from) {
				control = append(control, from)
			}
		}
		if slices.Contains(t.spec.DependsOn, from.spec.Name) {
			data = append(data, from)
		}
	}
	return control, data
}

// usable says that what depends on a task alone may run.
func usable(t *refTask) bool {
	return t.state == engine.TaskCompleted || t.state == engine.TaskFailed && allowed(t)
}

// allowed says that the failure of a task that is no item does not fail the job.
func allowed(t *refTask) bool { return t.mayFail || t.spec.AllowFailure }

// handler says that the task is post-processing of a failure, or follows one that is.
func (r *reference) handler(t *refTask) bool {
	if t.group != nil {
		return r.handler(t.group)
	}
	control, data := r.edges(t)
	if len(control) == 0 {
		return slices.ContainsFunc(data, func(from *refTask) bool { return usable(from) && r.handler(from) })
	}
	return slices.ContainsFunc(control, func(from *refTask) bool {
		return from.state.Terminal() && slices.Contains(from.taken, t.spec.Name) && (from.post || r.handler(from))
	})
}

func (r *reference) mayStart(t *refTask) bool {
	switch {
	case t.halted:
		return false
	case r.stopping:
		return t.spec.AlwaysRun && (r.started || r.left) && !r.over
	case r.failing:
		return t.spec.AlwaysRun || r.handler(t)
	}
	return true
}

func (r *reference) set(t *refTask, state engine.TaskState, gate string) {
	t.state, t.gate, t.wakes, t.waiting = state, gate, false, false
}

// settle repeats the rules until nothing changes.
func (r *reference) settle() {
	for !r.state.Terminal() {
		if !slices.ContainsFunc(r.tasks, func(t *refTask) bool { return !t.state.Terminal() }) {
			r.finish()
			return
		}
		if r.failed() || r.activate() || r.groups() || r.decisions() || r.cleanUp() {
			continue
		}
		r.rest()
		return
	}
}

func (r *reference) finish() {
	switch {
	case r.cancelled:
		r.state = engine.JobCancelled
	case r.failing:
		r.state = engine.JobFailed
	default:
		r.state = engine.JobCompleted
	}
}

// again says that the job is tried again.
func (r *reference) again() bool {
	return r.state == engine.JobFailed && r.followed()
}

// most is how often an action may start something again.
func most(retry int, given bool) int {
	if retry == 0 && !given {
		return plan.MaxRestarts
	}
	return retry
}

// failed applies the failure of the job to everything that is open.
func (r *reference) failed() (changed bool) {
	if !r.failing {
		return false
	}
	for _, t := range r.tasks {
		open := !t.state.Terminal() && (t.state != engine.TaskBlocked || t.group != nil)
		if !open || r.mayStart(t) || r.stopping {
			continue
		}
		goes := t.live() || t.gate == engine.GateChild
		if goes && (!r.plan.FailFast || t.state == engine.TaskRunning) || t.gate == engine.GateItems && t.noMore {
			continue
		}
		r.stop(t)
		changed = true
	}
	return changed
}

// stop ends a task that does not run. Those that run are told to, and end later.
func (r *reference) stop(t *refTask) {
	switch {
	case t.state.Terminal() || t.state == engine.TaskRunning:
	case t.gate == engine.GateItems:
		t.noMore = true
	default:
		r.drop(t)
	}
}

func (r *reference) drop(t *refTask) {
	t.asking = false
	if t.begun == nil && !r.cancelled {
		r.set(t, engine.TaskSkipped, "")
	} else {
		r.set(t, engine.TaskCancelled, "")
	}
}

// activate looks for a task whose edges are all resolved.
func (r *reference) activate() bool {
	for _, t := range r.tasks {
		control, data := r.edges(t)
		all := slices.Concat(control, data)
		open := slices.ContainsFunc(all, func(from *refTask) bool { return !from.state.Terminal() })
		if t.state != engine.TaskBlocked || t.group != nil || open || t.asking || t.postponed || len(all) == 0 && t.spec.AlwaysRun {
			continue
		}
		runs := !slices.ContainsFunc(data, func(from *refTask) bool { return !usable(from) })
		if len(control) > 0 {
			leads := func(from *refTask) bool { return slices.Contains(from.taken, t.spec.Name) }
			needs := func(from *refTask) bool {
				return slices.Contains(t.spec.Requires, from.spec.Name) && from.state != engine.TaskSkipped && !usable(from) && !leads(from)
			}
			runs = slices.ContainsFunc(control, leads) && !slices.ContainsFunc(data, needs)
		}
		switch {
		case !runs && !t.spec.AlwaysRun:
			r.set(t, engine.TaskSkipped, "")
		case t.spec.AlwaysRun && r.followed():
			t.postponed = true
		default:
			r.enter(t)
		}
		return true
	}
	return false
}

// enter starts a task whose edges allow it.
func (r *reference) enter(t *refTask) {
	switch {
	case !r.mayStart(t):
		r.drop(t)
	case t.spec.Skip:
		r.skip(t)
	case t.reuse && !r.remade(t):
		t.taken = r.tasksOf(t, "COMPLETED")
		r.set(t, engine.TaskCompleted, "")
	default:
		r.start(t)
	}
}

// remade says that something that the task follows has run in this run.
func (r *reference) remade(t *refTask) bool {
	control, data := r.edges(t)
	return slices.ContainsFunc(slices.Concat(control, data), func(from *refTask) bool { return from.begun != nil })
}

func (r *reference) skip(t *refTask) {
	t.taken = r.tasksOf(t, "COMPLETED")
	r.set(t, engine.TaskCompleted, "")
}

func (r *reference) start(t *refTask) {
	switch {
	case r.pausing:
		r.held = true
		r.set(t, engine.TaskWaiting, engine.GatePause)
	case t.method() == plan.MethodAwaitForkedJob:
		t.asking = true
	case t.begun != nil && t.asksAgain(), t.begun == nil && (t.group != nil && t.spec.Fork != nil || t.group == nil && (t.spec.Decide || t.spec.FanOut != nil)):
		t.asking = true
	default:
		r.launch(t)
	}
}

func (r *reference) begin(t *refTask) {
	if t.begun == nil {
		now := r.now
		t.begun = &now
	}
	r.started = true
	if r.state == engine.JobReady {
		r.state = engine.JobExecuting
	}
}

func (r *reference) launch(t *refTask) {
	if t.fault {
		r.judge(t, "FAILED", 0, engine.ClassRejected)
		return
	}
	switch t.method() {
	case plan.MethodManual:
		r.ask(t)
	case plan.MethodForkJob, plan.MethodExpireArtifacts:
		r.begin(t)
		t.round++
		r.set(t, engine.TaskWaiting, engine.GateChild)
		t.since = r.now
	case plan.MethodAwaitForkedJob:
		t.asking = true
	case plan.MethodWait:
		r.begin(t)
		t.round++
		r.set(t, engine.TaskWaiting, engine.GateSchedule)
		t.wakes, t.waiting = true, true
	default:
		r.set(t, engine.TaskReady, "")
	}
}

func (r *reference) ask(t *refTask) {
	r.begin(t)
	t.round++
	r.set(t, engine.TaskWaiting, engine.GateApproval)
	t.wakes = t.spec.Approval != nil && t.spec.Approval.SLA > 0
}

// decisions starts what has asked for a decision or for word of its children, in order.
func (r *reference) decisions() (changed bool) {
	for _, kind := range []bool{false, true} {
		for _, t := range slices.Clone(r.tasks) {
			await := t.method() == plan.MethodAwaitForkedJob && (t.begun != nil || !t.spec.Decide || t.fork != nil)
			if !t.asking || await != kind {
				continue
			}
			changed = true
			t.asking = false
			switch {
			case !r.mayStart(t):
				r.drop(t)
			case r.pausing:
				r.start(t)
			case await:
				r.begin(t)
				t.since = r.now
				r.joined(t, r.await(t))
			default:
				r.decided(t, r.decide(t))
			}
		}
		if changed {
			return true
		}
	}
	return false
}

func (r *reference) decided(t *refTask, d *plan.Decision) {
	if t.begun != nil {
		r.launch(t)
		return
	}
	t.mayFail = t.mayFail || d.AllowFailure
	switch {
	case d.Fault != "":
		r.judge(t, "FAILED", 0, engine.ClassRejected)
	case d.Off:
		r.set(t, engine.TaskSkipped, "")
	case d.Skip:
		r.skip(t)
	case t.isGroup():
		r.expand(t, d.Items)
	default:
		t.fork = t.spec.Fork
		if d.Fork != nil || t.fork == nil {
			t.fork = d.Fork
		}
		if t.method() == plan.MethodAwaitForkedJob {
			t.fork = &plan.Fork{} // decided
		}
		r.launch(t)
	}
}

func (r *reference) expand(g *refTask, items []plan.Item) {
	if g.begun == nil {
		now := r.now
		g.begun = &now
	}
	keeps := !g.spec.AlwaysRun && !g.spec.AllowStartIfCompleted && g.spec.Name != r.from && !r.remade(g)
	g.made = true
	r.set(g, engine.TaskWaiting, engine.GateItems)
	for i := range items {
		t := &refTask{spec: g.spec, group: g, place: i, state: engine.TaskBlocked, mayFail: items[i].AllowFailure, fault: items[i].Fault != "", tries: map[string]int{}}
		switch {
		case items[i].Off:
			t.state, t.off = engine.TaskSkipped, true
		case keeps && slices.Contains(r.kept[g.spec.Name], i):
			t.state = engine.TaskCompleted
		}
		g.items = append(g.items, t)
		r.tasks = append(r.tasks, t)
	}
}

func count(tasks []*refTask, fits func(*refTask) bool) int {
	n := 0
	for _, t := range tasks {
		if fits(t) {
			n++
		}
	}
	return n
}

// groups releases items, stops those of a group that cannot complete any more, and ends groups.
func (r *reference) groups() (changed bool) {
	for _, g := range r.tasks {
		if g.gate != engine.GateItems || g.state != engine.TaskWaiting {
			continue
		}
		f := g.spec.FanOut
		lost := count(g.items, func(t *refTask) bool {
			return t.state == engine.TaskFailed && !t.mayFail || t.state == engine.TaskCancelled
		})
		if f.FailFast && !g.noMore && asked(g)-lost < f.Needed(asked(g)) {
			r.stopItems(g)
			return true
		}
		running := count(g.items, func(t *refTask) bool {
			return !t.state.Terminal() && (t.state != engine.TaskBlocked || t.asking)
		})
		for _, t := range g.items {
			if g.noMore || t.state != engine.TaskBlocked || t.asking || f.MaxParallel > 0 && running >= f.MaxParallel {
				continue
			}
			if !r.mayStart(t) {
				r.stopItems(g)
				return true
			}
			running++
			r.start(t)
			changed = true
		}
	}
	if changed {
		return true // items that may start do so before the end of another group can keep them from it
	}
	for _, g := range r.tasks {
		if g.gate == engine.GateItems && g.state == engine.TaskWaiting && !slices.ContainsFunc(g.items, func(t *refTask) bool { return !t.state.Terminal() }) {
			r.endGroup(g)
			changed = true
		}
	}
	return changed // what follows from their ends comes after all of them
}

// asked is how many items there are that count for something.
func asked(g *refTask) int {
	return count(g.items, func(t *refTask) bool { return !t.off && (t.state != engine.TaskFailed || !t.mayFail) })
}

func (r *reference) stopItems(g *refTask) {
	g.noMore = true
	for _, t := range g.items {
		if !t.state.Terminal() {
			t.halted = true
			r.stop(t)
		}
	}
}

func (r *reference) endGroup(g *refTask) {
	good := count(g.items, func(t *refTask) bool { return t.state == engine.TaskCompleted })
	failed := slices.IndexFunc(g.items, func(t *refTask) bool { return t.state == engine.TaskFailed && !t.mayFail })
	switch {
	case g.late:
		r.judge(g, "TIMED_OUT", 0, engine.ClassTimeout)
	case good >= g.spec.FanOut.Needed(asked(g)):
		r.judge(g, "COMPLETED", 0, "")
	case !r.mayStart(g) && (r.stopping || failed < 0):
		g.begun = cmpOr(g.begun, &t0)
		r.drop(g)
	case failed >= 0:
		g.errorCode = g.items[failed].errorCode
		if first := g.items[failed]; first.class == engine.ClassTimeout {
			r.judge(g, "TIMED_OUT", 0, engine.ClassTimeout)
		} else {
			r.judge(g, "FAILED", first.code, engine.ClassUser)
		}
	default:
		r.judge(g, "FAILED", 0, engine.ClassUser)
	}
}

func cmpOr[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}

// quiet says that nothing is under way, nobody is asked and nothing is held.
func (r *reference) quiet() bool {
	under := slices.ContainsFunc(r.tasks, func(t *refTask) bool {
		return t.state == engine.TaskReady || t.live() || t.gate == engine.GateChild || t.gate == engine.GateSchedule || t.gate == engine.GateApproval
	})
	return !under && (!r.pausing || r.reopened && !r.held)
}

// cleanUp starts what waits for the end of everything else, or skips it when the job is tried again.
func (r *reference) cleanUp() (changed bool) {
	ordinary := slices.ContainsFunc(r.tasks, func(t *refTask) bool { return !t.state.Terminal() && !t.spec.AlwaysRun })
	if !ordinary && r.failing && !r.stopping {
		r.stopping, r.over = true, false
	}
	if ordinary && !r.failing || (ordinary || r.followed()) && !r.quiet() {
		return false
	}
	for _, t := range r.tasks {
		control, data := r.edges(t)
		last := len(control)+len(data) == 0 && !ordinary
		if t.state != engine.TaskBlocked || t.group != nil || t.asking || !last && !t.postponed {
			continue
		}
		if r.followed() {
			r.drop(t)
		} else {
			t.postponed = false
			r.enter(t)
		}
		changed = true
	}
	return changed
}

// followed says that another run would follow if this one ended now.
func (r *reference) followed() bool {
	return r.failing && !r.cancelled && !r.final && (r.retries < r.jobRetry || r.restart && r.retries < most(r.jobRetry, r.plan.RetryGiven))
}

func (r *reference) rest() {
	running := count(r.tasks, (*refTask).live)
	active := count(r.tasks, func(t *refTask) bool {
		return t.state == engine.TaskReady || t.live() || t.gate == engine.GateChild || t.gate == engine.GateSchedule
	})
	approvals := count(r.tasks, func(t *refTask) bool { return t.gate == engine.GateApproval })
	switch {
	case r.reopened && !r.held:
		r.pausing, r.auto = false, false
	case r.reopened || r.pausing && running == 0:
		r.state = engine.JobPaused
	case !r.pausing && !r.stopping && approvals > 0 && active == 0:
		r.state = engine.JobApproval
	}
	r.reopened = false
}

// Ends.

// state routes and exact codes.
func (r *reference) route(t *refTask, outcome string, code int) (targets []string, coded, ok bool) {
	keys := []string{outcome}
	if outcome == "COMPLETED" || outcome == "FAILED" && code != 0 {
		keys = []string{strconv.Itoa(code), outcome}
	}
	if outcome == "TIMED_OUT" {
		keys = append(keys, "FAILED")
	}
	for _, key := range append(keys, "*") {
		for _, route := range t.spec.Routes {
			if route.Key == key {
				return route.Targets, key == strconv.Itoa(code), true
			}
		}
	}
	return nil, false, false
}

func action(targets []string) string {
	if len(targets) == 1 && plan.IsAction(targets[0]) {
		return targets[0]
	}
	return ""
}

func repeating(action string) bool {
	return action == "RESTART_TASK" || action == "EXECUTING" || action == "PAUSE_JOB"
}

// tasksOf are the tasks that follow a state, code or no code.
func (r *reference) tasksOf(t *refTask, outcome string) []string {
	keys := []string{outcome, "*"}
	if outcome == "TIMED_OUT" {
		keys = []string{outcome, "FAILED", "*"}
	}
	for _, key := range keys {
		for _, route := range t.spec.Routes {
			if route.Key == key {
				if action(route.Targets) != "" {
					return nil
				}
				return route.Targets
			}
		}
	}
	return nil
}

// judge decides what follows from the way in which an attempt, a child or a group has ended.
func (r *reference) judge(t *refTask, outcome string, code int, class string) {
	targets, coded, _ := r.route(t, outcome, code)
	what := action(targets)
	if t.made || t.group != nil {
		affair := what != "" && (coded || repeating(what)) // of the items
		switch {
		case affair && t.group == nil:
			targets, what, coded = r.tasksOf(t, outcome), "", false
		case !affair && t.group != nil:
			targets, what = nil, ""
		}
	}
	t.code, t.class = code, class
	if !t.made {
		t.errorCode = ""
	}
	if outcome != "COMPLETED" && !t.made && r.tryAgain(t, outcome, code, class, coded) {
		return
	}
	switch {
	case what != "":
		r.act(t, what, outcome)
	case outcome == "COMPLETED":
		r.complete(t, targets)
	default:
		r.fail(t, outcome, targets, coded)
	}
}

func (r *reference) complete(t *refTask, targets []string) {
	t.taken = targets
	r.set(t, engine.TaskCompleted, "")
}

func (r *reference) fail(t *refTask, outcome string, targets []string, coded bool) {
	if t.errorCode == "" {
		t.errorCode = "ERR_TASK_EXECUTE"
		if outcome == "TIMED_OUT" {
			t.errorCode = "ERR_TASK_TIMED_OUT"
		}
	}
	branch := coded && len(targets) > 0
	if t.group == nil {
		t.taken, t.post = targets, len(targets) > 0 && !branch
		if allowed(t) && len(targets) == 0 {
			t.taken = r.tasksOf(t, "COMPLETED")
		}
		if !allowed(t) && !branch {
			r.failJob(t.errorCode)
		}
	}
	r.set(t, engine.TaskFailed, "")
}

func (r *reference) failJob(code string) {
	if !r.failing && !r.cancelled {
		r.code = code
	}
	r.failing = true
}

func (r *reference) tryAgain(t *refTask, outcome string, code int, class string, coded bool) bool {
	var rule *errorrule.Rule
	for i := range r.rules {
		if e := r.rules[i].ExitCode; rule == nil && (e == "*" || e == strconv.Itoa(code)) {
			rule = &r.rules[i]
			t.errorCode = rule.ErrorCode
		}
	}
	if coded {
		return false
	}
	if rule != nil && rule.Action != "" {
		return r.obey(t, rule, class)
	}
	if class == engine.ClassRejected || class == engine.ClassCancelled || class == engine.ClassInfra && t.spec.AtMostOnce || !r.mayStart(t) {
		return false
	}
	if !r.spend(t, class, code) {
		return false
	}
	r.later(t, t.spec.Backoff.Delay > 0)
	return true
}

func (r *reference) spend(t *refTask, class string, code int) bool {
	n, shared := t.spec.Budget(class, code)
	if shared {
		class = "retry"
	}
	if t.tries[class] >= n {
		return false
	}
	t.tries[class]++
	return true
}

// later starts a task again, after a delay when there is one and no pause.
func (r *reference) later(t *refTask, delay bool) {
	if !delay || r.pausing {
		r.start(t)
		return
	}
	r.set(t, engine.TaskWaiting, engine.GateSchedule)
	t.wakes = true
}

func (r *reference) obey(t *refTask, rule *errorrule.Rule, class string) bool {
	switch rule.Action {
	case errorrule.ActionRetryTask:
		most := rule.Retry
		if most == 0 {
			most = max(t.spec.Retry, 1)
		}
		if class == engine.ClassRejected || !r.mayStart(t) || t.tries["retry"] >= most {
			return false
		}
		t.tries["retry"]++
		r.later(t, t.spec.Backoff.Delay > 0)
	case errorrule.ActionSuspendJob:
		if !r.mayStart(t) || r.stopping {
			return false
		}
		r.pause(false)
		r.start(t)
	case errorrule.ActionRetryJob:
		if r.jobRetry = max(r.jobRetry, 1); rule.Retry > 0 {
			r.jobRetry = rule.Retry
		}
		r.refuse(t, rule.ErrorCode)
	default:
		r.final = true
		r.refuse(t, rule.ErrorCode)
	}
	return true
}

func (r *reference) refuse(t *refTask, code string) {
	t.errorCode = code
	r.failJob(code)
	r.set(t, engine.TaskFailed, "")
}

func (r *reference) pause(auto bool) {
	r.pausing, r.auto, r.reopened = true, auto, false
	for _, t := range r.tasks {
		if t.state == engine.TaskReady {
			r.start(t)
		}
	}
}

func (r *reference) act(t *refTask, what, outcome string) {
	switch what {
	case "COMPLETED":
		r.complete(t, r.tasksOf(t, "COMPLETED"))
	case "FAILED":
		r.fail(t, outcome, r.tasksOf(t, "FAILED"), false)
	case "FATAL":
		r.final = true
		r.refuse(t, "ERR_FATAL")
	case "RESTART_JOB":
		r.restart = true
		r.refuse(t, "ERR_RESTART_JOB")
	case "WAIT_FOR_APPROVAL":
		if !r.mayStart(t) {
			r.drop(t)
			return
		}
		t.accepted = outcome
		r.ask(t)
	case "RESTART_TASK", "EXECUTING", "PAUSE_JOB":
		r.repeat(t, what, outcome)
	default:
		r.refuse(t, what)
	}
}

func (r *reference) repeat(t *refTask, what, outcome string) {
	switch {
	case !r.mayStart(t) || t.made || t.class == engine.ClassRejected:
		r.fail(t, outcome, nil, false)
	case what == "PAUSE_JOB" && r.pauses >= plan.MaxRestarts, what == "RESTART_TASK" && t.tries["retry"] >= most(t.spec.Retry, t.spec.RetryGiven):
		if outcome == "COMPLETED" {
			outcome = "FAILED"
		}
		r.failFinally(t, outcome)
	case what == "PAUSE_JOB" && r.stopping:
		r.pauses++
		r.later(t, true)
	case what == "PAUSE_JOB":
		r.pauses++
		r.pause(true)
		r.start(t)
	case what == "RESTART_TASK":
		t.tries["retry"]++
		r.later(t, true)
	case what == "EXECUTING" && t.spec.Timeout > 0 && t.begun != nil && !r.now.Before(t.begun.Add(t.spec.Timeout)):
		t.class = engine.ClassTimeout
		r.failFinally(t, "TIMED_OUT")
	default:
		r.later(t, true)
	}
}

// failFinally ends a task that is not tried again, by the route for its state.
func (r *reference) failFinally(t *refTask, outcome string) {
	var targets []string
	for _, key := range []string{outcome, "FAILED", "*"} {
		i := slices.IndexFunc(t.spec.Routes, func(route plan.Route) bool { return route.Key == key })
		if i >= 0 {
			targets = t.spec.Routes[i].Targets
			break
		}
	}
	switch what := action(targets); {
	case t.group != nil || repeating(what) || what == "WAIT_FOR_APPROVAL" && t.gate == engine.GateApproval:
		r.fail(t, outcome, nil, false)
	case what != "":
		r.act(t, what, outcome)
	default:
		r.fail(t, outcome, targets, false)
	}
}

// joined ends a task whose children have ended.
func (r *reference) joined(t *refTask, c engine.Children) {
	switch {
	case c.Open > 0:
		r.set(t, engine.TaskWaiting, engine.GateChild)
	case c.Failed > 0:
		r.judge(t, "FAILED", 0, engine.ClassUser)
	default:
		r.judge(t, "COMPLETED", 0, "")
	}
}

// Events.

func (r *reference) dispatched(t *refTask) {
	t.attempts++
	r.set(t, engine.TaskDispatched, "")
	r.begin(t)
}

func (r *reference) ended(t *refTask, o engine.Outcome) {
	t.code, t.errorCode, t.class = o.ExitCode, "", o.FailureClass
	switch o.State {
	case engine.AttemptSucceeded:
		r.judge(t, "COMPLETED", o.ExitCode, "")
	case engine.AttemptTimedOut:
		r.judge(t, "TIMED_OUT", o.ExitCode, o.FailureClass)
	case engine.AttemptLost, engine.AttemptCancelled:
		switch {
		case !r.mayStart(t):
			r.drop(t)
		case !o.Claimed:
			r.start(t)
		case t.spec.AtMostOnce || !r.spend(t, engine.ClassInfra, 0):
			r.failFinally(t, "FAILED")
		default:
			r.later(t, true)
		}
	default:
		r.judge(t, "FAILED", o.ExitCode, o.FailureClass)
	}
	r.settle()
}

func (r *reference) child(t *refTask, state string) {
	if state == "COMPLETED" || t.fork != nil && !t.fork.Wait {
		r.judge(t, "COMPLETED", 0, "")
	} else {
		r.judge(t, "FAILED", 0, engine.ClassUser)
	}
	r.settle()
}

func (r *reference) refused(t *refTask) {
	r.judge(t, "FAILED", 0, engine.ClassRejected)
	r.settle()
}

func (r *reference) reopen() {
	if r.state == engine.JobApproval && !r.pausing {
		r.pausing, r.auto, r.reopened, r.held = true, true, true, false
	}
}

func (r *reference) voted(t *refTask, approve bool) {
	r.reopen()
	manual := t.accepted == ""
	outcome, first, second := t.accepted, "APPROVED", "COMPLETED"
	t.accepted, t.errorCode, t.class = "", "", ""
	if manual {
		outcome = "COMPLETED"
	}
	if !approve {
		outcome, first, second, t.errorCode = "FAILED", "REJECTED", "FAILED", "ERR_MANUAL_REJECTION"
	}
	keys := []string{first, second, "*"}
	if manual && approve {
		keys = []string{first, "0", second, "*"}
	}
	var targets []string
	for _, key := range keys {
		i := slices.IndexFunc(t.spec.Routes, func(route plan.Route) bool { return route.Key == key })
		if i >= 0 {
			targets = t.spec.Routes[i].Targets
			break
		}
	}
	what := action(targets)
	if what == "WAIT_FOR_APPROVAL" {
		targets, what = nil, ""
	}
	switch {
	case what != "":
		r.act(t, what, outcome)
	case approve:
		r.complete(t, targets)
	default:
		r.fail(t, outcome, targets, false)
	}
	r.settle()
}

func (r *reference) wake(t *refTask) {
	switch {
	case t.waiting:
		r.judge(t, "COMPLETED", 0, "")
	case t.gate != engine.GateApproval:
		r.start(t)
	case t.spec.Approval.TimeoutAction == plan.AutoApprove:
		r.voted(t, true)
		return
	case t.spec.Approval.TimeoutAction == plan.AutoReject:
		r.voted(t, false)
		return
	default:
		t.wakes = false
	}
	r.settle()
}

func (r *reference) overdue(t *refTask) {
	r.reopen()
	if t.gate == engine.GateItems {
		t.late = true
		r.stopItems(t)
	} else {
		t.code, t.errorCode, t.class = 0, "", engine.ClassTimeout
		if limit := t.spec.Timeout; limit > 0 && t.gate == engine.GateChild && !r.now.Before(t.since.Add(limit)) {
			r.judge(t, "TIMED_OUT", 0, engine.ClassTimeout)
		} else {
			r.failFinally(t, "TIMED_OUT")
		}
	}
	r.settle()
}

// wind stops everything but clean-up.
func (r *reference) wind() {
	waits := r.state == engine.JobPaused || r.state == engine.JobApproval
	r.over = r.over && r.stopping && !waits
	r.stopping, r.pausing = true, false
	if waits {
		r.state = engine.JobExecuting
	}
	for _, t := range r.tasks {
		switch {
		case !t.spec.AlwaysRun:
			r.stop(t)
		case t.state.Terminal():
		case !r.mayStart(t) && !t.live():
			r.stop(t)
		case t.gate == engine.GatePause:
			r.start(t)
		}
	}
	r.settle()
}

func (r *reference) cancel() {
	if r.state.Terminal() || r.cancelled {
		return
	}
	r.cancelled, r.code = true, "ERR_JOB_CANCELLED"
	r.wind()
}

func (r *reference) deadline() {
	if r.stopping {
		r.over = true
		for _, t := range r.tasks {
			r.stop(t)
		}
		r.settle()
		return
	}
	r.failJob("ERR_JOB_TIMEOUT")
	r.wind()
}

func (r *reference) pauseEvent() {
	if r.state.Terminal() || r.pausing || r.stopping {
		return
	}
	r.pause(false)
	r.settle()
}

func (r *reference) resume() {
	if r.state.Terminal() || !r.pausing {
		return
	}
	r.pausing, r.auto = false, false
	if r.state == engine.JobPaused {
		r.over = false
		if r.state = engine.JobExecuting; !r.started {
			r.state = engine.JobReady
		}
	}
	for _, t := range slices.Clone(r.tasks) {
		if t.gate == engine.GatePause && t.state == engine.TaskWaiting {
			r.start(t)
		}
	}
	r.settle()
}
