package attempt

import (
	"testing"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/services/supervisor/internal/definition"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

const fan = `job_type: job
tasks:
- task_type: plain
  method: SHELL
  fan_out: {items: [a, b], item_var: letter}
  script:
  - ./handle "$letter"
- task_type: pairs
  method: SHELL
  matrix:
    os: [linux, windows]
    arch: [amd64]
  script:
  - build {{.os}} {{.matrix.arch}} {{.FanOutIndex}}
`

// item is the claim of an item.
func item(t *testing.T, task string, index int, value any) *execution.Claimed {
	t.Helper()
	x := claimed(t, fan, task, nil)
	x.Item = &execution.Item{Group: task, Index: index, Item: plan.Item{Name: task + "[x]", Value: value}}
	own := *x.Task
	own.Name = x.Item.Name
	x.Task = &own
	return x
}

func TestItemsAreRenderedAtTheirClaim(t *testing.T) {
	src := &asked{text: fan}
	m := &Manager{definitions: definition.NewCache(src), store: outputs{}}
	_, env, err := m.render(t.Context(), item(t, "plain", 1, "b"), nil, nil)
	if err != nil || env.Vars["letter"] != "b" || env.Vars[jobspec.EnvItemIndex] != "1" {
		t.Errorf("environment %v, %v", env, err)
	}
	if src.asked != 0 {
		t.Error("a section that does not mention the item was rendered again")
	}
	task, env, err := m.render(t.Context(), item(t, "pairs", 2, map[string]any{"os": "windows", "arch": "amd64"}), nil, nil)
	if err != nil || task.Spec.Script[0] != "build windows amd64 2" || env.Vars["os"] != "windows" || env.Vars[jobspec.EnvItemIndex] != "2" {
		t.Errorf("%v, environment %v, %v", task, env, err)
	}
}

func TestRecordsThatCannotBeReadAreTheFaultOfTheTask(t *testing.T) {
	m := &Manager{definitions: definition.NewCache(&asked{text: fan})}
	x := item(t, "plain", 0, "a")
	x.Job.Vars = []byte(`[`)
	if _, _, err := m.render(t.Context(), x, nil, nil); err == nil || !isFault(err) {
		t.Error(err)
	}
}
