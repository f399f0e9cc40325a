package attempt

import (
	"context"
	"maps"
	"slices"
	"time"

	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	"github.com/formicary/formicary/services/ant/internal/executor"
)

// Expect lists attempts as running that an ant of the same id has claimed elsewhere and that go on here, so that the first
// Sync of the session moves them to it. Reclaim must follow.
func (m *Manager) Expect(uids []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, uid := range uids {
		if !m.deps.Spool.Holds(uid) { // those have ended here
			m.expected[uid] = true
		}
	}
}

// Found is an attempt that an earlier life of the ant has begun and that goes on.
type Found struct {
	By    executor.Adopter
	Began time.Time // zero when that is not known
}

// Found is Expect for what an earlier life of this ant has begun and goes on: each is adopted when it is claimed, or removed.
func (m *Manager) Found(found map[string]Found) {
	m.mu.Lock()
	maps.Copy(m.found, found)
	m.mu.Unlock()
	m.Expect(slices.Collect(maps.Keys(found)))
}

// takeFound returns what there is of the attempt, once; false when nothing of it runs yet.
func (m *Manager) takeFound(uid string) (Found, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f, ok := m.found[uid]
	delete(m.found, uid)
	return f, ok
}

// removeTime bounds the end of what is not adopted.
const removeTime = 30 * time.Second

// abandonLocked removes what was found and is not expected any more. m.mu is held.
func (m *Manager) abandonLocked() {
	for uid, f := range m.found {
		if m.expected[uid] || m.running[uid] != nil {
			continue
		}
		delete(m.found, uid)
		m.all.Go(func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(m.life), removeTime)
			defer cancel()
			m.deps.Log.Warn("an attempt of an earlier life of this ant is ended", "attempt", uid)
			err := f.By.Remove(ctx, uid)
			if err == nil {
				err = m.deps.Spool.Forget(uid)
			}
			if err != nil {
				m.deps.Log.Error("an attempt of an earlier life may still run", "attempt", uid, "error", err)
			}
		})
	}
}

// Reclaim claims what is expected, once supervisor has accepted the session, and returns what it got. It tries until
// there is an answer or ctx ends. What alone makes a claim fail is given up after a few tries: the others wait for it.
func (m *Manager) Reclaim(ctx context.Context) (uids []string) {
	tries := map[string]int{}
	for {
		expected := m.stillExpected()
		if len(expected) == 0 {
			return uids
		}
		alone := map[string]error{}
		works, err := m.claimAgain(ctx, expected, alone)
		var answered []string
		for _, w := range works {
			if w.GetLater() != "" {
				m.postponed(ctx, w)
				continue
			}
			m.accept(ctx, w)
			answered = append(answered, w.GetUid())
			if w.GetRefused() == "" {
				uids = append(uids, w.GetUid())
			}
		}
		for uid, why := range alone {
			if tries[uid]++; tries[uid] >= mostAlone {
				m.deps.Log.Error("an attempt of an earlier session is given up", "attempt", uid, "error", why)
				answered = append(answered, uid)
			}
		}
		m.forgetExpected(answered)
		if len(answered) == len(expected) {
			return uids
		}
		m.deps.Log.Warn("attempts of an earlier session are not claimed yet", "attempts", len(expected)-len(answered), "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(ringAgain):
		}
	}
}

const (
	// maxAdopted is how many attempts one call claims.
	maxAdopted = 256
	// mostAlone is how often an attempt is asked for whose claim fails though nothing else is in it.
	mostAlone = 5
)

// claimAgain returns what is answered. A call that fails for what it names together is made again in halves, and what fails
// alone is noted; any other error ends the round.
func (m *Manager) claimAgain(ctx context.Context, uids []string, alone map[string]error) (works []*antv1.Work, err error) {
	for some := range slices.Chunk(uids, maxAdopted) {
		res, err := m.claimOnce(ctx, some)
		switch {
		case err == nil:
			works = append(works, res.GetWorks()...)
		case !together(err) || ctx.Err() != nil:
			return works, err
		case len(some) == 1:
			alone[some[0]] = err
		default:
			m.deps.Log.Warn("claim failed; its halves are tried", "attempts", len(some), "error", err)
			for _, half := range [][]string{some[:len(some)/2], some[len(some)/2:]} {
				more, err := m.claimAgain(ctx, half, alone)
				if works = append(works, more...); err != nil {
					return works, err
				}
			}
		}
	}
	return works, nil
}

func (m *Manager) claimOnce(ctx context.Context, uids []string) (*antv1.ClaimResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, claimTime)
	defer cancel()
	return m.deps.Supervisor.Claim(ctx, &antv1.ClaimRequest{AntId: m.opts.Ant, Session: m.current(), Uids: uids, Partial: true})
}

func (m *Manager) stillExpected() (uids []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for uid := range m.expected {
		uids = append(uids, uid)
	}
	return uids
}

// giveUp forgets what was not granted.
func (m *Manager) forgetExpected(uids []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, uid := range uids {
		delete(m.expected, uid)
	}
	m.abandonLocked()
}

// disowned says that another ant has the id.
func (m *Manager) disowned() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.given
}
