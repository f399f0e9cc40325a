package attempt

import (
	"context"
	"time"

	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
)

// Hope lists attempts as running that an ant of the same id has claimed elsewhere and that go on here, so that the first
// Sync of the session moves them to it. Adopt must follow.
func (m *Manager) Hope(uids []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, uid := range uids {
		if !m.deps.Spool.Holds(uid) { // those have ended here
			m.hoped[uid] = true
		}
	}
}

// Adopt claims what was hoped for, once supervisor has accepted the session, and returns what it got. It tries until
// there is an answer or ctx ends.
func (m *Manager) Adopt(ctx context.Context) (uids []string) {
	for {
		hoped := m.hopes()
		if len(hoped) == 0 {
			return nil
		}
		works, err := m.reclaim(ctx, hoped)
		if err == nil {
			for _, w := range works {
				m.accept(ctx, w)
				if w.GetRefused() == "" {
					uids = append(uids, w.GetUid())
				}
			}
			m.giveUp(hoped)
			return uids
		}
		m.deps.Log.Warn("attempts of an earlier session are not adopted yet", "attempts", len(hoped), "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(ringAgain):
		}
	}
}

func (m *Manager) reclaim(ctx context.Context, uids []string) ([]*antv1.Work, error) {
	ctx, cancel := context.WithTimeout(ctx, claimTime)
	defer cancel()
	var works []*antv1.Work
	session := m.current()
	for len(uids) > 0 {
		some := uids[:min(len(uids), maxAdopted)]
		uids = uids[len(some):]
		res, err := m.deps.Supervisor.Claim(ctx, &antv1.ClaimRequest{AntId: m.opts.Ant, Session: session, Uids: some})
		if err != nil {
			return nil, err
		}
		works = append(works, res.GetWorks()...)
	}
	return works, nil
}

// maxAdopted is how many attempts one call claims.
const maxAdopted = 256

func (m *Manager) hopes() (uids []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for uid := range m.hoped {
		uids = append(uids, uid)
	}
	return uids
}

// giveUp forgets what was not granted.
func (m *Manager) giveUp(uids []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, uid := range uids {
		delete(m.hoped, uid)
	}
}

// disowned says that another ant has the id.
func (m *Manager) disowned() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.given
}
