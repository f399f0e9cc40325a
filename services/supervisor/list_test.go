package supervisor_test

import (
	"strings"
	"testing"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/testkit"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
)

// TestItemsAreListedWithTheirGroup and not among the tasks of the definition.
func TestItemsAreListedWithTheirGroup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.newAnt("ant1", 8, func(*antv1.Work) *antv1.Result { return nil })
	id := w.admitText(`job_type: job
tasks:
- task_type: resize
  method: SHELL
  fan_out:
    items: [{file: a.png}, {file: b.png}, {file: c.png}, {file: d.png}, {file: e.png}]
    item_var: image
    max_parallel: 2
  script:
  - convert {{.image.file}}
  on_completed: report
- task_type: report
  method: SHELL
  script:
  - echo done
`)
	a.end(a.live("resize[0]"), success())
	a.live("resize[2]")
	var group *executionv1.Task
	testkit.Eventually(t, waitTime, "one item is done", func() bool {
		group = w.tasks(id)["resize"]
		return group.GetItems().GetOpen() == 4
	})
	if group.GetItems().GetTotal() != 5 || group.GetWaitGate() != "items" || group.GetWaitReason() != "1 of 5 items are done, 2 are under way" {
		t.Errorf("group: %v, %s, %s", group.GetItems(), group.GetWaitGate(), group.GetWaitReason())
	}
	if all := w.tasks(id); len(all) != 2 || all["report"].GetWaitReason() != "waits for resize" {
		t.Errorf("tasks of the definition: %v", all)
	}

	var names []string
	req := &executionv1.ListTasksRequest{RequestId: id, ItemsOf: "resize", PageSize: 2}
	for range 5 {
		res, err := w.executions.ListTasks(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range res.GetTasks() {
			names = append(names, x.GetName())
			if x.GetItemsOf() != "resize" || int(x.GetItem()) != len(names)-1 || x.GetItemValue().GetStructValue().AsMap()["file"] == nil {
				t.Errorf("item %v", x)
			}
			if x.GetState() == executionv1.Task_BLOCKED && x.GetWaitGate() != "items" {
				t.Errorf("item %s waits at %q", x.GetName(), x.GetWaitGate())
			}
		}
		if req.PageToken = res.GetNextPageToken(); req.GetPageToken() == "" {
			break
		}
	}
	if all, err := w.executions.ListTasks(t.Context(), &executionv1.ListTasksRequest{RequestId: id, PageSize: 1}); err != nil || all.GetNextPageToken() == "" {
		t.Errorf("a page of the tasks: %v, %v", all, err)
	} else if res, err := w.executions.ListTasks(t.Context(), &executionv1.ListTasksRequest{RequestId: id, ItemsOf: "resize", PageToken: all.GetNextPageToken()}); errs.Reason(err) != "PAGE_TOKEN_INVALID" {
		t.Errorf("the items take a token of the tasks: %v, %v", res, err)
	}
	if got := strings.Join(names, " "); got != "resize[0] resize[1] resize[2] resize[3] resize[4]" {
		t.Errorf("items %s", got)
	}

	req = &executionv1.ListTasksRequest{RequestId: id, ItemsOf: "resize", States: []executionv1.Task_State{executionv1.Task_RUNNING}}
	if res, err := w.executions.ListTasks(t.Context(), req); err != nil || len(res.GetTasks()) != 2 {
		t.Errorf("running items: %v, %v", res, err)
	}
	req = &executionv1.ListTasksRequest{RequestId: id, ItemsOf: "report"}
	if res, err := w.executions.ListTasks(t.Context(), req); err != nil || len(res.GetTasks()) != 0 {
		t.Errorf("items of a task without: %v, %v", res, err)
	}
	req.ItemsOf = "nobody"
	if _, err := w.executions.ListTasks(t.Context(), req); errs.Reason(err) != "TASK_NOT_FOUND" {
		t.Errorf("items of nobody: %v", err)
	}
}
