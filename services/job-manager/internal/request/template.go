package request

import (
	"context"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/errs"
)

// SubmitForTemplate submits what a template asks for at the claim of a task of a run, as its launch would.
func (m *Manager) SubmitForTemplate(ctx context.Context, run Run, jobType, description string, params map[string]any) (string, error) {
	h, err := m.hostOf(ctx, run.ID)
	if err != nil {
		return "", err
	}
	if run.Run > 0 {
		h.rec.Run = run.Run // the key is one of the run whose task was claimed
	}
	return h.Submit(jobType, description, params)
}

// CountForTemplate counts requests for the template of a task of a request.
func (m *Manager) CountForTemplate(ctx context.Context, id uuid.UUID, jobType string, states []string) (int, error) {
	h, err := m.hostOf(ctx, id)
	if err != nil {
		return 0, err
	}
	return h.CountByState(jobType, states)
}

func (m *Manager) hostOf(ctx context.Context, id uuid.UUID) (*host, error) {
	recs, _, err := m.store.ToLaunch(ctx, []uuid.UUID{id})
	if err != nil {
		return nil, err
	}
	if len(recs) == 0 {
		return nil, errs.NotFound("REQUEST_NOT_FOUND", "no job request %s", id)
	}
	return &host{ctx: ctx, manager: m, rec: &recs[0]}, nil
}
