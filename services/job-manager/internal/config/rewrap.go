package config

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/keyring"
)

// left counts what is not under the primary key.
type left struct{ n atomic.Int64 }

// RewrapsLeft is how many data keys were not under the primary key when it was last looked at.
func (m *Manager) RewrapsLeft() int64 { return m.left.n.Load() }

// Key is a key of the ring.
type Key struct {
	ID string
	// Sealed is how much it holds; Missing says that the ring does not have it.
	Sealed  int64
	Missing bool
}

// Ring is what may be known of the key ring.
type Ring struct {
	Primary string
	Keys    []Key
	Left    int64
}

// lists is a ring that tells its keys.
type lists interface{ IDs() []string }

// Ring counts what is encrypted under which key.
func (m *Manager) Ring(ctx context.Context) (Ring, error) {
	if m.keys == nil {
		return Ring{}, errNoRing()
	}
	counts, err := m.vault.ByKey(ctx)
	if err != nil {
		return Ring{}, err
	}
	r := Ring{Primary: m.keys.Primary()}
	known, tells := m.keys.(lists)
	if tells {
		for _, id := range known.IDs() {
			r.Keys = append(r.Keys, Key{ID: id, Sealed: counts[id]})
		}
	}
	for id, n := range counts {
		if id != r.Primary {
			r.Left += n
		}
		if !r.has(id) {
			r.Keys = append(r.Keys, Key{ID: id, Sealed: n, Missing: tells})
		}
	}
	return r, nil
}

func (r *Ring) has(id string) bool {
	for _, k := range r.Keys {
		if k.ID == id {
			return true
		}
	}
	return false
}

// Rotate makes a new key the primary one; Rewrap does the rest.
func (m *Manager) Rotate(ctx context.Context) (Ring, error) {
	switch {
	case m.keys == nil:
		return Ring{}, errNoRing()
	case m.rotate == nil:
		return Ring{}, errs.Precondition("KEYRING_READ_ONLY",
			"the key ring is kept outside of the colony: add a key to it for every replica of job-manager, then name it as the primary one; the rest is done by itself")
	}
	if err := m.rotate(); err != nil {
		return Ring{}, fmt.Errorf("rotate the key ring: %w", err)
	}
	m.log.InfoContext(ctx, "the key ring has a new primary key", "key", m.keys.Primary())
	return m.Ring(ctx)
}

// rewrapBatch is how many data keys are encrypted again at once.
const rewrapBatch = 200

// reloads is a ring that others change.
type reloads interface{ Reload() error }

// Rewrap encrypts all data keys that are not under the primary key again. Whatever is written or read meanwhile goes on; when
// it is stopped, the next call goes on where it was. What cannot be opened is told of and left as it is.
func (m *Manager) Rewrap(ctx context.Context) error {
	if m.keys == nil {
		return nil
	}
	if r, ok := m.keys.(reloads); ok {
		if err := r.Reload(); err != nil {
			m.log.ErrorContext(ctx, "the key ring cannot be read again; what was read before is used", "error", err)
		}
	}
	primary := m.keys.Primary()
	beside, err := m.vault.Beside(ctx, primary)
	if err != nil {
		return err
	}
	if !beside {
		m.left.n.Store(0)
		return nil
	}
	counts, err := m.vault.ByKey(ctx)
	if err != nil {
		return err
	}
	delete(counts, primary)
	var all int64
	for _, n := range counts {
		all += n
	}
	m.left.n.Store(all)
	for id := range counts {
		if err := m.rewrap(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

func (m *Manager) rewrap(ctx context.Context, keyID string) error {
	var after keyring.Place
	stuck := 0
	defer func() {
		if stuck > 0 {
			m.log.ErrorContext(ctx, "secrets cannot be opened, so their keys cannot be rotated", "key", keyID, "secrets", stuck)
		}
	}()
	for {
		some, err := m.vault.Under(ctx, keyID, after, rewrapBatch)
		if err != nil || len(some) == 0 {
			return err
		}
		after = some[len(some)-1].Place
		done := map[string][]Rewrapped{} // by the key that was the primary one: it may change meanwhile
		for _, s := range some {
			fresh, err := keyring.Rewrap(ctx, m.keys, s.Place, s.Sealed)
			if err != nil {
				stuck++
				continue
			}
			done[fresh.KeyID] = append(done[fresh.KeyID], Rewrapped{Place: s.Place, Stale: s.DataKey, Fresh: fresh.DataKey})
		}
		for id, list := range done {
			if err := m.vault.Rewrap(ctx, id, list); err != nil {
				return err
			}
			m.left.n.Add(-int64(len(list)))
		}
	}
}

// Verify opens a sample of what is encrypted under each key, and returns what does not open.
func Verify(ctx context.Context, v Vault, keys keyring.Keys, salt string, each int) (broken []string, err error) {
	some, err := v.Sample(ctx, salt, each)
	if err != nil {
		return nil, err
	}
	for _, s := range some {
		if _, err := keyring.Open(ctx, keys, s.Place, s.Sealed); err != nil {
			broken = append(broken, fmt.Sprintf("version %d of secret %s of %s in %q, under the key %s: %s", s.Version, s.Name, s.Scope, s.Org, s.KeyID, err))
		}
	}
	return broken, nil
}
