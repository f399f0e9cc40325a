package login

import (
	"context"
	"time"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/services/api-gateway/internal/identity"
)

// BootstrapLife is how long the code counts that makes the first platform-admin.
const BootstrapLife = time.Hour

// Bootstraps keeps the code that makes the first platform-admin.
type Bootstraps interface {
	// SetBootstrap stores another code, unless there is a platform-admin; then it says false.
	SetBootstrap(ctx context.Context, hash []byte, expires time.Time) (needed bool, err error)
	// UseBootstrap takes the code and makes the user, a platform-admin and org-admin of the default org; a code counts
	// once, and not when there is a platform-admin. It fails with BOOTSTRAP_INVALID, USER_EXISTS.
	UseBootstrap(ctx context.Context, hash []byte, now time.Time, u identity.User) error
}

// BadBootstrap is the answer for every code that does not count.
func BadBootstrap() error {
	return errs.Unauthenticated("BOOTSTRAP_INVALID", "the code is wrong, was used, has expired, or is not needed any more: a start of the gateway prints a new one while nobody is platform-admin")
}

// NewBootstrap returns a code that makes the first platform-admin, and "" when there is one. It ends the one before.
func (m *Manager) NewBootstrap(ctx context.Context) (code string, err error) {
	code, hash := identity.NewSecret(identity.BootstrapPrefix)
	needed, err := m.store.SetBootstrap(ctx, hash, m.now().Add(BootstrapLife))
	if err != nil || !needed {
		return "", err
	}
	return code, nil
}

// Bootstrap makes the first platform-admin and logs it in. The password may be empty.
func (m *Manager) Bootstrap(ctx context.Context, code, name, password string, from From) (secret string, s Session, err error) {
	if err := identity.CheckUserName(name); err != nil {
		return "", s, err
	}
	u := identity.User{ID: identity.NewID(), Name: name, PlatformRole: identity.PlatformAdmin, DefaultOrg: identity.DefaultOrg, CreatedAt: m.now(), CreatedBy: name}
	right, err := m.guard.attempt(ctx, "", from.Address)
	if err != nil {
		return "", s, err
	}
	if password != "" {
		if !m.conf.Passwords {
			return "", s, noPasswords()
		}
		if err := CheckPassword(password, name); err != nil {
			return "", s, err
		}
		if u.Password, err = m.hasher.Hash(ctx, password); err != nil {
			return "", s, err
		}
	}
	if err := m.store.UseBootstrap(ctx, identity.HashOf(code), u.CreatedAt, u); err != nil {
		return "", s, err
	}
	m.changed()
	if err := right(ctx); err != nil {
		return "", s, err
	}
	return m.Open(ctx, name, "bootstrap", from)
}
