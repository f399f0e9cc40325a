package identity

import (
	"context"
	"time"

	"github.com/formicary/formicary/libs/errs"
)

// Member is what a user is in an org.
type Member struct {
	Org, User, Title, Email string
	Role                    string
	Groups                  []string
	AddedAt                 time.Time
	AddedBy                 string
	Disabled                bool
}

// NoMember is the answer for a user who is no member.
func NoMember(org, user string) error {
	return errs.NotFound("MEMBER_NOT_FOUND", "the organisation %s has no member %q", org, user)
}

// Members keeps memberships.
type Members interface {
	// AddMember stores a new one. It fails with ORG_NOT_FOUND, USER_NOT_FOUND, MEMBER_EXISTS.
	AddMember(ctx context.Context, m Member) error
	Member(ctx context.Context, org, user string) (Member, error)
	// Members lists those of an org by the name of the user.
	Members(ctx context.Context, org, after string, most int) ([]Member, error)
	// ChangeMember applies f to a member and stores the result, or removes it. admins is how many org-admins the org has;
	// it is locked.
	ChangeMember(ctx context.Context, org, user string, f func(m *Member, admins int) (remove bool, err error)) (Member, error)
}

// AddMember makes a user a member.
func (m *Manager) AddMember(ctx context.Context, to Member) (Member, error) {
	if err := checkOrgRole(to.Role); err != nil {
		return Member{}, err
	}
	if err := CheckGroups(to.Groups); err != nil {
		return Member{}, err
	}
	to.Groups, to.AddedAt = clean(to.Groups), m.now()
	return to, m.change(m.store.AddMember(ctx, to))
}

// SetMember gives a member another role, or other groups; what is nil stays.
func (m *Manager) SetMember(ctx context.Context, org, user string, role *string, groups *[]string) (Member, error) {
	if role != nil {
		if err := checkOrgRole(*role); err != nil {
			return Member{}, err
		}
	}
	if groups != nil {
		if err := CheckGroups(*groups); err != nil {
			return Member{}, err
		}
	}
	changed, err := m.store.ChangeMember(ctx, org, user, func(to *Member, admins int) (bool, error) {
		if role != nil && *role != OrgAdmin && to.Role == OrgAdmin && admins <= 1 {
			return false, lastOrgAdmin(org, user)
		}
		set(&to.Role, role)
		if groups != nil {
			to.Groups = clean(*groups)
		}
		return false, nil
	})
	return changed, m.change(err)
}

// RemoveMember ends a membership. The user stays.
func (m *Manager) RemoveMember(ctx context.Context, org, user string) error {
	_, err := m.store.ChangeMember(ctx, org, user, func(to *Member, admins int) (bool, error) {
		if to.Role == OrgAdmin && admins <= 1 {
			return false, lastOrgAdmin(org, user)
		}
		return true, nil
	})
	return m.change(err)
}

func lastOrgAdmin(org, user string) error {
	return errs.Precondition("LAST_ORG_ADMIN", "%s is the last org-admin of %s: make another one first", user, org)
}
