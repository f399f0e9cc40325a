package attempt

import (
	"context"
	"fmt"
	"maps"
	"strconv"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/services/supervisor/internal/definition"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// render returns the task as the ant executes it and the environment of the process. What the launch rendered is used
// as it is, unless values that only the claim knows change it: outputs of earlier tasks and, of an item, the item.
func (m *Manager) render(ctx context.Context, x *execution.Claimed) (*jobspec.Task, map[string]string, error) {
	if x.Fault != nil {
		return nil, nil, fmt.Errorf("%w: %w", definition.ErrFault, x.Fault)
	}
	vars, err := definition.Variables(x.Job, x.Task.Name, x.Retries)
	if err != nil {
		return nil, nil, err
	}
	known := make(map[string]any, len(x.Job.Outputs))
	for k, v := range x.Job.Outputs {
		known[k] = v
	}
	q := definition.Question{Task: x.Task.Name, Item: x.Item, Vars: vars}
	if x.Item != nil {
		own := definition.ItemVariables(x.Task.FanOut, x.Item)
		maps.Copy(known, own)
		maps.Copy(vars, own)
		q.Task = x.Item.Group
	}
	task := x.Task
	if task.NeedsRender(known) {
		def, err := m.definitions.Get(ctx, definition.Key{Org: x.Job.Org, ID: x.Job.Definition})
		if err != nil {
			return nil, nil, err
		}
		if task, err = definition.Task(def, q); err != nil {
			return nil, nil, fmt.Errorf("render task %s: %w", x.Task.Name, err)
		}
	}
	env := task.Env(vars)
	if x.Item != nil {
		env[jobspec.EnvItemIndex] = strconv.Itoa(x.Item.Index)
	}
	return task, env, nil
}
