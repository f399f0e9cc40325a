// Package rehearse plays a job through the engine without running anything: a script says how tasks end, time passes as
// fast as it is waited for. It is how a definition is tested: `formicary job test` calls it, so it stands outside of
// internal; nothing of the engine is to be seen from there.
package rehearse

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/condition"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/jobspec/value"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
)

// Fake is how an attempt of a task ends. The zero value succeeds.
type Fake struct {
	// ExitCode of the process, or the HTTP status; other than 0, and not below 400 for HTTP methods, is a failure.
	ExitCode int
	// Outputs that later tasks see, and the Body that is the result of an HTTP method.
	Outputs map[string]string
	Body    string
	// Message of a failure.
	Message string
	// TimedOut and Lost are the other ways to end.
	TimedOut bool
	Lost     bool
	// Vote decides a task that waits for approval: APPROVED (also when empty) or REJECTED.
	Vote string
	// Child is the state in which a forked job ends: COMPLETED (also when empty), FAILED or CANCELLED.
	Child string
}

// Script says how an attempt ends: of the task by that name, which for an item of a fan-out is one of the group.
type Script func(task, group string, attempt int) Fake

// Result is what became of the job.
type Result struct {
	State        string
	ErrorCode    string
	ErrorMessage string
	// Runs of the job: more than one after retries and RESTART_JOB.
	Runs int
	// Took is the time that passed, each attempt taking a second.
	Took time.Duration
	// Tasks of the last run by name, items of fan-outs included.
	Tasks map[string]Task
	// Outputs of all tasks of the last run together.
	Outputs map[string]string
	// Steps tell what happened, one line each.
	Steps []string
}

// Task is how a task ended.
type Task struct {
	State    string
	Attempts int
	ExitCode int
}

// Bounds of a rehearsal, against sensors whose script never changes its answer.
const (
	maxEvents = 200_000
	maxRuns   = 2 * plan.MaxRestarts
	maxSteps  = 2_000
)

// player plays one job.
type player struct {
	def    *jobspec.Definition
	plan   *plan.Plan
	script Script
	state  *engine.State
	before *engine.State // the run before
	now    time.Time
	tries  map[string]int
	forked map[int]Fake // children that nobody has waited for yet
	steps  []string
	events int
}

// Play runs the job to its end. vars are the parameters and what else templates see. Errors are those of the plan, and
// jobs that never end.
func Play(def *jobspec.Definition, vars value.Vars, script Script) (*Result, error) {
	vars = maps.Clone(vars)
	builtIn(vars, def)
	plan, err := def.Plan(vars)
	if err != nil {
		return nil, err
	}
	p := &player{def: def, plan: plan, script: script, now: start(), tries: map[string]int{}}
	if plan.Skip {
		return &Result{State: string(engine.JobSkipped), Tasks: map[string]Task{}, Outputs: map[string]string{}, Steps: []string{"skip_if holds"}}, nil
	}
	begin := engine.Begin{Run: 1, Plan: plan}
	for ; begin.Run <= maxRuns; begin.Run++ {
		p.before = p.state
		if err := p.run(begin); err != nil {
			return nil, err
		}
		j := &p.state.Job
		p.say("the job is %s", strings.TrimSpace(string(j.State)+" "+j.ErrorCode))
		if j.RestartAt == nil {
			return p.result(begin.Run), nil
		}
		begin.Retries++
		begin.Pauses = j.Policy.Pauses
		begin.Reuse, begin.ReuseRun = nil, 0
		if j.RestartSoft {
			begin.Reuse, begin.ReuseRun = p.reuse(), begin.Run
		}
		p.now = *j.RestartAt
	}
	return nil, fmt.Errorf("the job restarts itself %d times and does not end", maxRuns)
}

// start is the time of every rehearsal.
func start() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

func builtIn(vars value.Vars, def *jobspec.Definition) {
	known := value.Vars{
		"JobID": uuid.Nil.String(), "JobType": def.JobType, "UserID": "tester", "OrganizationID": "default", "WorkflowVersion": int64(1),
		"JobElapsedSecs": int64(0), "DateYear": int64(2026), "DateMonth": int64(1), "DateDay": int64(1), "YearDay": int64(1),
		"FullDate": "2026-01-01", "EpochSecs": int64(1767225600),
	}
	for name, v := range known {
		if _, given := vars[name]; !given {
			vars[name] = v
		}
	}
	vars["JobRetry"] = int64(0)
}

// run plays one run.
func (p *player) run(begin engine.Begin) error {
	p.forked = map[int]Fake{}
	p.state = engine.New(begin, p.now)
	if err := p.settle(); err != nil {
		return err
	}
	for !p.state.Job.State.Terminal() {
		if p.events++; p.events > maxEvents {
			return fmt.Errorf("the job does not end: after %d events these tasks are open: %v", maxEvents, p.open())
		}
		if !p.next() {
			return fmt.Errorf("the job stands still: these tasks are open: %v", p.open())
		}
		if err := p.settle(); err != nil {
			return err
		}
	}
	return nil
}

func (p *player) open() []string {
	var names []string
	for _, i := range p.order() {
		if t := p.state.Tasks[i]; !t.State.Terminal() && len(names) < 10 {
			names = append(names, t.Name()+" "+string(t.State))
		}
	}
	return names
}

func (p *player) order() []int { return slices.Sorted(maps.Keys(p.state.Tasks)) }

// next lets the first thing happen that can: what runs is stopped or ends, votes and children come, else time passes.
func (p *player) next() bool {
	s := p.state
	if s.Job.State == engine.JobPaused {
		p.say("the job is paused and goes on")
		s.Resume(p.now)
		return true
	}
	for _, i := range p.order() {
		t := s.Tasks[i]
		switch {
		case t.State == engine.TaskReady:
			s.Dispatched([]int{i}, p.now)
			t.State = engine.TaskRunning // claimed at once
			s.TaskEnded(i, p.attempt(t), p.now)
			p.say("%s", told(t))
			return true
		case t.State == engine.TaskWaiting && t.WaitGate == engine.GateApproval:
			p.vote(t)
			return true
		case t.State == engine.TaskWaiting && t.WaitGate == engine.GateChild:
			p.child(t)
			return true
		}
	}
	return p.pass()
}

// attempt is the end of a task's newest attempt.
func (p *player) attempt(t *engine.Task) engine.Outcome {
	f := p.fake(t)
	o := engine.Outcome{
		State: engine.AttemptSucceeded, Claimed: true, ExitCode: f.ExitCode, Message: f.Message, Outputs: f.Outputs, Body: f.Body,
		NotBefore: p.now, Random: 0.5,
	}
	failed := f.ExitCode != 0
	if strings.HasPrefix(t.Method(), "HTTP_") {
		failed = f.ExitCode >= 400
	}
	switch {
	case f.TimedOut:
		o.State, o.FailureClass = engine.AttemptTimedOut, engine.ClassTimeout
		p.now = p.now.Add(t.Spec.Timeout)
	case f.Lost:
		o.State, o.FailureClass = engine.AttemptLost, engine.ClassInfra
	case failed:
		o.State, o.FailureClass = engine.AttemptFailed, engine.ClassUser
	}
	p.now = p.now.Add(time.Second)
	return o
}

// fake asks the script about the next attempt of a task.
func (p *player) fake(t *engine.Task) Fake {
	p.tries[t.Name()]++
	return p.script(t.Name(), t.Spec.Name, p.tries[t.Name()])
}

func (p *player) vote(t *engine.Task) {
	f := p.fake(t)
	if f.TimedOut {
		p.late(t)
		return
	}
	outcome := f.Vote
	if outcome == "" {
		outcome = plan.OutcomeApproved
	}
	p.say("%s is %s", t.Name(), outcome)
	p.state.Voted(t.Idx, t.Round, outcome, "by the script", f.Outputs, p.now)
}

// late lets the time pass that a task has for what it waits for.
func (p *player) late(t *engine.Task) {
	if limit := t.Limit(); limit != nil {
		p.now = later(p.now, limit.At)
	}
	p.say("%s takes too long", t.Name())
	p.state.TaskOverdue(t.Idx, engine.Outcome{
		State: engine.AttemptTimedOut, FailureClass: engine.ClassTimeout, Message: "it did not end in time", Random: 0.5,
	}, p.now)
}

// child lets the child of a task be submitted, then end.
func (p *player) child(t *engine.Task) {
	switch {
	case t.Method() == plan.MethodAwaitForkedJob:
		p.state.Children(t.Idx, p.children(t), p.now)
	case t.Fork == nil: // a chore
		p.state.ChildEnded(t.Idx, t.Round, engine.ChildOutcome{State: string(engine.JobCompleted)}, p.now)
	case t.ChildID == "":
		id := uuid.NewSHA1(uuid.Nil, []byte(t.Name())).String()
		p.say("%s forks %s", t.Name(), strings.TrimSpace(t.Fork.JobType+" "+t.Fork.Version))
		if !t.Fork.Wait {
			p.forked[t.Idx] = p.fake(t)
		}
		p.state.Submitted(t.Idx, t.Round, id, p.now)
	default:
		f := p.fake(t)
		if f.TimedOut {
			p.late(t)
			return
		}
		o := ended(f)
		p.say("the job of %s is %s", t.Name(), o.State)
		p.state.ChildEnded(t.Idx, t.Round, o, p.now)
	}
}

func ended(f Fake) engine.ChildOutcome {
	o := engine.ChildOutcome{State: f.Child, ExitCode: f.ExitCode, Message: f.Message, Outputs: f.Outputs}
	if o.State == "" {
		o.State = string(engine.JobCompleted)
		if f.ExitCode != 0 {
			o.State = string(engine.JobFailed)
		}
	}
	return o
}

// children is how the children stand that a task awaits: they have all ended.
func (p *player) children(t *engine.Task) engine.Children {
	c := engine.Children{Outputs: map[string]string{}}
	for _, i := range p.order() {
		f, ok := p.forked[i]
		fork := p.state.Tasks[i]
		if !ok || !slices.Contains(t.Spec.AwaitForkedTasks, fork.Spec.Name) {
			continue
		}
		o := ended(f)
		c.Outputs[plan.StatusVar(fork.Spec.Name)] = o.State
		if !fork.IsItem() {
			maps.Copy(c.Outputs, fork.Fork.Given(o.Outputs))
		}
		if o.State != string(engine.JobCompleted) {
			c.Failed++
			if c.Message == "" {
				c.Message, c.ExitCode = fmt.Sprintf("the job of %s is %s", fork.Name(), o.State), o.ExitCode
			}
		}
	}
	return c
}

// pass lets time pass to the next timer.
func (p *player) pass() bool {
	var at *time.Time
	idx := -1
	for _, i := range p.order() {
		if t := p.state.Tasks[i]; t.State == engine.TaskWaiting && t.WakeAt != nil && (at == nil || t.WakeAt.Before(*at)) {
			at, idx = t.WakeAt, i
		}
	}
	if d := p.state.Job.DeadlineAt; d != nil && (at == nil || d.Before(*at)) {
		p.now = later(p.now, *d)
		p.say("the job's time is over")
		p.state.Deadline("", p.now)
		return true
	}
	if at == nil {
		return false
	}
	p.now = later(p.now, *at)
	if t := p.state.Tasks[idx]; t.Method() == plan.MethodWait {
		p.say("%s has waited", t.Name())
	}
	p.state.Wake(idx, p.now)
	return true
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// settle answers what the engine needs until the step is complete. Everything is loaded at all times.
func (p *player) settle() error {
	s := p.state
	for need := s.Need(); !need.Empty(); need = s.Need() {
		for _, i := range need.Out {
			s.Out[i] = nil // an item, which has none
		}
		for _, g := range need.Items {
			if s.ItemsLoaded == nil {
				s.ItemsLoaded = map[int]bool{}
			}
			s.ItemsLoaded[g] = true
		}
		for _, g := range need.Results {
			if s.Results == nil {
				s.Results = map[int][]plan.ItemResult{}
			}
			s.Results[g] = p.results(s.Tasks[g])
		}
		for _, i := range need.Decide {
			s.Decide(i, p.decide(s.Tasks[i]))
		}
		for _, i := range need.Kept {
			s.Keep(i, p.kept(s.Tasks[i].Spec.Name))
		}
		for _, i := range need.Children {
			s.Children(i, p.children(s.Tasks[i]), p.now)
		}
		s.AllOpen, s.TrailingLoaded = true, true
		if p.events++; p.events > maxEvents {
			return fmt.Errorf("a step does not end after %d rounds", maxEvents)
		}
		s.Continue(p.now)
	}
	return nil
}

func (p *player) results(group *engine.Task) []plan.ItemResult {
	out := make([]plan.ItemResult, 0, group.Items.Total)
	for i := range group.Items.Total {
		out = append(out, p.state.Tasks[group.Items.First+i].ItemResult())
	}
	return out
}

func (p *player) decide(t *engine.Task) *plan.Decision {
	facts := condition.Facts{Vars: p.vars(), Tasks: map[string]condition.TaskFact{}}
	facts.Vars["TaskType"], facts.Vars["TaskRetry"] = t.Spec.Name, int64(t.Tries())
	for _, i := range p.order() {
		if o := p.state.Tasks[i]; o.State.Terminal() && !o.IsItem() {
			facts.Tasks[o.Name()] = condition.TaskFact{
				State: string(o.State), ExitCode: o.ExitCode, FailureClass: o.FailureClass, Message: o.Message, Outputs: o.Outputs, Result: o.Result,
			}
		}
	}
	var d *plan.Decision
	var err error
	if t.IsItem() {
		d, err = p.def.DecideItem(t.Spec.Name, plan.Item{Name: t.ItemName, Value: t.ItemValue}, t.Item, facts.Vars, facts)
	} else {
		d, err = p.def.Decide(t.Spec.Name, facts.Vars, facts)
	}
	if err != nil {
		return &plan.Decision{Fault: err.Error()}
	}
	return d
}

// vars are those of the run with the outputs of what has ended.
func (p *player) vars() value.Vars {
	vars := maps.Clone(p.plan.Vars)
	vars["JobRetry"] = int64(p.state.Job.Retries + p.state.Job.Policy.Pauses)
	for k, v := range p.outputs() {
		vars[k] = v
	}
	template.SetJob(vars, p.state.Job.Outlook())
	return vars
}

func (p *player) outputs() map[string]string {
	done := slices.DeleteFunc(p.order(), func(i int) bool {
		t := p.state.Tasks[i]
		return !t.State.Gives() || t.EndedAt == nil || t.IsItem()
	})
	slices.SortStableFunc(done, func(a, b int) int { return p.state.Tasks[a].EndedAt.Compare(*p.state.Tasks[b].EndedAt) })
	out := map[string]string{}
	for _, i := range done {
		maps.Copy(out, p.state.Tasks[i].Outputs)
	}
	return out
}

func (p *player) reuse() map[string]engine.Reused {
	kept := map[string]engine.Reused{}
	for _, t := range p.state.Tasks {
		if t.State == engine.TaskCompleted && !t.IsItem() {
			kept[t.Name()] = engine.Reused{ExitCode: t.ExitCode, Outputs: t.Outputs, Result: t.Result}
		}
	}
	return kept
}

// kept are the items of a fan-out that completed in the run before.
func (p *player) kept(group string) map[string]engine.Kept {
	kept := map[string]engine.Kept{}
	for _, t := range p.before.Tasks {
		if t.IsItem() && t.Spec.Name == group && t.State == engine.TaskCompleted {
			kept[t.ItemName] = engine.Kept{Value: t.ItemValue, Reused: engine.Reused{ExitCode: t.ExitCode, Outputs: t.Outputs, Result: t.Result}}
		}
	}
	return kept
}

func (p *player) result(runs int) *Result {
	j := &p.state.Job
	r := &Result{
		State: string(j.State), ErrorCode: j.ErrorCode, ErrorMessage: j.ErrorMessage, Runs: runs, Took: p.now.Sub(start()),
		Tasks: make(map[string]Task, len(p.state.Tasks)), Outputs: p.outputs(), Steps: p.steps,
	}
	for _, t := range p.state.Tasks {
		r.Tasks[t.Name()] = Task{State: string(t.State), Attempts: t.Attempts, ExitCode: t.ExitCode}
	}
	return r
}

// told says how a task stands after an attempt.
func told(t *engine.Task) string {
	s := fmt.Sprintf("%s attempt %d: exit code %d, %s", t.Name(), t.Attempts, t.ExitCode, t.State)
	switch {
	case t.WaitReason != "":
		s += ", " + t.WaitReason
	case t.State == engine.TaskFailed && t.Message != "":
		s += ": " + t.Message
	}
	return s
}

func (p *player) say(format string, args ...any) {
	if len(p.steps) < maxSteps {
		p.steps = append(p.steps, fmt.Sprintf(format, args...))
	}
}
