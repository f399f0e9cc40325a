package engine

import (
	"slices"
	"time"

	"github.com/formicary/formicary/libs/jobspec/errorrule"
	"github.com/formicary/formicary/libs/jobspec/plan"
)

// Begin is what a run begins with.
type Begin struct {
	// Run is its number, Retries the automatic retries of the job before it.
	Run     int
	Retries int
	// Pauses are those of earlier runs: how often the job paused itself. Before see Policy.
	Pauses int
	Before *Before
	Plan   *plan.Plan
	// Reuse are tasks that completed in the run before: they are not executed again, except From, tasks that follow one
	// that runs in this run, and those that always run or always start again.
	Reuse map[string]Reused
	From  string
	// ReuseRun is the number of the run before whose tasks are kept; 0: none. Of fan-outs that did not complete there the
	// items are kept that did: see Need.Kept.
	ReuseRun int
	// Changed says that ReuseRun ran another definition: what people approved there is not what runs now, so they are asked again.
	Changed bool
	// Rules are the error rules, the most specific first.
	Rules []errorrule.Rule
	// ReqTotalDeadline is when all runs of the request together must have ended; nil: no bound.
	ReqTotalDeadline *time.Time
	// DueAt is from when on it could have started, where that is known: what waits for its start has waited since. Nil: now.
	DueAt *time.Time
}

// Reused is how a task of the run before completed.
type Reused struct {
	ExitCode int
	Outputs  map[string]string
	Result   string
}

// New returns the state of a run that begins now, whole: every task and every edge. Nothing has to be loaded for it,
// but what it needs to know (Need.Decide, Kept, Children, Results) must be answered, with Continue after it, until Need is
// empty. The run may have ended then already, when nothing of it has to be executed.
func New(b Begin, now time.Time) *State {
	plan := b.Plan
	s := &State{
		Job: Job{
			Run: b.Run, Retries: b.Retries, State: JobReady, Version: 1, TasksTotal: len(plan.Tasks), TasksOpen: len(plan.Tasks),
			Policy: Policy{
				JobType: plan.JobType, Platform: plan.Platform,
				FailFast: plan.FailFast, Retry: plan.Retry, Backoff: plan.Backoff, HardReset: plan.HardResetAfterRetries,
				Timeout: plan.Timeout, CleanupTimeout: plan.CleanupTimeout, PauseTime: plan.PauseTime, TotalDeadline: b.ReqTotalDeadline, Rules: b.Rules,
				RetryGiven: plan.RetryGiven, Pauses: b.Pauses, Before: b.Before,
			},
		},
		Tasks: make(map[int]*Task, len(plan.Tasks)), Out: make(map[int][]Edge, len(plan.Tasks)),
		AllOpen: true, TrailingLoaded: true, JobChanged: true, JobMoved: true, PolicyChanged: true,
	}
	due := now
	if b.DueAt != nil && b.DueAt.Before(now) {
		due = *b.DueAt
	}
	if plan.PendingTimeout > 0 {
		s.Job.Policy.Pending, s.Job.Policy.PendingUntil = plan.PendingTimeout, later(due, plan.PendingTimeout)
	}
	s.Job.DeadlineAt = s.Job.timeout(now)
	reuse := reusable(&b)
	for i := range plan.Tasks {
		s.Tasks[i] = newTask(i, &plan.Tasks[i], reuse)
		if b.mayKeep(s.Tasks[i]) {
			s.Tasks[i].KeepOf = b.ReuseRun
		}
		if !plan.Tasks[i].AlwaysRun {
			s.Job.NormalOpen++
		}
	}
	s.connect(plan)
	for i := range plan.Tasks {
		t := s.Tasks[i]
		switch {
		case t.Waiting > 0:
		case t.Spec.AlwaysRun:
			t.Trailing = true
		default:
			s.activate(t, now)
		}
	}
	s.run(now)
	for _, t := range s.Tasks {
		if t.State == TaskReady && t.Spec.PendingTimeout+t.Spec.TotalTimeout > 0 && !t.IsItem() {
			t.ReadyAt = &due // it could have started then
		}
	}
	return s
}

// reusable returns the tasks that need not run again as far as that can be said before anything has run. A fork whose
// child is waited for by a task that did not complete has to submit it again.
func reusable(b *Begin) map[string]Reused {
	reuse := make(map[string]Reused, len(b.Reuse))
	for i := range b.Plan.Tasks {
		t := &b.Plan.Tasks[i]
		if r, ok := b.Reuse[t.Name]; ok && t.Name != b.From && !t.AllowStartIfCompleted && !t.AlwaysRun && !b.asksAgain(t) {
			reuse[t.Name] = r
		}
	}
	for i := range b.Plan.Tasks {
		t := &b.Plan.Tasks[i]
		if _, ok := reuse[t.Name]; ok {
			continue
		}
		for _, fork := range t.AwaitForkedTasks {
			delete(reuse, fork)
		}
	}
	return reuse
}

// asksAgain says whether people may have to decide about a task that they have decided about in the run before.
func (b *Begin) asksAgain(t *plan.Task) bool {
	return b.Changed && (t.Method == plan.MethodManual || t.Approval != nil || slices.ContainsFunc(t.Routes, func(r plan.Route) bool {
		return slices.Contains(r.Targets, plan.ActionWaitForApproval)
	}))
}

func newTask(idx int, spec *plan.Task, reuse map[string]Reused) *Task {
	t := &Task{Idx: idx, State: TaskBlocked, Spec: spec}
	if r, ok := reuse[spec.Name]; ok {
		t.Reuse, t.ExitCode, t.Outputs, t.Result = true, r.ExitCode, r.Outputs, r.Result
	}
	return t
}

// connect makes the edges and counts them at their ends.
func (s *State) connect(plan *plan.Plan) {
	index := make(map[string]int, len(plan.Tasks))
	for i := range plan.Tasks {
		index[plan.Tasks[i].Name] = i
	}
	known := map[Edge]bool{}
	add := func(e Edge) {
		if known[e] {
			return
		}
		known[e] = true
		s.Out[e.From] = append(s.Out[e.From], e)
		s.Tasks[e.To].Waiting++
		if e.Control {
			s.Tasks[e.To].Control++
		}
	}
	for i := range plan.Tasks {
		s.Out[i] = nil // known to have none so far
	}
	for i := range plan.Tasks {
		for _, r := range plan.Tasks[i].Routes {
			for _, target := range r.Targets {
				if to, ok := index[target]; ok {
					add(Edge{From: i, To: to, Control: true})
				}
			}
		}
		for _, dep := range plan.Tasks[i].DependsOn {
			if from, ok := index[dep]; ok {
				add(Edge{From: from, To: i})
			}
		}
	}
}

// Ended returns a run that ends when it is launched: it cannot be rendered, is skipped or was cancelled before.
func Ended(run int, state JobState, code, message string, now time.Time) Job {
	return Job{Run: run, State: state, Version: 1, ErrorCode: code, ErrorMessage: message, EndedAt: &now}
}

func later(now time.Time, d time.Duration) *time.Time {
	at := now.Add(d)
	return &at
}
