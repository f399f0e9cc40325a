package attempt

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/batch"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// Sync answers the report of an ant.
func (m *Manager) Sync(ctx context.Context, r execution.Report) (execution.Answer, error) {
	a, err := m.syncs.Do(ctx, r)
	if err != nil {
		return a, err
	}
	if a.Superseded {
		return a, errs.Precondition("SESSION_SUPERSEDED", "a newer session of ant %s exists", r.Ant)
	}
	return a, nil
}

// syncTime bounds the renewal of a batch: ants do not wait longer, and the next batch must not either.
const syncTime = 5 * time.Second

func (m *Manager) sync(ctx context.Context, reports []execution.Report) ([]execution.Answer, []error) {
	ctx, cancel := context.WithTimeout(ctx, syncTime)
	defer cancel()
	answers, gone, err := m.store.Sync(ctx, reports)
	if err != nil {
		return nil, batch.All(len(reports), err)
	}
	if len(gone) > 0 {
		m.gone(gone)
	}
	return answers, nil
}

// LogPlace says where the log of a live attempt goes. Any session of its ant may ask, as it may send the result.
func (m *Manager) LogPlace(ctx context.Context, c execution.Claim) (execution.LogPlace, error) {
	return placed(ctx, m.logs, c)
}

// Place says whose a live attempt is. Any session of its ant may ask.
func (m *Manager) Place(ctx context.Context, c execution.Claim) (execution.LogPlace, error) {
	return placed(ctx, m.places, c)
}

func placed(ctx context.Context, b *batch.Group[uuid.UUID, execution.LogPlace], c execution.Claim) (execution.LogPlace, error) {
	p, err := b.Do(ctx, c.UID)
	if err != nil {
		return p, err
	}
	if !p.Live || p.Ant != c.Ant {
		return p, errs.Precondition("STALE_ATTEMPT", "attempt %s is not live on this ant", c.UID)
	}
	return p, nil
}

// find finds attempts, and hands them to then, which may be nil.
func (m *Manager) find(then func(context.Context, map[uuid.UUID]execution.LogPlace) error) func(context.Context, []uuid.UUID) ([]execution.LogPlace, []error) {
	return func(ctx context.Context, uids []uuid.UUID) ([]execution.LogPlace, []error) {
		found, err := m.store.Places(ctx, uids)
		if err == nil && then != nil {
			err = then(ctx, found)
		}
		if err != nil {
			return nil, batch.All(len(uids), err)
		}
		out := make([]execution.LogPlace, len(uids))
		for i, uid := range uids {
			out[i] = found[uid]
		}
		return out, nil
	}
}
