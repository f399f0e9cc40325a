package request

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/jobspec/template"
)

// host does what templates ask for at the launch of a run: it counts and submits jobs of the organisation.
type host struct {
	ctx     context.Context //nolint:containedctx // a host lives as long as one rendering
	manager *Manager
	rec     *Record
	longest time.Duration // that an answer took
}

// since notes how long an answer took that was asked for at a time.
func (h *host) since(asked time.Time) { h.longest = max(h.longest, time.Since(asked)) }

// CountByState implements template.Host.
func (h *host) CountByState(jobType string, names []string) (int, error) {
	states := make([]State, len(names))
	for i, name := range names {
		states[i] = State(name)
		if !slices.Contains(States(), states[i]) {
			return 0, errs.Invalid("TEMPLATE_INVALID", "%q is no state of a request", name)
		}
	}
	defer h.since(time.Now())
	return h.manager.store.Count(h.ctx, h.rec.OrgID, jobType, states)
}

// Submit implements template.Host. A key that the template does not choose itself is one of this run, so a rendering that
// is repeated finds what it has submitted, and a restart submits again.
func (h *host) Submit(jobType, description string, params map[string]any) (string, error) {
	defer h.since(time.Now())
	key := fmt.Sprint(params[template.SubmitUserKey])
	if rest, own := strings.CutPrefix(key, h.rec.ID.String()+"/"); own {
		key = fmt.Sprintf("%s/%d/%s", h.rec.ID, h.rec.Run, rest)
	}
	parent, err := h.parent(params[template.SubmitParentID])
	if err != nil {
		return "", err
	}
	delete(params, template.SubmitUserKey)
	delete(params, template.SubmitParentID)
	rec, _, err := h.manager.Submit(h.ctx, Submission{
		OrgID: h.rec.OrgID, User: h.rec.CreatedBy, JobType: jobType, Params: params, Description: description, IdempotencyKey: key, Parent: parent,
	})
	if err != nil {
		return "", err
	}
	return rec.ID.String(), nil
}

// parent returns the request that submits: this one, or another one of the organisation that the template names.
func (h *host) parent(named any) (*Parent, error) {
	rec := h.rec
	if named != nil {
		id, err := uuid.Parse(fmt.Sprint(named))
		if err != nil {
			return nil, errs.Invalid("PARENT_NOT_FOUND", "the parent %v is no id of a request", named)
		}
		family, err := h.manager.store.Family(h.ctx, nil, []uuid.UUID{id})
		if err != nil {
			return nil, err
		}
		found, ok := family.Parents[id]
		if !ok || found.OrgID != h.rec.OrgID {
			return nil, errs.NotFound("PARENT_NOT_FOUND", "no job request %s that could be the parent", id)
		}
		rec = &found
	}
	if rec.Depth >= MaxDepth {
		return nil, tooDeep()
	}
	return &Parent{ID: rec.ID, Depth: rec.Depth}, nil
}
