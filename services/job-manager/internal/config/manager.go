package config

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/keyring"
)

// Options of a manager.
type Options struct {
	// Keys encrypt; nil: no secret can be stored or read.
	Keys keyring.Keys
	// Rotate makes a new primary key; nil: the ring is kept by somebody else.
	Rotate func() error
	Log    *slog.Logger
}

// Manager is what people and services do with configs and secrets.
type Manager struct {
	store  Store
	vault  Vault
	keys   keyring.Keys
	rotate func() error
	log    *slog.Logger
	views  views
	left   left
}

// NewManager returns a manager.
func NewManager(store Store, vault Vault, o Options) *Manager {
	return &Manager{store: store, vault: vault, keys: o.Keys, rotate: o.Rotate, log: o.Log}
}

// List returns entries by name.
func (m *Manager) List(ctx context.Context, p Page) ([]Entry, error) { return m.store.List(ctx, p) }

func (m *Manager) find(ctx context.Context, s Scope, name string, secret bool) (Entry, error) {
	e, found, err := m.store.Find(ctx, s, name)
	if err != nil {
		return Entry{}, err
	}
	if !found || e.Secret != secret {
		return Entry{}, notFound(s, name, secret, found)
	}
	return e, nil
}

func notFound(s Scope, name string, secret, other bool) error {
	switch {
	case secret && other:
		return errs.Conflict("SECRET_IS_CONFIG", "%s of %s is a config, not a secret", name, s.text())
	case other:
		return errs.Conflict("CONFIG_IS_SECRET", "%s of %s is a secret", name, s.text())
	case secret:
		return errs.NotFound("SECRET_NOT_FOUND", "no secret %s of %s", name, s.text())
	default:
		return errs.NotFound("CONFIG_NOT_FOUND", "no config %s of %s", name, s.text())
	}
}

// Config returns a config.
func (m *Manager) Config(ctx context.Context, s Scope, name string) (Entry, error) {
	return m.find(ctx, s, name, false)
}

// Secret returns what may be known of a secret.
func (m *Manager) Secret(ctx context.Context, s Scope, name string) (Entry, []Version, error) {
	e, err := m.find(ctx, s, name, true)
	if err != nil {
		return Entry{}, nil, err
	}
	versions, err := m.store.Versions(ctx, e.Place(e.Version))
	return e, versions, err
}

// SetConfig stores a config; etag is the one that it must have now, if it is not empty.
func (m *Manager) SetConfig(ctx context.Context, e Entry, etag string) (Entry, error) {
	if e.Type == "" {
		e.Type = Types()[0]
	}
	if err := e.check(); err != nil {
		return Entry{}, err
	}
	return m.save(ctx, e, etag, nil)
}

// SetSecret stores the value of a secret as its newest version, or what is said about it when value is Masked.
func (m *Manager) SetSecret(ctx context.Context, e Entry, value, etag string) (Entry, error) {
	if err := checkName("SECRET_INVALID", e.Name); err != nil {
		return Entry{}, err
	}
	e.Secret = true
	if value == Masked {
		return m.save(ctx, e, etag, nil)
	}
	if err := CheckSecret(value); err != nil {
		return Entry{}, err
	}
	if m.keys == nil {
		return Entry{}, errNoRing()
	}
	return m.save(ctx, e, etag, []byte(value))
}

func errNoRing() error {
	return errs.Precondition("KEYRING_MISSING", "job-manager has no key ring, so no secret can be stored or read: give it one (FORMICARY_KEYRING)")
}

// saveTries bounds how often a write follows others of the same entry.
const saveTries = 10

// save stores an entry; value nil keeps the one that a secret has. What is encrypted depends on the version, which is known
// for certain only in the transaction; so others that were faster are noticed there, and it is tried again.
func (m *Manager) save(ctx context.Context, e Entry, etag string, value []byte) (Entry, error) {
	for range saveTries {
		old, found, err := m.store.Find(ctx, e.Scope, e.Name)
		if err != nil {
			return Entry{}, err
		}
		if err := m.may(&e, &old, found, etag, value != nil); err != nil {
			return Entry{}, err
		}
		w := Write{Entry: e}
		if found {
			w.ID, w.Seen, w.Version = old.ID, old.Change, old.Version
		}
		if value != nil {
			w.Version++
			sealed, err := keyring.Seal(ctx, m.keys, w.Place(w.Version), value)
			if err != nil {
				return Entry{}, fmt.Errorf("encrypt secret %s: %w", e.Name, err)
			}
			w.Sealed = &sealed
		}
		stored, ok, err := m.store.Save(ctx, w)
		if err != nil || ok {
			return stored, err
		}
	}
	return Entry{}, errs.Aborted("CONFIG_CHANGING", "%s of %s is being changed all the time; try again", e.Name, e.text())
}

// may says whether an entry may be stored where there is, or is not, one.
func (m *Manager) may(e, old *Entry, found bool, etag string, value bool) error {
	switch {
	case found && old.Secret != e.Secret:
		return notFound(e.Scope, e.Name, e.Secret, true)
	case !found && e.Secret && !value:
		return notFound(e.Scope, e.Name, true, false)
	default:
		return sameEtag(e, old, found, etag)
	}
}

func sameEtag(e, old *Entry, found bool, etag string) error {
	if etag == "" || found && old.Etag() == etag {
		return nil
	}
	reason := "CONFIG_CHANGED"
	if e.Secret {
		reason = "SECRET_CHANGED"
	}
	return errs.Aborted(reason, "%s of %s was changed since it was read; read it again", e.Name, e.text())
}

// Delete removes a config, or a secret with all versions.
func (m *Manager) Delete(ctx context.Context, s Scope, name string, secret bool, etag string) error {
	for range saveTries {
		e, err := m.find(ctx, s, name, secret)
		if err != nil {
			return err
		}
		if err := sameEtag(&e, &e, true, etag); err != nil {
			return err
		}
		if ok, err := m.store.Delete(ctx, e); err != nil || ok {
			return err
		}
	}
	return errs.Aborted("CONFIG_CHANGING", "%s of %s is being changed all the time; try again", name, s.text())
}

// Reveal returns a version of a secret in clear; 0 is the newest.
func (m *Manager) Reveal(ctx context.Context, s Scope, name string, version int) (string, int, error) {
	e, err := m.find(ctx, s, name, true)
	if err != nil {
		return "", 0, err
	}
	if version == 0 {
		version = e.Version
	}
	sealed, found, err := m.store.Sealed(ctx, e.Place(version))
	switch {
	case err != nil:
		return "", 0, err
	case !found:
		return "", 0, errs.NotFound("SECRET_NOT_FOUND", "no version %d of secret %s of %s; the newest %d are kept", version, name, s.text(), KeptVersions)
	case m.keys == nil:
		return "", 0, errNoRing()
	}
	value, err := keyring.Open(ctx, m.keys, e.Place(version), sealed)
	if err != nil {
		return "", 0, unreadable(name, sealed.KeyID, err)
	}
	return string(value), version, nil
}

// unreadable is the error for what does not open. A ring that could not be asked is no fault of the secret.
func unreadable(name, keyID string, err error) error {
	switch {
	case errors.Is(err, keyring.ErrNoKey):
		return errs.Precondition("SECRET_UNREADABLE", "the secret %s was encrypted with the key %s, which the key ring does not have", name, keyID)
	case errors.Is(err, keyring.ErrForeign):
		return errs.Precondition("SECRET_UNREADABLE", "the secret %s does not open: it was stored for another place, or changed in the database", name)
	default:
		return fmt.Errorf("open secret %s: %w", name, err)
	}
}
