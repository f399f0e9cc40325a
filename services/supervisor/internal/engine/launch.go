package engine

import (
	"time"

	"github.com/formicary/formicary/libs/jobspec"
)

// New returns the state of a run that begins now, whole: every task and every edge. Tasks in reuse completed in the
// run before and are not executed again. The run may have ended already, when nothing of it has to be executed.
func New(run int, plan *jobspec.Plan, reuse map[string]Reused, now time.Time) *State {
	s := &State{
		Job: Job{
			Run: run, State: JobReady, Version: 1, TasksTotal: len(plan.Tasks), TasksOpen: len(plan.Tasks),
			Policy: Policy{
				FailFast: plan.FailFast, Retry: plan.Retry, Backoff: plan.Backoff,
				Timeout: plan.Timeout, CleanupTimeout: plan.CleanupTimeout, PauseTime: plan.PauseTime,
			},
		},
		Tasks: make(map[int]*Task, len(plan.Tasks)), Out: make(map[int][]Edge, len(plan.Tasks)),
		AllOpen: true, TrailingLoaded: true, JobChanged: true, JobMoved: true,
	}
	if plan.Timeout > 0 {
		s.Job.DeadlineAt = later(now, plan.Timeout)
	}
	for i := range plan.Tasks {
		s.Tasks[i] = newTask(i, &plan.Tasks[i], reuse)
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
	return s
}

func newTask(idx int, spec *jobspec.Task, reuse map[string]Reused) *Task {
	t := &Task{Idx: idx, State: TaskBlocked, Spec: spec}
	if r, ok := reuse[spec.Name]; ok && !spec.AllowStartIfCompleted && !spec.AlwaysRun {
		t.Reuse, t.ExitCode, t.Outputs, t.Result = true, r.ExitCode, r.Outputs, r.Result
	}
	return t
}

// connect makes the edges and counts them at their ends.
func (s *State) connect(plan *jobspec.Plan) {
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
