package engine_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
)

// store keeps a whole run the way the database does and hands out neighbourhoods.
type store struct {
	job   engine.Job
	tasks map[int]engine.Task
	out   map[int][]engine.Edge
}

func keep(s *engine.State) *store {
	st := &store{job: s.Job, tasks: map[int]engine.Task{}, out: s.Out}
	for i, t := range s.Tasks {
		st.tasks[i] = clean(t)
	}
	return st
}

// clean is the row of a task: what is only known during a step is gone.
func clean(t *engine.Task) engine.Task {
	return engine.Task{
		Idx: t.Idx, State: t.State, Trailing: t.Trailing, Waiting: t.Waiting, Control: t.Control, Taken: t.Taken,
		Broken: t.Broken, Handler: t.Handler, Reuse: t.Reuse, Spec: t.Spec, Attempts: t.Attempts,
		Group: t.Group, Item: t.Item, ItemName: t.ItemName, ItemValue: t.ItemValue, Items: t.Items, Extra: t.Extra, ErrorCode: t.ErrorCode,
		UserTries: t.UserTries, InfraTries: t.InfraTries, ReadyAt: t.ReadyAt, WakeAt: t.WakeAt, ExitCode: t.ExitCode,
		FailureClass: t.FailureClass, Message: t.Message, Outputs: t.Outputs, Result: t.Result,
		WaitGate: t.WaitGate, WaitReason: t.WaitReason, StartedAt: t.StartedAt, EndedAt: t.EndedAt,
	}
}

func (st *store) load(idx ...int) *engine.State {
	s := &engine.State{Job: st.job, Tasks: map[int]*engine.Task{}, Out: map[int][]engine.Edge{}}
	for _, i := range idx {
		st.add(s, i)
	}
	return s
}

func (st *store) add(s *engine.State, idx int) {
	t := st.tasks[idx]
	s.Load(&t)
}

// step applies f to a neighbourhood, loads what it needs and saves what changed.
func (st *store) step(f func(*engine.State), now time.Time, idx ...int) *engine.State {
	s := st.load(idx...)
	f(s)
	for round := 0; !s.Need().Empty(); round++ {
		if round > len(st.tasks)+5 {
			panic("the step never completes")
		}
		need := s.Need()
		for _, from := range need.Out {
			s.Out[from] = st.out[from]
			for _, e := range st.out[from] {
				st.add(s, e.To)
			}
		}
		if need.Open || need.Trailing {
			for i, t := range st.tasks {
				if !t.State.Terminal() && (need.Open || t.Trailing) {
					st.add(s, i)
				}
			}
			s.TrailingLoaded = true
			s.AllOpen = s.AllOpen || need.Open
		}
		s.Continue(now)
	}
	st.job = s.Job
	for i, t := range s.Tasks {
		if t.Changed {
			st.tasks[i] = clean(t)
		} else if got := clean(t); got.State != st.tasks[i].State || got.Waiting != st.tasks[i].Waiting {
			panic(fmt.Sprintf("task %d changed without saying so", i))
		}
	}
	return s
}

func (st *store) in(states ...engine.TaskState) []int {
	var idx []int
	for i, t := range st.tasks {
		if slices.Contains(states, t.State) {
			idx = append(idx, i)
		}
	}
	slices.Sort(idx)
	return idx
}

// drawPlan makes an acyclic plan: edges lead from lower to higher numbers.
func drawPlan(t *rapid.T) *jobspec.Plan {
	n := rapid.IntRange(1, 12).Draw(t, "tasks")
	p := &jobspec.Plan{Timeout: time.Hour, CleanupTimeout: time.Minute, PauseTime: time.Second, FailFast: rapid.Bool().Draw(t, "fail_fast")}
	for i := range n {
		task := jobspec.Task{
			Name: fmt.Sprint("t", i), Method: "SHELL", Slots: 1, Timeout: time.Minute,
			AlwaysRun: rapid.IntRange(0, 5).Draw(t, "always") == 0, AllowFailure: rapid.IntRange(0, 3).Draw(t, "allow") == 0,
			Retry: rapid.IntRange(0, 2).Draw(t, "retry"), Skip: rapid.IntRange(0, 9).Draw(t, "skip") == 0,
			AtMostOnce: rapid.IntRange(0, 5).Draw(t, "once") == 0,
		}
		targets := func(label string) []string {
			var names []string
			for j := i + 1; j < n; j++ {
				if rapid.IntRange(0, 2).Draw(t, label) == 0 {
					names = append(names, fmt.Sprint("t", j))
				}
			}
			return names
		}
		if rapid.IntRange(0, 3).Draw(t, "code route") == 0 {
			action := rapid.SampledFrom([]string{"FATAL", "ERR_X", "RESTART_JOB", "RESTART_TASK", "EXECUTING", "PAUSE_JOB", "COMPLETED", "FAILED"}).Draw(t, "action")
			task.Routes = append(task.Routes, jobspec.Route{Key: "7", Targets: []string{action}})
		}
		for _, key := range []string{"COMPLETED", "FAILED"} {
			if to := targets(key); len(to) > 0 {
				task.Routes = append(task.Routes, jobspec.Route{Key: key, Targets: to})
			}
		}
		for j := range i {
			if rapid.IntRange(0, 5).Draw(t, "dep") == 0 {
				task.DependsOn = append(task.DependsOn, fmt.Sprint("t", j))
			}
		}
		p.Tasks = append(p.Tasks, task)
	}
	return p
}

// TestAnyJobEnds drives random jobs with random outcomes, cancels, pauses and losses through neighbourhoods, and checks
// after every step what must always hold. In the end every job is terminal.
func TestAnyJobEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := t0
		whole := engine.New(engine.Begin{Run: 1, Plan: drawPlan(t)}, now)
		st := keep(whole)
		check(t, st)
		for round := 0; !st.job.State.Terminal(); round++ {
			if round > 2000 {
				t.Fatalf("the job does not end: %+v %+v", st.job, st.tasks)
			}
			now = now.Add(time.Second)
			act(t, st, now, round)
			check(t, st)
		}
	})
}

// act draws one thing that can happen.
func act(t *rapid.T, st *store, now time.Time, round int) {
	ready, live := st.in(engine.TaskReady), st.in(engine.TaskDispatched, engine.TaskRunning)
	calm := round > 60 // then nothing is paused or lost any more, so that the job ends
	switch kind := rapid.IntRange(0, 19).Draw(t, "kind"); {
	case kind == 0 && !calm:
		st.step(func(s *engine.State) { s.Pause(now) }, now)
	case kind == 1 && round > 20:
		st.step(func(s *engine.State) { s.Cancel("", now) }, now)
	case kind == 2 && round > 40:
		st.step(func(s *engine.State) { s.Deadline(now) }, now)
	case st.job.State == engine.JobPaused || kind == 3:
		st.step(func(s *engine.State) { s.Resume(now) }, now)
	case kind < 10 && len(ready) > 0:
		i := rapid.SampledFrom(ready).Draw(t, "dispatched")
		st.step(func(s *engine.State) { s.Dispatched([]int{i}, now) }, now, i)
	case kind < 13 && len(st.in(engine.TaskDispatched)) > 0:
		i := rapid.SampledFrom(st.in(engine.TaskDispatched)).Draw(t, "claimed")
		row := st.tasks[i]
		row.State = engine.TaskRunning
		st.tasks[i] = row
	case len(live) > 0:
		i := rapid.SampledFrom(live).Draw(t, "ended")
		claimed := st.tasks[i].State == engine.TaskRunning
		st.step(func(s *engine.State) { s.TaskEnded(i, drawOutcome(t, claimed, calm, now), now) }, now, i)
	default:
		for _, i := range st.in(engine.TaskWaiting) {
			if at := st.tasks[i].WakeAt; at != nil {
				st.step(func(s *engine.State) { s.Wake(i, now) }, now, i)
			}
		}
	}
}

func drawOutcome(t *rapid.T, claimed, calm bool, now time.Time) engine.Outcome {
	if !claimed {
		return engine.Outcome{State: engine.AttemptLost, FailureClass: "infra"}
	}
	most := 4
	if calm {
		most = 2
	}
	switch rapid.IntRange(0, most).Draw(t, "outcome") {
	case 0, 1:
		return engine.Outcome{State: engine.AttemptSucceeded, Claimed: true}
	case 2:
		return engine.Outcome{State: engine.AttemptFailed, Claimed: true, ExitCode: 1, FailureClass: "user"}
	case 3:
		return engine.Outcome{State: engine.AttemptFailed, Claimed: true, ExitCode: 7, FailureClass: "user"}
	}
	return engine.Outcome{State: engine.AttemptLost, Claimed: true, FailureClass: "infra", NotBefore: now.Add(time.Minute)}
}

// check compares the counters with a recount and looks for what must never be.
func check(t *rapid.T, st *store) {
	open, normal, running := 0, 0, 0
	waiting := map[int]int{}
	for i, task := range st.tasks {
		if !task.State.Terminal() {
			open++
			if !task.Spec.AlwaysRun {
				normal++
			}
			for _, e := range st.out[i] {
				waiting[e.To]++
			}
		}
		if task.State == engine.TaskDispatched || task.State == engine.TaskRunning {
			running++
		}
		if started := task.Attempts > 0 || task.State == engine.TaskReady; started && task.Waiting > 0 {
			t.Fatalf("task %d started before its inputs were resolved: %+v", i, task)
		}
		if task.UserTries > task.Spec.Retry || task.InfraTries > 3 {
			t.Fatalf("task %d spent more than its budget: %+v", i, task)
		}
		if task.State == engine.TaskBlocked && task.Waiting == 0 && !task.Trailing && !st.job.State.Terminal() {
			t.Fatalf("task %d is BLOCKED by nothing", i)
		}
	}
	j := st.job
	if j.TasksOpen != open || j.NormalOpen != normal || j.Running != running {
		t.Fatalf("counters %d %d %d, recount %d %d %d", j.TasksOpen, j.NormalOpen, j.Running, open, normal, running)
	}
	for i, task := range st.tasks {
		if task.Waiting != waiting[i] {
			t.Fatalf("task %d waits for %d edges, recount %d", i, task.Waiting, waiting[i])
		}
	}
	if (open == 0) != j.State.Terminal() {
		t.Fatalf("%d open tasks in state %s", open, j.State)
	}
	if j.State == engine.JobPaused && running > 0 {
		t.Fatal("PAUSED while something runs")
	}
	if j.State == engine.JobCompleted && j.Failing {
		t.Fatal("COMPLETED though failing")
	}
}

// TestNeighbourhoodsDecideLikeTheWhole runs the same outcomes through whole states and through neighbourhoods.
func TestNeighbourhoodsDecideLikeTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPlan(t)
		whole := engine.New(engine.Begin{Run: 1, Plan: p}, t0)
		st := keep(engine.New(engine.Begin{Run: 1, Plan: p}, t0))
		now := t0
		for range 200 {
			live, ready := st.in(engine.TaskDispatched), st.in(engine.TaskReady)
			now = now.Add(time.Second)
			switch {
			case len(live) > 0:
				i, o := live[0], drawOutcome(t, true, false, now)
				whole.TaskEnded(i, o, now)
				st.step(func(s *engine.State) { s.TaskEnded(i, o, now) }, now, i)
			case len(ready) > 0:
				whole.Dispatched(ready[:1], now)
				st.step(func(s *engine.State) { s.Dispatched(ready[:1], now) }, now, ready[0])
			}
			for _, i := range slices.Sorted(maps.Keys(st.tasks)) {
				if got, want := st.tasks[i].State, whole.Tasks[i].State; got != want {
					t.Fatalf("task %d is %s by neighbourhoods and %s by the whole", i, got, want)
				}
			}
			if st.job.State != whole.Job.State || st.job.ErrorCode != whole.Job.ErrorCode {
				t.Fatalf("job %+v, whole %+v", st.job, whole.Job)
			}
		}
	})
}

// TestMovesAreAllowed checks that every change the engine makes is one of Moves.
func TestMovesAreAllowed(t *testing.T) {
	allowed := map[engine.Move]bool{}
	for _, m := range engine.Moves() {
		allowed[m] = true
	}
	rapid.Check(t, func(t *rapid.T) {
		now := t0
		st := keep(engine.New(engine.Begin{Run: 1, Plan: drawPlan(t)}, now))
		for round := 0; round < 150 && !st.job.State.Terminal(); round++ {
			before := maps.Clone(st.tasks)
			was := st.job.State
			now = now.Add(time.Second)
			act(t, st, now, round)
			for i, task := range st.tasks {
				if m := (engine.Move{Entity: "task", From: string(before[i].State), To: string(task.State)}); m.From != m.To && !allowed[m] {
					t.Fatalf("move %v", m)
				}
			}
			if m := (engine.Move{Entity: "execution", From: string(was), To: string(st.job.State)}); m.From != m.To && !allowed[m] {
				t.Fatalf("move %v", m)
			}
		}
	})
}
