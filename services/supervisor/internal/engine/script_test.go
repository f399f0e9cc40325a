package engine_test

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/formicary/formicary/libs/jobspec/errorrule"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
)

// sketch is a definition in short.
type sketch struct {
	engine.Begin
	decisions map[string]*plan.Decision
	kept      map[string][]int
}

// draw reads lines "name key=value …". Of tasks:
//
//	c= f= t= ok= no=   what follows on COMPLETED, FAILED, TIMED_OUT, APPROVED and REJECTED: tasks or an action
//	x:KEY=             what follows on a code
//	dep= need=         dependencies, depends_on
//	always allow once skip again           flags
//	retry=N delay=D on=CODES oom=N timeouts=N infra=N total=D timeout=D grace=D     retries, retry_on, timeouts
//	off except may fault                       what is decided when it is about to start
//	manual sla=approve|reject|escalate     approvals
//	fork fork=nowait await= chore          children
//	wait=D                                 a task that waits
//	items=N offs=PLACE,… mays=PLACE,… faults=PLACE,… max=N ff min=N pct=N jobs      a fan-out
//	out=NAME script=TEXT                   a declared output, a script
//
// The line "job" has: pauses= (before this run) retry= ff hard= timeout= retries= from= reuse= left pending= total= (runs
// together), kept=GROUP:PLACE,… (items), and platform= and rule=CODE:ERR[:ACTION[:RETRY[:PLATFORM]]].
func draw(lines ...string) *sketch {
	d := &sketch{decisions: map[string]*plan.Decision{}, kept: map[string][]int{}}
	d.Run = 1
	d.Plan = &plan.Plan{JobType: "job", Timeout: time.Hour, CleanupTimeout: 5 * time.Minute, PauseTime: time.Minute}
	for _, line := range lines {
		words := strings.Fields(line)
		if words[0] == "job" {
			for _, w := range words[1:] {
				d.jobWord(w)
			}
			continue
		}
		t := plan.Task{Name: words[0], Method: "SHELL", Slots: 1, Timeout: time.Minute, WaitBounded: true}
		for _, w := range words[1:] {
			d.taskWord(&t, w)
		}
		d.Plan.Tasks = append(d.Plan.Tasks, t)
	}
	return d
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

func span(s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		panic(err)
	}
	return d
}

func (d *sketch) jobWord(w string) {
	key, value, _ := strings.Cut(w, "=")
	p := d.Plan
	switch key {
	case "ff":
		p.FailFast = true
	case "retry":
		p.Retry, p.RetryGiven = number(value), true
	case "hard":
		p.HardResetAfterRetries = number(value)
	case "retries":
		d.Retries, d.Run = number(value), number(value)+1
	case "timeout":
		p.Timeout = span(value)
	case "left": // clean-up, by the run before
		d.Before = &engine.Before{Code: "ERR_BEFORE", Message: "no", Left: true}
	case "pending":
		p.PendingTimeout = span(value)
	case "pauses":
		d.Pauses = number(value)
	case "total":
		at := t0.Add(span(value))
		d.ReqTotalDeadline = &at
	case "from":
		d.From = value
	case "reuse":
		d.Reuse, d.ReuseRun = map[string]engine.Reused{}, 1
		for name := range strings.SplitSeq(value, ",") {
			d.Reuse[name] = engine.Reused{Outputs: map[string]string{"from": "before"}}
		}
	case "kept":
		d.ReuseRun = 1
		name, places, _ := strings.Cut(value, ":")
		for place := range strings.SplitSeq(places, ",") {
			d.kept[name] = append(d.kept[name], number(place))
		}
	case "platform":
		p.Platform = value
	case "rule":
		parts := append(strings.Split(value, ":"), "", "", "")
		r := errorrule.Rule{ExitCode: parts[0], ErrorCode: parts[1], Action: parts[2], Platform: parts[4], Message: "because of the rule"}
		if parts[3] != "" {
			r.Retry = number(parts[3])
		}
		d.Rules = append(d.Rules, r)
	default:
		panic(w)
	}
}

func (d *sketch) taskWord(t *plan.Task, w string) {
	key, value, _ := strings.Cut(w, "=")
	list := strings.Split(value, ",")
	states := map[string]string{"c": "COMPLETED", "f": "FAILED", "t": "TIMED_OUT", "ok": "APPROVED", "no": "REJECTED"}
	decision := func() *plan.Decision {
		t.Decide = true
		if d.decisions[t.Name] == nil {
			d.decisions[t.Name] = &plan.Decision{}
		}
		return d.decisions[t.Name]
	}
	switch {
	case states[key] != "":
		r := plan.Route{Key: states[key], Targets: list}
		if key == "t" || key == "ok" || key == "no" { // before FAILED
			t.Routes = append([]plan.Route{r}, t.Routes...)
			return
		}
		t.Routes = append(t.Routes, r)
	case key == "x:*":
		t.Routes = append(t.Routes, plan.Route{Key: "*", Targets: list})
	case strings.HasPrefix(key, "x:"):
		t.Routes = append([]plan.Route{{Key: key[2:], Targets: list}}, t.Routes...)
	case key == "off":
		decision().Off = true
	case key == "except":
		decision().Skip = true
	case key == "fault":
		decision().Fault = "no such variable"
	case key == "items":
		decision().Items = items(t.Name, number(value))
		d.fan(t)
	case key == "offs": // after items
		for _, place := range list {
			decision().Items[number(place)].Off = true
		}
	case key == "faults": // after items
		for _, place := range list {
			decision().Items[number(place)].Fault = "no time to wait"
		}
	case key == "may":
		decision().AllowFailure = true
	case key == "mays": // after items
		for _, place := range list {
			decision().Items[number(place)].AllowFailure = true
		}
	default:
		d.flag(t, key, value, list)
	}
}

// items are the first n items of a fan-out.
func items(name string, n int) []plan.Item {
	list := make([]plan.Item, n)
	for i := range list {
		list[i] = plan.Item{Name: fmt.Sprintf("%s[%d]", name, i), Value: i}
	}
	return list
}

func (d *sketch) fan(t *plan.Task) *plan.FanOut {
	if t.FanOut == nil {
		t.FanOut = &plan.FanOut{ItemVar: "item", Source: "list"}
	}
	return t.FanOut
}

func (d *sketch) retryOn(t *plan.Task) *plan.RetryOn {
	if t.RetryOn == nil {
		t.RetryOn = &plan.RetryOn{Infra: plan.Budget{Own: plan.DefaultInfra}}
	}
	return t.RetryOn
}

func (d *sketch) flag(t *plan.Task, key, value string, list []string) {
	switch key {
	case "dep":
		t.DependsOn = append(t.DependsOn, list...)
	case "need":
		t.DependsOn, t.Requires = append(t.DependsOn, list...), list
	case "always":
		t.AlwaysRun = true
	case "allow":
		t.AllowFailure = true
	case "once":
		t.AtMostOnce = true
	case "skip":
		t.Skip = true
	case "again":
		t.AllowStartIfCompleted = true
	case "retry":
		t.Retry, t.RetryGiven = number(value), true
	case "delay":
		t.Backoff.Delay = span(value)
	case "total":
		t.TotalTimeout = span(value)
	case "timeout":
		t.Timeout = span(value)
	case "grace":
		t.Grace = span(value)
	case "on":
		d.retryOn(t).Codes = list
	case "oom":
		d.retryOn(t).OOM.Own = number(value)
	case "timeouts":
		d.retryOn(t).Timeout.Own = number(value)
	case "infra":
		d.retryOn(t).Infra.Own = number(value)
	case "manual":
		t.Method = plan.MethodManual
	case "sla":
		t.Approval = &plan.Approval{MinApprovals: 1, SLA: time.Hour, TimeoutAction: map[string]string{
			"approve": plan.AutoApprove, "reject": plan.AutoReject, "escalate": plan.Escalate,
		}[value]}
	case "fork":
		t.Method = plan.MethodForkJob
		t.Fork = &plan.Fork{JobType: "child", Wait: value != "nowait", Outputs: []plan.OutputName{{Name: "out", As: "mapped"}}}
	case "await":
		t.Method, t.AwaitForkedTasks = plan.MethodAwaitForkedJob, list
	case "wait":
		t.Method, t.Timeout, t.Wait = plan.MethodWait, 0, span(value)
	case "chore":
		t.Method = plan.MethodExpireArtifacts
	case "jobs":
		t.Method, t.Fork = plan.MethodForkJob, &plan.Fork{JobType: "child"}
	case "max":
		d.fan(t).MaxParallel = number(value)
	case "ff":
		d.fan(t).FailFast = true
	case "min":
		d.fan(t).MinSuccess = number(value)
	case "pct":
		d.fan(t).MinSuccessPercent = number(value)
	case "out":
		t.Outputs = []plan.Output{{Name: value, Type: "string", Required: true}}
	default:
		panic(key)
	}
}

// decide is what the definition says about a task that is about to start.
func (d *sketch) decide(t *engine.Task) *plan.Decision {
	if t.IsItem() {
		return &plan.Decision{Fork: &plan.Fork{JobType: "child", Wait: true}}
	}
	if known := d.decisions[t.Spec.Name]; known != nil {
		return known
	}
	return &plan.Decision{}
}

// actor plays a script.
type actor struct {
	*world
	ends map[string][]string
	used map[string]int
	ran  []string // names of the tasks in the order in which their attempts ended
}

func play(t fataler, d *sketch, script string, whole bool) *actor {
	t.Helper()
	a := &actor{world: begin(t, d.Begin, d.decide, d.kept), ends: map[string][]string{}, used: map[string]int{}}
	a.whole = whole
	stop := false
	words := strings.Fields(script)
	for _, w := range words {
		if name, ends, ok := strings.Cut(w, "="); ok {
			a.ends[name] = strings.Split(ends, ",")
		}
	}
	for _, w := range words {
		stop = w == "stop"
		a.word(w)
	}
	if !stop {
		a.run()
	}
	return a
}

// word plays one word of a script: "name=end,end" says how the attempts, children or votes of a task end (the last one
// repeats), ">name" dispatches it, "!name" ends it, "." goes on until nothing is left to do, and the other words are
// events of the job. A script without "stop" at its end goes on in the end.
func (a *actor) word(w string) {
	a.t.Helper()
	switch {
	case strings.Contains(w, "=") || w == "stop":
	case w == ".":
		a.run()
	case w == "cancel":
		a.cancel()
	case w == "pause":
		a.pause()
	case w == "resume":
		a.resume()
	case w == "deadline":
		a.deadline()
	case w[0] == '>':
		a.dispatch(a.named(w[1:]))
		a.claim(a.named(w[1:]))
	case w[0] == '~': // dispatched and not claimed
		a.dispatch(a.named(w[1:]))
	case w[0] == '!':
		a.finishTask(a.named(w[1:]))
	case w[0] == '@':
		a.wake(a.named(w[1:]))
	case w[0] == '#':
		a.overdue(a.named(w[1:]))
		a.tell()
	case w[0] == '$': // the child of a fork that did not wait ends
		a.forked[w[1:]] = cmp.Or(a.next(w[1:]), "COMPLETED")
		a.tell()
	default:
		panic(w)
	}
}

// next is how the task ends this time.
func (a *actor) next(name string) string {
	ends := a.ends[name]
	if len(ends) == 0 {
		return ""
	}
	i := min(a.used[name], len(ends)-1)
	a.used[name]++
	return ends[i]
}

// finishTask ends what a task does now; it says whether there was anything to end.
func (a *actor) finishTask(i int) bool {
	a.t.Helper()
	t := a.tasks[i]
	switch {
	case t.State == engine.TaskReady:
		a.dispatch(i)
		a.claim(i)
		a.finishTask(i)
	case t.State == engine.TaskDispatched || t.State == engine.TaskRunning:
		a.ran = append(a.ran, t.Name())
		end := a.next(t.Name())
		if a.stops[i] && end == "" {
			end = "cancelled"
		}
		a.end(i, outcome(end, t.State == engine.TaskRunning, a.now))
	case t.WaitGate == engine.GateChild && t.Method() != plan.MethodAwaitForkedJob:
		return a.finishChild(i, &t)
	case t.WaitGate == engine.GateApproval:
		vote := a.next(t.Name())
		if vote == "" || vote == "wait" {
			return false
		}
		a.vote(i, t.Round, map[string]string{"yes": plan.OutcomeApproved, "no": plan.OutcomeRejected}[vote])
	default:
		return false
	}
	return true
}

func (a *actor) finishChild(i int, t *engine.Task) bool {
	switch end := a.next(t.Name()); end {
	case "refused":
		a.refused(i, t.Round)
	case "never":
		return false
	default:
		fresh := t.Fork != nil && t.ChildID == ""
		if fresh {
			a.submitted(i, t.Round)
		}
		if end == "" {
			end = "COMPLETED"
		}
		if end == "open" {
			return fresh
		}
		if t.Fork != nil && !t.Fork.Wait {
			a.forked[t.Name()] = end
		} else {
			a.childEnded(i, t.Round, end)
		}
		a.tell()
	}
	return true
}

// outcome reads a code or a word.
func outcome(end string, claimed bool, now time.Time) engine.Outcome {
	o := engine.Outcome{State: engine.AttemptFailed, Claimed: claimed, FailureClass: engine.ClassUser, Message: "it broke", NotBefore: now.Add(35 * time.Second)}
	switch end {
	case "", "0":
		return engine.Outcome{State: engine.AttemptSucceeded, Claimed: claimed, Outputs: map[string]string{"made": "yes"}}
	case "timeout":
		o.State, o.FailureClass = engine.AttemptTimedOut, engine.ClassTimeout
	case "oom":
		o.FailureClass, o.ExitCode = engine.ClassOOM, 137
	case "infra":
		o.FailureClass = engine.ClassInfra
	case "rejected":
		o.FailureClass = engine.ClassRejected
	case "lost":
		o.State, o.FailureClass = engine.AttemptLost, engine.ClassInfra
	case "unclaimed":
		o.State, o.FailureClass, o.Claimed = engine.AttemptLost, engine.ClassInfra, false
	case "cancelled":
		o.State, o.FailureClass = engine.AttemptCancelled, engine.ClassCancelled
	default:
		o.ExitCode = number(end)
	}
	return o
}

// run goes on until nothing is left to do.
func (a *actor) run() {
	a.t.Helper()
	for range 5000 {
		busy := false
		for _, i := range a.in(engine.TaskReady) {
			a.dispatch(i)
			a.claim(i)
		}
		for _, i := range a.in(engine.TaskDispatched, engine.TaskRunning, engine.TaskWaiting) {
			busy = a.finishTask(i) || busy
		}
		for _, i := range a.gated(engine.GateSchedule) {
			a.wake(i)
			busy = true
		}
		if at := a.job.ResumeAt; a.job.State == engine.JobPaused && at != nil && !at.After(a.now) {
			a.resume()
			busy = true
		}
		if !busy {
			return
		}
	}
	a.t.Fatalf("the job does not end: %+v", a.job)
}

// states shows the tasks in order by the first letters of their states, CANCELLED as X; items follow their group.
func (a *actor) states() string {
	letter := func(t *engine.Task) string {
		if t.State == engine.TaskCancelled {
			return "X"
		}
		return string(t.State[:1])
	}
	var words []string
	for i := range len(a.tasks) {
		t := a.tasks[i]
		if t.IsItem() {
			continue
		}
		word := t.Name() + ":" + letter(&t)
		if t.Items != nil {
			word += "["
			for k := range t.Items.Total {
				item := a.tasks[t.Items.First+k]
				word += letter(&item)
			}
			word += "]"
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}
