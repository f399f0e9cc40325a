package attempt

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/environ"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/jobspec/value"
	"github.com/formicary/formicary/libs/mask"
	"github.com/formicary/formicary/services/supervisor/internal/definition"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// render returns the task as the ant executes it and the environment of the process. What the launch rendered is used
// as it is, unless values that only the claim knows change it: outputs of earlier tasks and, of an item, the item.
func (m *Manager) render(ctx context.Context, x *execution.Claimed, secrets map[string]string, masks *mask.Masker) (*plan.Task, *environ.Env, error) {
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
	var own value.Vars // of the item
	if x.Item != nil {
		own = definition.ItemVariables(x.Task.FanOut, x.Item)
		maps.Copy(known, own)
		maps.Copy(vars, own)
		q.Task = x.Item.Group
	}
	task := x.Task
	if task.NeedsRender(known) {
		if task, err = m.again(ctx, x, q, own, secrets, masks); err != nil {
			return nil, nil, err
		}
	}
	env := environ.Of(task, vars)
	if x.Job.LeftOut > 0 {
		env.Notes = append(env.Notes, environ.NoteLeftOut(task, x.Job.LeftOut, ""))
	}
	if x.Item != nil {
		env.Vars[jobspec.EnvItemIndex] = strconv.Itoa(x.Item.Index)
	}
	return task, &env, nil
}

// mostRounds bounds how often a section is rendered because it has looked at an output that was not read yet. After
// that all of them are.
const mostRounds = 8

// again renders the section with the outputs that it looks at. The claim has read those that the plan looked at and
// those that replace variables of the run; a branch that is taken only now may look at others. They do not become part
// of the environment: what fits there was read by the claim.
func (m *Manager) again(ctx context.Context, x *execution.Claimed, q definition.Question, own value.Vars, secrets map[string]string, masks *mask.Masker) (*plan.Task, error) {
	def, err := m.definitions.Get(ctx, definition.Key{Org: x.Job.Org, ID: x.Job.Definition})
	if err != nil {
		return nil, err
	}
	asked, err := askedFor(x)
	if err != nil {
		return nil, err
	}
	q.Vars = maps.Clone(q.Vars)
	var host template.Host // it answers when all that is looked at is there
	for round := 1; ; round++ {
		seen := template.Lookups{Hosts: m.hosts != nil, Host: host, Secrets: secrets}
		q.Lookups = &seen
		task, err := definition.Task(def, q)
		missing := lacking(&seen, asked, round >= mostRounds)
		switch {
		case len(missing) > 0:
		case seen.Asked:
			host = discreet{m.answers.host(x.UID, m.hosts(ctx, x)), masks}
			continue
		case seen.HostErr != nil:
			return nil, hostFault(seen.HostErr)
		case err != nil:
			return nil, fmt.Errorf("render task %s: %w", x.Task.Name, err)
		default:
			return task, nil
		}
		more, err := m.store.OutputsOf(ctx, x.Execution, missing)
		if err != nil {
			return nil, err
		}
		for name, v := range more {
			if _, hidden := own[name]; !hidden {
				q.Vars[name] = v
			}
		}
	}
}

// hostFault is an error of a host: the task's own where asking again would not help.
func hostFault(err error) error {
	switch errs.CodeOf(err) {
	case errs.CodeUnknown, errs.CodeUnavailable, errs.CodeAborted, errs.CodeExhausted:
		return err
	default:
		return fmt.Errorf("%w: %w", definition.ErrFault, err)
	}
}

// askedFor are the names of the outputs that the claim has read if there are any.
func askedFor(x *execution.Claimed) (map[string]bool, error) {
	vars, err := definition.Decode(x.Job.Vars)
	if err != nil {
		return nil, fmt.Errorf("%w: read variables of execution %s: %w", definition.ErrFault, x.Job.ID, err)
	}
	asked := make(map[string]bool, len(x.Task.Uses)+len(vars))
	for _, name := range x.Task.Uses {
		asked[name] = true
	}
	for name := range vars {
		asked[name] = true
	}
	return asked, nil
}

// lacking returns the names that were looked at and not asked for yet, and notes that they are now.
func lacking(seen *template.Lookups, asked map[string]bool, last bool) []string {
	if asked[template.UsesAll] {
		return nil
	}
	var names []string
	for name := range seen.Vars {
		if !asked[name] {
			asked[name] = true
			names = append(names, name)
		}
	}
	if seen.All || last && len(names) > 0 {
		asked[template.UsesAll] = true
		return []string{template.UsesAll}
	}
	slices.Sort(names)
	return names
}
