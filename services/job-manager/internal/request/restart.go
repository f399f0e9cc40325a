package request

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/value"
	"github.com/formicary/formicary/services/job-manager/internal/definition"
)

// Wish is how a person wants an ended request to run again.
type Wish struct {
	// Hard and FromTask as in Again; not both.
	Hard     bool
	FromTask string
	// JobVersion is a version or a range of versions; empty stays with the version that the request has.
	JobVersion string
}

// Restart makes a new run of an ended request.
func (m *Manager) Restart(ctx context.Context, org, name string, w Wish) (Record, error) {
	if w.Hard && w.FromTask != "" {
		return Record{}, errs.Invalid("REQUEST_INVALID", "a hard restart keeps no task, so it has no task to begin with")
	}
	if err := m.store.Room(ctx, org); err != nil {
		return Record{}, err
	}
	again := Again{Hard: w.Hard, FromTask: w.FromTask}
	if w.FromTask != "" || w.JobVersion != "" {
		rec, err := m.Get(ctx, org, name)
		if err != nil {
			return Record{}, err
		}
		if again.Pin, err = m.pin(ctx, &rec, w); err != nil {
			return Record{}, err
		}
		name = rec.ID.String()
	}
	return m.change(ctx, org, name, func(now time.Time, r *Request) error { return r.Restart(now, again) })
}

// pin finds the version that is wished for and checks the task to begin with; nil stays with the version of rec.
func (m *Manager) pin(ctx context.Context, rec *Record, w Wish) (*Pin, error) {
	params := value.Vars{}
	if err := json.Unmarshal(rec.Params, &params); err != nil {
		return nil, fmt.Errorf("read the parameters of request %s: %w", rec.ID, err)
	}
	if w.JobVersion == "" {
		def, err := m.definitions.Parsed(ctx, rec.DefinitionID)
		if err != nil {
			return nil, err
		}
		return nil, m.checkTask(ctx, def.Spec, rec, params, w.FromTask)
	}
	def, err := m.definitions.Resolve(ctx, definition.Query{
		OrgID: rec.OrgID, JobType: rec.JobType, Version: w.JobVersion, Plugins: rec.ChildKey != "",
	})
	if err != nil {
		return nil, err
	}
	if params, err = m.recheck(ctx, rec, def.Spec, params); err != nil {
		return nil, err
	}
	text, err := encodeParams(params)
	if err != nil {
		return nil, err
	}
	next := *rec
	next.DefinitionID, next.DefinitionVersion, next.Params = def.ID, def.Version, text
	if err := m.checkTask(ctx, def.Spec, &next, params, w.FromTask); err != nil {
		return nil, err
	}
	class, pending, err := m.rehearse(ctx, def.Spec, &next, params)
	if err != nil {
		return nil, err
	}
	return &Pin{DefinitionID: def.ID, DefinitionVersion: def.Version, Params: text, PlacementClass: class, PendingTimeout: pending}, nil
}

// recheck fits the parameters that a request has to another version.
func (m *Manager) recheck(ctx context.Context, rec *Record, spec *jobspec.Definition, params value.Vars) (value.Vars, error) {
	before := spec
	switch old, err := m.definitions.Parsed(ctx, rec.DefinitionID); {
	case err == nil:
		before = old.Spec
	case errs.CodeOf(err) == errs.CodeUnknown:
		return nil, err
	}
	params, err := spec.RecheckParams(params, before)
	return params, unfit(spec, err)
}

// checkTask refuses a task that the plan does not have. A plan that only the launch can make is not looked at.
func (m *Manager) checkTask(ctx context.Context, spec *jobspec.Definition, rec *Record, params value.Vars, task string) error {
	if task == "" {
		return nil
	}
	params, err := spec.RecheckParams(params, spec)
	if err != nil {
		return nil //nolint:nilerr // the launch says what is wrong
	}
	view, err := m.configs.View(ctx, rec.OrgID, rec.CreatedBy, rec.JobType)
	if err != nil {
		return err
	}
	rendered, err := spec.Plan(seen(spec, &view, Variables(rec, params, time.Now())))
	if err != nil {
		return nil //nolint:nilerr // the launch says what is wrong
	}
	if !slices.ContainsFunc(rendered.Tasks, func(t plan.Task) bool { return t.Name == task }) {
		return errs.NotFound("TASK_NOT_FOUND", "job type %s version %d has no task %s", rec.JobType, rec.DefinitionVersion, task)
	}
	return nil
}
