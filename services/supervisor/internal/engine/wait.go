package engine

import (
	"cmp"
	"fmt"
	"time"

	"github.com/formicary/formicary/libs/jobspec/plan"
)

// wait lets the time of a WAIT task pass.
func (s *State) wait(t *Task, now time.Time) {
	s.begin(t, now)
	t.Round++
	s.move(t, TaskWaiting, GateSchedule, now)
	t.waitSince(now)
	d := cmp.Or(t.Wait, t.Spec.Wait)
	t.WakeAt, t.WaitReason = later(now, d), fmt.Sprintf("it waits %s", d)
}

// waited says that what has passed is the time of a WAIT task, and not a delay before it.
func (t *Task) waited() bool { return t.Method() == plan.MethodWait && t.Since != nil }
