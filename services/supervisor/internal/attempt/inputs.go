package attempt

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/mask"
	"github.com/formicary/formicary/services/supervisor/internal/definition"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// inputs are the artifacts that a task gets: those of the tasks that it depends on, and those that it names. Missing says what
// of them is not there any more: the attempt must not begin then, and one that has begun does not need it.
func (m *Manager) inputs(ctx context.Context, attempt uuid.UUID, x *execution.Claimed, task *plan.Task, masks *mask.Masker) (found []execution.Input, missing string, err error) {
	named := task.ArtifactIDs
	if o := task.Spec.Options; o != nil {
		named = slices.Concat(named, o.DependentArtifactIDs)
	}
	if len(task.Downloads) == 0 && len(named) == 0 {
		return nil, "", nil
	}
	ids := make([]uuid.UUID, len(named))
	for i, s := range named {
		if ids[i], err = uuid.Parse(s); err != nil {
			return nil, "", fmt.Errorf("%w: %.100q in artifact_ids is no id of an artifact", definition.ErrFault, masks.String(s))
		}
	}
	if found, err = m.store.Inputs(ctx, attempt, x.Execution, x.Job.Org, task.Downloads, ids); err != nil {
		return nil, "", err
	}
	for _, id := range ids {
		if !slices.ContainsFunc(found, func(i execution.Input) bool { return i.ID == id && !i.Gone }) {
			return nil, fmt.Sprintf("the artifact %s, which artifact_ids names, does not exist (any more)", id), nil
		}
	}
	if i := slices.IndexFunc(found, func(i execution.Input) bool { return i.Gone }); i >= 0 {
		return nil, fmt.Sprintf("files of task %s are gone: its artifact %s has expired or was deleted; let the task run again, or keep its files longer with artifacts.expires_after",
			found[i].Task, found[i].ID), nil
	}
	return found, "", nil
}
