package request

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/errs"
)

// Run names a run of a request.
type Run struct {
	ID  uuid.UUID
	Run int
}

// launchBytes bounds what one answer with launches holds, well below the largest message.
const launchBytes = 12 << 20

// Launches renders the definitions of admitted runs. A run that its request is not in any more is left out.
func (m *Manager) Launches(ctx context.Context, runs []Run) ([]Launch, error) {
	wanted := make(map[Run]bool, len(runs))
	ids := make([]uuid.UUID, len(runs))
	for i, r := range runs {
		wanted[r], ids[i] = true, r.ID
	}
	recs, ruleChanges, err := m.store.ToLaunch(ctx, ids)
	if err != nil {
		return nil, err
	}
	var out, memorable []Launch
	bytes := 0
	for _, rec := range recs {
		if bytes > launchBytes {
			break // supervisor asks for the others again
		}
		switch {
		case !wanted[Run{ID: rec.ID, Run: rec.Run}]:
		case rec.Unwanted():
			l := m.unwanted(ctx, rec)
			out = append(out, l)
			if l.Memorable() {
				memorable = append(memorable, l)
			}
		case rec.State.Active():
			l, err := m.launch(ctx, rec, ruleChanges)
			if err != nil {
				return nil, err
			}
			out = append(out, l)
			bytes += len(l.Plan) + len(l.Vars)
			if l.Memorable() {
				memorable = append(memorable, l)
			}
		}
	}
	if len(memorable) > 0 {
		if err := m.store.Launched(ctx, memorable); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// unwanted is the launch of a run that is to be recorded as CANCELLED. Who hears of that is known from its definition, if
// it can be read.
func (m *Manager) unwanted(ctx context.Context, rec Record) Launch {
	l := Launch{Record: rec, Cancelled: true}
	if rec.Audience == nil && !rec.State.Terminal() {
		if def, err := m.definitions.Parsed(ctx, rec.DefinitionID); err == nil {
			l.Audience = def.Spec.Audience
		}
	}
	return l
}

func (m *Manager) launch(ctx context.Context, rec Record, ruleChanges int64) (Launch, error) {
	def, err := m.definitions.Parsed(ctx, rec.DefinitionID)
	switch {
	case err == nil:
	case errs.CodeOf(err) != errs.CodeUnknown:
		return failedLaunch(rec, err), nil
	default:
		return Launch{}, err
	}
	l, err := NewLaunch(rec, def.Spec, &host{ctx: ctx, manager: m, rec: &rec}, time.Now())
	if err != nil {
		return Launch{}, err
	}
	l.ErrorRules, err = m.rules.Encoded(ctx, ruleChanges, rec.OrgID, rec.JobType)
	return l, err
}
