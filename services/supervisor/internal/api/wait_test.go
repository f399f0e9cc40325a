package api

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

func TestWaits(t *testing.T) {
	at := time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)
	id := uuid.MustParse("0198c0de-0000-7000-8000-000000000001")
	state := func(s engine.TaskState, gate string, change func(*execution.TaskView)) *execution.TaskView {
		v := &execution.TaskView{Task: engine.Task{State: s, WaitGate: gate}}
		change(v)
		return v
	}
	fan := func(total, open, next, failed int) func(*execution.TaskView) {
		return func(v *execution.TaskView) {
			v.Items = &engine.Items{Total: total, Open: open, Next: next, Failed: failed}
		}
	}
	forked := func(c ...execution.ChildView) func(*execution.TaskView) {
		return func(v *execution.TaskView) { v.Children = c }
	}
	for name, tt := range map[string]struct {
		task         *execution.TaskView
		gate, reason string
	}{
		"done":             {state(engine.TaskCompleted, "", func(*execution.TaskView) {}), "", ""},
		"trailing":         {state(engine.TaskBlocked, "", func(*execution.TaskView) {}), "dependency", "waits until every other task has ended"},
		"blocked":          {state(engine.TaskBlocked, "", func(v *execution.TaskView) { v.WaitsFor = []string{"a", "b"} }), "dependency", "waits for a, b"},
		"item":             {state(engine.TaskBlocked, "", func(v *execution.TaskView) { v.Group = "g" }), "items", "waits until an item before it has ended"},
		"new":              {state(engine.TaskReady, "", func(*execution.TaskView) {}), "capacity", "is being placed"},
		"no ant":           {state(engine.TaskReady, "", func(v *execution.TaskView) { v.ClassGate, v.ClassReason = "no_ant", "no ant offers X" }), "no_ant", "no ant offers X"},
		"timer":            {state(engine.TaskWaiting, "schedule", func(v *execution.TaskView) { v.WakeAt = &at }), "schedule", "goes on at 2027-01-02T03:04:05Z"},
		"approval":         {state(engine.TaskWaiting, "approval", func(v *execution.TaskView) { v.Approval, v.WakeAt = "waits for 1 approval", &at }), "approval", "waits for 1 approval; the time for it ends at 2027-01-02T03:04:05Z"},
		"items":            {state(engine.TaskWaiting, "items", fan(1000, 688, 320, 0)), "items", "312 of 1,000 items are done, 8 are under way"},
		"one item":         {state(engine.TaskWaiting, "items", fan(3, 3, 1, 0)), "items", "0 of 3 items are done, 1 is under way"},
		"failed items":     {state(engine.TaskWaiting, "items", fan(1234567, 0, 1234567, 2)), "items", "1,234,567 of 1,234,567 items are done, 2 failed"},
		"child":            {state(engine.TaskWaiting, "child", forked(execution.ChildView{JobType: "build", Request: id, RunState: "EXECUTING"})), "child", "waits for job " + id.String() + " (build) which is EXECUTING"},
		"child to come":    {state(engine.TaskWaiting, "child", forked(execution.ChildView{JobType: "build"})), "child", "waits for job build to be submitted"},
		"child in a queue": {state(engine.TaskWaiting, "child", forked(execution.ChildView{JobType: "build", Request: id})), "child", "waits for job " + id.String() + " (build) which has not begun"},
		"chore":            {state(engine.TaskWaiting, "child", forked(execution.ChildView{Kind: "chore"})), "child", "waits for supervisor to do it"},
		"many children":    {state(engine.TaskWaiting, "child", forked(make([]execution.ChildView, 7)...)), "child", "waits for job  to be submitted, job  to be submitted, job  to be submitted, job  to be submitted, job  to be submitted, 2 more"},
	} {
		if gate, reason := waits(tt.task); gate != tt.gate || reason != tt.reason {
			t.Errorf("%s: %q, %q", name, gate, reason)
		}
	}
}
