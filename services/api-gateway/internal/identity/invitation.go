package identity

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/errs"
)

// Invitation lets whoever has its code, once, become a member.
type Invitation struct {
	ID  uuid.UUID
	Org string
	// Note says for whom it is.
	Note      string
	Role      string
	Groups    []string
	CreatedAt time.Time
	CreatedBy string
	ExpiresAt time.Time
	UsedAt    *time.Time
	UsedBy    string
}

// The life of an invitation.
const (
	InvitationLife = 7 * 24 * time.Hour
	maxInvitation  = 30 * 24 * time.Hour
)

// BadInvitation is the answer for every code that does not work, so that nobody learns which ones there are.
func BadInvitation() error {
	return errs.NotFound("INVITATION_INVALID", "the invitation is not valid: it was used, has expired or never was")
}

// Invitations keeps invitations.
type Invitations interface {
	AddInvitation(ctx context.Context, i Invitation, hash []byte) error
	// Invitations lists those of an org by id.
	Invitations(ctx context.Context, org string, after uuid.UUID, most int) ([]Invitation, error)
	// RemoveInvitation removes one that was not used. It fails with INVITATION_NOT_FOUND.
	RemoveInvitation(ctx context.Context, org string, id uuid.UUID) error
	// Accept uses the invitation with that hash for the user that who returns, which is stored when it is new. It fails
	// with INVITATION_INVALID, MEMBER_EXISTS, USER_EXISTS.
	Accept(ctx context.Context, hash []byte, now time.Time, user User, isNew bool) (Invitation, error)
}

// Invite makes an invitation and returns its code, which nobody can read again. life 0 means InvitationLife.
func (m *Manager) Invite(ctx context.Context, i Invitation, life time.Duration) (code string, _ Invitation, err error) {
	if err := checkOrgRole(i.Role); err != nil {
		return "", i, err
	}
	if err := CheckGroups(i.Groups); err != nil {
		return "", i, err
	}
	if life == 0 {
		life = InvitationLife
	}
	if life < time.Minute || life > maxInvitation {
		return "", i, errs.Invalid("INVITATION_INVALID", "an invitation lives between a minute and %d days", maxInvitation/(24*time.Hour))
	}
	i.ID, i.Groups, i.CreatedAt = NewID(), clean(i.Groups), m.now()
	i.ExpiresAt = i.CreatedAt.Add(life)
	code, hash := NewSecret(InvitationPrefix)
	return code, i, m.store.AddInvitation(ctx, i, hash)
}

// Join makes a user that exists a member by the code of an invitation.
func (m *Manager) Join(ctx context.Context, code, user string) (Invitation, error) {
	u, err := m.store.User(ctx, user)
	if err != nil {
		return Invitation{}, err
	}
	i, err := m.store.Accept(ctx, HashOf(code), m.now(), u, false)
	return i, m.change(err)
}

// SignUp makes a new user who becomes a member by the code of an invitation.
func (m *Manager) SignUp(ctx context.Context, code string, u User) (User, Invitation, error) {
	if err := CheckUserName(u.Name); err != nil {
		return User{}, Invitation{}, err
	}
	if err := checkTitle(u.Title, u.Email); err != nil {
		return User{}, Invitation{}, err
	}
	u.ID, u.CreatedAt, u.CreatedBy = NewID(), m.now(), u.Name
	i, err := m.store.Accept(ctx, HashOf(code), u.CreatedAt, u, true)
	u.DefaultOrg = i.Org
	return u, i, err
}
