package step

import (
	"fmt"
	"maps"
	"slices"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
)

// children is what a batch knows of the children of a run that tasks await.
type children struct {
	stale   bool            // a child has ended: what awaits it must hear of it
	pending []int           // AWAIT_FORKED_JOB tasks that are still to hear of it
	by      map[int]awaited // by the task that awaits them; those that are missing are not read
}

// awaited are the children that a task awaits, the newest of each task that forks.
type awaited struct {
	open  int
	ended []EndedChild // in the order in which the task names them; only read when none is open
}

// unread returns the tasks among some whose children must be read.
func (c *children) unread(idx ...int) []int {
	return slices.DeleteFunc(append(slices.Clone(c.pending), idx...), func(i int) bool {
		_, ok := c.by[i]
		return ok
	})
}

// unreadChildren returns which children are to be read. They count as read from then on: there may be none.
func (r *runState) unreadChildren(need engine.Need) []Awaited {
	var all []Awaited
	for _, idx := range r.children.unread(need.Children...) {
		if r.children.by == nil {
			r.children.by = map[int]awaited{}
		}
		r.children.by[idx] = awaited{}
		a := Awaited{Task: Task{r.ID, idx}}
		if t := r.state.Tasks[idx]; t != nil {
			a.Names = t.Spec.AwaitForkedTasks
		}
		all = append(all, a)
	}
	return all
}

func (b *batch) addChildren(l *Loaded) {
	for t, n := range l.Open {
		if r := b.runs[t.Execution]; r != nil {
			a := r.children.by[t.Idx]
			a.open = n
			r.children.by[t.Idx] = a
		}
	}
	for _, c := range l.Ended {
		if r := b.runs[c.Awaits.Execution]; r != nil {
			a := r.children.by[c.Awaits.Idx]
			a.ended = append(a.ended, c)
			r.children.by[c.Awaits.Idx] = a
		}
	}
}

// of says how the children stand that a task awaits.
func (c *children) of(idx int) engine.Children {
	a := c.by[idx]
	s := engine.Children{Open: a.open, Outputs: map[string]string{}}
	for _, child := range a.ended {
		s.Outputs[plan.StatusVar(child.Name)] = child.Outcome
		s.Artifacts = append(s.Artifacts, plan.ArtifactsIn(child.Outputs)...)
		if child.Fork != nil && !child.Item {
			maps.Copy(s.Outputs, child.Fork.Given(child.Outputs))
		}
		if child.Outcome == string(engine.JobCompleted) {
			continue
		}
		s.Failed++
		if s.Message == "" {
			s.Message = fmt.Sprintf("the job of task %s ended as %s %s", child.Name, child.Outcome, child.Message)
			s.ExitCode, s.ErrorCode = child.Exit, child.Code
		}
	}
	return s
}

// tellAwaiting tells the tasks that await children how these stand, after some of them have ended; it says whether
// something has to be loaded for it.
func (b *batch) tellAwaiting(r *runState) (missing bool) {
	s, c := r.state, &r.children
	if c.stale {
		*c = children{}
		for _, idx := range sorted(s.Tasks) {
			t := s.Tasks[idx]
			if t.State == engine.TaskWaiting && t.WaitGate == engine.GateChild && t.Method() == plan.MethodAwaitForkedJob {
				c.pending = append(c.pending, idx)
			}
		}
	}
	if len(c.unread()) > 0 {
		return true
	}
	for len(c.pending) > 0 {
		idx := c.pending[0]
		c.pending = slices.Delete(c.pending, 0, 1)
		s.Children(idx, c.of(idx), b.now)
		if !s.Need().Empty() {
			r.busy = true
			return true
		}
		b.carryOut(r)
	}
	return false
}
