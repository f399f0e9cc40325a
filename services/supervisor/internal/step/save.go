package step

import (
	"maps"
	"slices"
	"time"

	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// save stores what changed and has others hear of it.
func (b *batch) save() error {
	b.writes.Now = b.now
	for _, r := range b.order {
		if err := b.collect(r); err != nil {
			return err
		}
	}
	if err := b.tx.Save(&b.writes); err != nil {
		return err
	}
	return b.tx.Publish(&b.changes)
}

// collect adds what changed of a run.
func (b *batch) collect(r *runState) error {
	s, c := r.state, &b.changes
	if s.JobChanged {
		b.writes.Runs = append(b.writes.Runs, ChangedRun{r.ID, &s.Job, s.PolicyChanged})
		c.Timed(s.Job.DeadlineAt)
	}
	if s.JobMoved {
		c.Jobs = append(c.Jobs, execution.Moved{Run: r.Run, Job: s.Job})
	}
	if s.Job.CancelRequested && !r.cancelled {
		b.writes.Cancelled = append(b.writes.Cancelled, r.ID)
		c.Children = true
	}
	for _, idx := range sorted(s.Tasks) {
		t := s.Tasks[idx]
		if !t.Changed {
			continue
		}
		b.writes.Tasks = append(b.writes.Tasks, ChangedTask{&r.Run, t})
		if t.State == engine.TaskReady {
			c.Ready = append(c.Ready, execution.CandidateOf(&r.Run, t))
		}
		c.Timed(t.WakeAt)
		c.Timed(execution.OverdueAt(t))
		if t.State != t.From && !t.New && t.State != engine.TaskBlocked {
			c.Tasks = append(c.Tasks, taskMoved(r.Run, t, ""))
		}
		if err := addNotice(c, &r.Run, t, b.now); err != nil {
			return err
		}
	}
	return nil
}

// addNotice adds what people asked to be told of the end of a task.
func addNotice(c *execution.Changes, r *execution.Run, t *engine.Task, now time.Time) error {
	if t.Spec.Webhook == nil || !t.State.Terminal() || t.IsItem() || t.State == t.From && !t.New {
		return nil
	}
	n, err := execution.Ended(*r, t, now)
	if n != nil {
		c.Notices = append(c.Notices, *n)
	}
	return err
}

func taskMoved(r execution.Run, t *engine.Task, ant string) execution.TaskMoved {
	return execution.TaskMoved{
		Run: r, Task: t.Name(), State: t.State, Attempt: t.Attempts, Ant: ant, ExitCode: t.ExitCode, Message: t.Message,
	}
}

func sorted(tasks map[int]*engine.Task) []int { return slices.Sorted(maps.Keys(tasks)) }
