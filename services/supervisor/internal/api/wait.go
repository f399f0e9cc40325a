package api

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// The gates that no task is stored with: they follow from its state.
const (
	gateDependency = "dependency"
	gateCapacity   = "capacity"
)

// waits says which gate holds a task that is not running, and why.
func waits(t *execution.TaskView) (gate, reason string) {
	switch t.State {
	case engine.TaskBlocked:
		return blocked(t)
	case engine.TaskReady:
		if t.ClassGate != "" {
			return t.ClassGate, t.ClassReason
		}
		return gateCapacity, "is being placed"
	case engine.TaskWaiting:
		return t.WaitGate, waiting(t)
	case engine.TaskDispatched, engine.TaskRunning, engine.TaskCompleted, engine.TaskFailed, engine.TaskSkipped, engine.TaskCancelled:
	}
	return "", ""
}

func blocked(t *execution.TaskView) (gate, reason string) {
	if t.Group != "" {
		return engine.GateItems, "waits until an item before it has ended"
	}
	if len(t.WaitsFor) == 0 {
		return gateDependency, "waits until every other task has ended"
	}
	const most = 10
	names := t.WaitsFor
	more := ""
	if len(names) > most {
		names, more = names[:most], fmt.Sprintf(" and %d more", len(names)-most)
	}
	return gateDependency, "waits for " + strings.Join(names, ", ") + more
}

// waiting is the reason of a WAITING task: what is known of it now, else what the engine said when it began to wait.
func waiting(t *execution.TaskView) string {
	reason := t.WaitReason
	switch {
	case t.WaitGate == engine.GateApproval && t.Approval != "":
		reason = t.Approval
		if t.WakeAt != nil {
			reason += "; the time for it ends at " + t.WakeAt.UTC().Format(time.RFC3339)
		}
		return reason
	case t.WaitGate == engine.GateItems && t.Items != nil:
		return items(t)
	case t.WaitGate == engine.GateChild && len(t.Children) > 0:
		reason = children(t.Children)
	}
	if t.WakeAt != nil {
		reason = strings.TrimPrefix(reason+"; ", "; ") + "goes on at " + t.WakeAt.UTC().Format(time.RFC3339)
	}
	return reason
}

// items says how far a fan-out is.
func items(t *execution.TaskView) string {
	n := t.Items
	done := n.Total - n.Open
	text := fmt.Sprintf("%s of %s items are done", grouped(done), grouped(n.Total))
	if begun := min(n.Next, n.Total) - done; begun > 0 {
		verb := "are"
		if begun == 1 {
			verb = "is"
		}
		text += fmt.Sprintf(", %s %s under way", grouped(begun), verb)
	}
	if n.Failed > 0 {
		text += fmt.Sprintf(", %s failed", grouped(n.Failed))
	}
	if t.ClassReason != "" {
		text += "; some are not placed: " + t.ClassReason
	}
	return text
}

// children says which jobs are waited for.
func children(all []execution.ChildView) string {
	const most = 5
	texts := make([]string, 0, most+1)
	for i := range all {
		if i == most {
			texts = append(texts, fmt.Sprintf("%d more", len(all)-most))
			break
		}
		texts = append(texts, childText(&all[i]))
	}
	return "waits for " + strings.Join(texts, ", ")
}

func childText(c *execution.ChildView) string {
	switch {
	case c.Kind == "chore":
		return "supervisor to do it"
	case c.Request == uuid.Nil:
		return "job " + c.JobType + " to be submitted"
	case c.State == "CANCEL_WANTED" || c.State == "CANCELLING":
		return fmt.Sprintf("job %s (%s) which is being cancelled", c.Request, c.JobType)
	case c.RunState == "":
		return fmt.Sprintf("job %s (%s) which has not begun", c.Request, c.JobType)
	}
	return fmt.Sprintf("job %s (%s) which is %s", c.Request, c.JobType, c.RunState)
}

// grouped writes 1000 as 1,000.
func grouped(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
