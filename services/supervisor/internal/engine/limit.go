package engine

import (
	"fmt"
	"time"
)

// Limit is a bound of the time that a task without a live attempt may take.
type Limit struct {
	At time.Time
	// Attempt: it is that of one attempt (a child, a request for approval), which may be tried again; the others end the
	// task.
	Attempt bool
	Message string
}

// Limit returns the bound that passes first; nil: there is none. A group is told so once: it waits for its items to stop
// then.
func (t *Task) Limit() *Limit {
	if t.State != TaskReady && t.State != TaskWaiting || t.Spec == nil || t.Items != nil && t.Items.Overdue {
		return nil
	}
	var first *Limit
	bound := func(from *time.Time, d time.Duration, attempt bool, message string) {
		if from == nil || d <= 0 {
			return
		}
		if at := from.Add(d); first == nil || at.Before(first.At) {
			first = &Limit{At: at, Attempt: attempt, Message: fmt.Sprintf(message, d)}
		}
	}
	bound(t.StartedAt, t.Spec.TotalTimeout, false, "its attempts together did not end within %s")
	if t.State == TaskReady && t.StartedAt == nil { // the wait for an ant is a part of it
		bound(t.ReadyAt, t.Spec.TotalTimeout, false, "no ant took it within the %s that it may take in all")
	}
	if t.State == TaskReady {
		bound(t.ReadyAt, t.Spec.PendingTimeout, false, "no ant took it within %s")
	}
	if t.Spec.WaitBounded {
		bound(t.Since, t.Spec.Timeout, true, "it did not end within its timeout of %s")
	}
	return first
}

// waitSince begins the time that the task has for what it waits for.
func (t *Task) waitSince(now time.Time) { t.Since = &now }
