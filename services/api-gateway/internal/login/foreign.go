package login

import (
	"context"
	"fmt"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/services/api-gateway/internal/identity"
)

// Foreign is somebody whom a provider of OpenID Connect knows.
type Foreign struct {
	// Issuer and Subject say who it is.
	Issuer, Subject string
	// Name is what a new user is called, with a number behind it where the name was given; Title and Email are for people.
	Name, Title, Email string
	// Org, if not empty, is where a new user becomes a member, with Role.
	Org, Role string
	// Invitation, if not empty, is the code of one, which counts instead.
	Invitation string
}

// Foreigners keeps who is known by a provider.
type Foreigners interface {
	// ForeignUser returns the user, or UnknownForeigner.
	ForeignUser(ctx context.Context, issuer, subject string) (identity.User, error)
	// AddForeignUser stores a new user who is known so, and either as the member or by the invitation with that hash. It
	// fails with USER_EXISTS, INVITATION_INVALID, LOGIN_KNOWN (somebody was quicker).
	AddForeignUser(ctx context.Context, f Foreign, u identity.User, m *identity.Member, invitation []byte) error
}

const reasonUnknown = "LOGIN_UNKNOWN"

// UnknownForeigner is the answer for somebody who is no user and may become none, and for one who is disabled.
func UnknownForeigner() error {
	return errs.Denied(reasonUnknown, "you are no user here: ask for an invitation, and log in with it")
}

const mostNames = 50 // that are tried for a new user

// Foreign logs in whom prove returns. Somebody new becomes a user if invited, or if the provider's people are members.
func (m *Manager) Foreign(ctx context.Context, provider string, from From, prove func(context.Context) (Foreign, error)) (secret string, s Session, err error) {
	right, err := m.guard.attempt(ctx, "", from.Address)
	if err != nil {
		return "", s, err
	}
	f, err := prove(ctx)
	if err != nil {
		return "", s, err
	}
	u, err := m.store.ForeignUser(ctx, f.Issuer, f.Subject)
	switch {
	case errs.Reason(err) == reasonUnknown:
		u, err = m.admit(ctx, f)
	case err == nil && u.DisabledAt != nil:
		err = UnknownForeigner()
	case err == nil && f.Invitation != "":
		_, err = m.users.Join(ctx, f.Invitation, u.Name)
	}
	if err != nil {
		return "", s, err
	}
	if err := right(ctx); err != nil {
		return "", s, err
	}
	from.Kind = Browser
	return m.Open(ctx, u.Name, provider, from)
}

// admit makes a user.
func (m *Manager) admit(ctx context.Context, f Foreign) (identity.User, error) {
	var first *identity.Member
	var invitation []byte
	u := identity.User{Title: f.Title, Email: f.Email, CreatedAt: m.now()}
	switch {
	case f.Invitation != "":
		invitation = identity.HashOf(f.Invitation)
	case f.Org != "":
		u.DefaultOrg = f.Org
		first = &identity.Member{Org: f.Org, Role: f.Role, Groups: []string{}, AddedAt: u.CreatedAt}
	default:
		return u, UnknownForeigner()
	}
	for i := 1; i <= mostNames; i++ {
		u.ID, u.Name = identity.NewID(), f.Name
		if i > 1 {
			u.Name = fmt.Sprintf("%s-%d", f.Name, i)
		}
		u.CreatedBy = u.Name
		if first != nil {
			first.User, first.AddedBy = u.Name, u.Name
		}
		err := m.store.AddForeignUser(ctx, f, u, first, invitation)
		switch errs.Reason(err) {
		case "USER_EXISTS":
			continue
		case "LOGIN_KNOWN":
			return m.store.ForeignUser(ctx, f.Issuer, f.Subject)
		}
		return u, m.change(err)
	}
	return u, errs.Conflict("USER_EXISTS", "every name like %s was given", f.Name)
}
