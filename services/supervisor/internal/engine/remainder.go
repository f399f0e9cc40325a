package engine

import (
	"time"

	"github.com/formicary/formicary/libs/jobspec/plan"
)

// Past is how a task of the run before ended.
type Past struct {
	Spec  *plan.Task
	State TaskState
	Reused
	FailureClass, ErrorCode, Message string
}

// Remainder is the run after one that left its clean-up to it, when nothing but that is wanted of it any more: it holds
// how the other tasks ended, and clean-up that begins when the run is cancelled.
func Remainder(run, retries int, policy Policy, tasks []Past, now time.Time) *State {
	policy.Restart, policy.Final, policy.PendingUntil = false, false, nil
	s := &State{
		Job:   Job{Run: run, Retries: retries, State: JobExecuting, Version: 1, Policy: policy, TasksTotal: len(tasks), StartedAt: &now},
		Tasks: make(map[int]*Task, len(tasks)), Out: make(map[int][]Edge, len(tasks)),
		AllOpen: true, TrailingLoaded: true, JobChanged: true, JobMoved: true, PolicyChanged: true,
	}
	clean := &plan.Plan{}
	var index []int // of the tasks of clean
	for i := range tasks {
		p := &tasks[i]
		t := &Task{Idx: i, State: TaskBlocked, Spec: p.Spec}
		s.Tasks[i], s.Out[i] = t, nil
		if p.Spec.AlwaysRun {
			s.Job.TasksOpen++
			clean.Tasks, index = append(clean.Tasks, *p.Spec), append(index, i)
			continue
		}
		t.State, t.EndedAt, t.ExitCode, t.Outputs, t.Result = p.State, &now, p.ExitCode, p.Outputs, p.Result
		t.FailureClass, t.ErrorCode, t.Message = p.FailureClass, p.ErrorCode, p.Message
	}
	s.connectAs(clean, index)
	for _, i := range index {
		t := s.Tasks[i]
		t.Trailing = t.Waiting == 0
	}
	return s
}

// Fail fails a run that is only a Remainder: its clean-up begins, and no run follows. As after New, Need must be answered.
func (s *State) Fail(code, message string, now time.Time) {
	s.noRestart()
	s.failJob(code, message)
	s.run(now)
}

// connectAs makes the edges of a plan whose tasks have other indices in the run.
func (s *State) connectAs(plan *plan.Plan, index []int) {
	part := &State{Tasks: make(map[int]*Task, len(index)), Out: map[int][]Edge{}}
	for k, i := range index {
		part.Tasks[k] = s.Tasks[i]
	}
	part.connect(plan)
	for k, i := range index {
		for _, e := range part.Out[k] {
			s.Out[i] = append(s.Out[i], Edge{From: i, To: index[e.To], Control: e.Control})
		}
	}
}
