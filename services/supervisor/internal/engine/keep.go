package engine

import (
	"time"

	"github.com/formicary/formicary/libs/jobspec/value"
)

// Kept is an item of a fan-out that completed in the run before: it need not run again.
type Kept struct {
	Value any // of the item; one by the same name and with another value is another item
	Reused
}

// mayKeep says whether the items of a group that completed in the run before are kept when the group runs again.
func (b *Begin) mayKeep(t *Task) bool {
	return b.ReuseRun > 0 && t.IsGroup() && !t.Reuse && !t.Spec.AlwaysRun && !t.Spec.AllowStartIfCompleted && t.Spec.Name != b.From && !b.asksAgain(t.Spec)
}

// Keep answers Need.Kept about a group: the items by their names. Continue goes on with it.
func (s *State) Keep(idx int, kept map[string]Kept) {
	if s.kept == nil {
		s.kept = map[int]map[string]Kept{}
	}
	if kept == nil {
		kept = map[string]Kept{}
	}
	s.kept[idx] = kept
}

// keep completes an item that completed in the run before; it says whether it did.
func (s *State) keep(t *Task, kept map[string]Kept, now time.Time) bool {
	k, ok := kept[t.ItemName]
	if !ok || !value.Same(k.Value, t.ItemValue) {
		return false
	}
	t.ExitCode, t.Outputs, t.Result, t.Message = k.ExitCode, k.Outputs, k.Result, completedBefore
	s.move(t, TaskCompleted, "", now)
	return true
}

// completedBefore is the message of what completed in the run before.
const completedBefore = "completed in an earlier run"
