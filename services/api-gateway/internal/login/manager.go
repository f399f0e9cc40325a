package login

import (
	"context"
	"time"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/services/api-gateway/internal/identity"
)

// Config says who may log in how.
type Config struct {
	// Passwords lets users log in by a password that is kept here.
	Passwords bool
	// Browser and CommandLine are the lives of sessions.
	Browser, CommandLine Life
	// Hashes is how many passwords are looked at at once: each takes a processor and HashMemory, in KiB.
	Hashes     int
	HashMemory uint32
}

// DefaultConfig has no passwords.
func DefaultConfig() Config {
	const day = 24 * time.Hour
	return Config{Browser: Life{12 * time.Hour, 7 * day}, CommandLine: Life{7 * day, 30 * day}, Hashes: 2, HashMemory: Memory}
}

// Store keeps all of it.
type Store interface {
	Attempts
	Sessions
	Tokens
	Bootstraps
	Pendings
	Foreigners
	// User returns a user, also one that is disabled.
	User(ctx context.Context, name string) (identity.User, error)
	// ChangeUser is that of identity.Users.
	ChangeUser(ctx context.Context, name string, f func(u *identity.User, admins int) (end bool, err error)) (identity.User, error)
}

// Manager lets people in.
type Manager struct {
	conf    Config
	store   Store
	users   *identity.Manager
	hasher  *Hasher
	guard   guard
	now     func() time.Time
	changed func()
}

// NewManager returns a manager. changed is called when a credential has ended.
func NewManager(conf Config, store Store, users *identity.Manager, now func() time.Time, changed func()) *Manager {
	return &Manager{
		conf: conf, store: store, users: users, hasher: NewHasher(conf.Hashes, conf.HashMemory), guard: guard{store, now}, now: now, changed: changed,
	}
}

func (m *Manager) change(err error) error {
	if err == nil {
		m.changed()
	}
	return err
}

// Passwords says whether users may log in by a password.
func (m *Manager) Passwords() bool { return m.conf.Passwords }

func noPasswords() error {
	return errs.Precondition("PASSWORDS_OFF", "passwords are not kept here: log in at a provider (--local-users lets users have passwords)")
}

func wrong() error {
	return errs.Unauthenticated("LOGIN_WRONG", "the name or the password is wrong")
}

// Password logs a user in by a password.
func (m *Manager) Password(ctx context.Context, name, password string, from From) (secret string, s Session, err error) {
	if !m.conf.Passwords {
		return "", s, noPasswords()
	}
	right, err := m.guard.attempt(ctx, account(name), from.Address)
	if err != nil {
		return "", s, err
	}
	u, err := m.store.User(ctx, name)
	if err != nil && errs.CodeOf(err) != errs.CodeNotFound {
		return "", s, err
	}
	ok, err := m.hasher.Matches(ctx, password, u.Password)
	if err != nil {
		return "", s, err
	}
	if !ok || u.DisabledAt != nil {
		return "", s, wrong()
	}
	if err := right(ctx); err != nil {
		return "", s, err
	}
	return m.Open(ctx, u.Name, "password", from)
}

// HashOf returns what is stored of a password that somebody else gives to a user who is made.
func (m *Manager) HashOf(ctx context.Context, user, password string) (string, error) {
	if !m.conf.Passwords {
		return "", noPasswords()
	}
	if err := CheckPassword(password, user); err != nil {
		return "", err
	}
	return m.hasher.Hash(ctx, password)
}

// account is the key of what is called so, also when there is no such user.
func account(name string) string { return name[:min(len(name), 64)] }

// SetPassword gives a user a password. Who changes the own one names the current one; all sessions of the user end with the
// old password, and when somebody else sets it the tokens do too.
func (m *Manager) SetPassword(ctx context.Context, name, current, password string, self bool, address string) error {
	if !m.conf.Passwords {
		return noPasswords()
	}
	if err := CheckPassword(password, name); err != nil {
		return err
	}
	u, err := m.store.User(ctx, name)
	if err != nil {
		return err
	}
	if self && u.Password != "" {
		if err := m.confirm(ctx, u, current, address); err != nil {
			return err
		}
	}
	hash, err := m.hasher.Hash(ctx, password)
	if err != nil {
		return err
	}
	old := u.Password
	_, err = m.store.ChangeUser(ctx, name, func(u *identity.User, _ int) (bool, error) {
		if u.Password != old {
			return false, errs.Aborted("PASSWORD_CHANGED", "the password of %s was changed at this moment", name)
		}
		u.Password = hash
		return !self, nil
	})
	if err == nil && self {
		_, err = m.store.EndSessions(ctx, name)
	}
	return m.change(err)
}

// confirm checks the current password of somebody who is logged in: a session that was stolen must not be enough.
func (m *Manager) confirm(ctx context.Context, u identity.User, current, address string) error {
	right, err := m.guard.attempt(ctx, account(u.Name), address)
	if err != nil {
		return err
	}
	ok, err := m.hasher.Matches(ctx, current, u.Password)
	if err != nil {
		return err
	}
	if !ok {
		return wrong()
	}
	return right(ctx)
}

// SignUp makes a new user by the code of an invitation and logs it in. It needs passwords.
func (m *Manager) SignUp(ctx context.Context, code string, u identity.User, password string, from From) (secret string, s Session, err error) {
	if !m.conf.Passwords {
		return "", s, noPasswords()
	}
	if err := CheckPassword(password, u.Name); err != nil {
		return "", s, err
	}
	right, err := m.guard.attempt(ctx, "", from.Address)
	if err != nil {
		return "", s, err
	}
	if u.Password, err = m.hasher.Hash(ctx, password); err != nil {
		return "", s, err
	}
	if u, _, err = m.users.SignUp(ctx, code, u); err != nil {
		return "", s, err
	}
	if err := right(ctx); err != nil {
		return "", s, err
	}
	return m.Open(ctx, u.Name, "invitation", from)
}

// Join makes a user who is logged in a member by the code of an invitation.
func (m *Manager) Join(ctx context.Context, code, user, address string) (identity.Invitation, error) {
	right, err := m.guard.attempt(ctx, account(user)+" joining", address)
	if err != nil {
		return identity.Invitation{}, err
	}
	i, err := m.users.Join(ctx, code, user)
	if err != nil {
		return i, err
	}
	return i, right(ctx)
}
