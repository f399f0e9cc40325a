package identity

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/errs"
)

// User is a person who may log in.
type User struct {
	ID uuid.UUID
	// Name is unique and never changes.
	Name string
	// Title and Email are for people.
	Title, Email string
	// PlatformRole is "", PlatformAdmin or PlatformAuditor.
	PlatformRole string
	// DefaultOrg is where the user acts who names none; "" chooses the first.
	DefaultOrg string
	// Password is the hash; "" when there is none.
	Password   string
	CreatedAt  time.Time
	CreatedBy  string
	DisabledAt *time.Time
}

// NoUser is the answer for a user who does not exist for the caller.
func NoUser(name string) error { return errs.NotFound("USER_NOT_FOUND", "there is no user %q", name) }

// Users keeps users.
type Users interface {
	// AddUser stores a new one, as a member if m is not nil. It fails with USER_EXISTS, ORG_NOT_FOUND.
	AddUser(ctx context.Context, u User, m *Member) error
	User(ctx context.Context, name string) (User, error)
	// Users lists those of an org by name, all of them when org is empty.
	Users(ctx context.Context, org, after string, most int) ([]User, error)
	// ChangeUser applies f to the locked user and stores the result. admins is how many users are platform-admin and not
	// disabled; it is locked too. With end the sessions and tokens of the user end in the same transaction.
	ChangeUser(ctx context.Context, name string, f func(u *User, admins int) (end bool, err error)) (User, error)
}

// CreateUser makes a user; org, if not empty, is where it becomes a member with the role.
func (m *Manager) CreateUser(ctx context.Context, u User, org, role, by string) (User, error) {
	if err := CheckUserName(u.Name); err != nil {
		return User{}, err
	}
	if err := checkTitle(u.Title, u.Email); err != nil {
		return User{}, err
	}
	u.ID, u.CreatedAt, u.CreatedBy, u.DefaultOrg = NewID(), m.now(), by, org
	var first *Member
	if org != "" {
		if err := checkOrgRole(role); err != nil {
			return User{}, err
		}
		first = &Member{Org: org, User: u.Name, Role: role, Groups: []string{}, AddedAt: u.CreatedAt, AddedBy: by}
	}
	return u, m.store.AddUser(ctx, u, first)
}

// Profile is what users change of themselves. A nil field stays.
type Profile struct{ Title, Email, DefaultOrg *string }

// UpdateProfile changes it.
func (m *Manager) UpdateProfile(ctx context.Context, name string, p Profile) (User, error) {
	if p.DefaultOrg != nil && *p.DefaultOrg != "" {
		if _, err := m.store.Member(ctx, *p.DefaultOrg, name); err != nil {
			return User{}, NoOrg(*p.DefaultOrg)
		}
	}
	u, err := m.store.ChangeUser(ctx, name, func(u *User, _ int) (bool, error) {
		set(&u.Title, p.Title)
		set(&u.Email, p.Email)
		set(&u.DefaultOrg, p.DefaultOrg)
		return false, checkTitle(u.Title, u.Email)
	})
	return u, m.change(err)
}

func set(to, from *string) {
	if from != nil {
		*to = *from
	}
}

// SetPlatformRole gives a user a role in the whole colony, or takes it with "".
func (m *Manager) SetPlatformRole(ctx context.Context, name, role string) (User, error) {
	if role != "" && !slices.Contains(PlatformRoles, role) {
		return User{}, errs.Invalid("ROLE_INVALID", "%q is no role of the platform: want one of %s, or nothing", role, strings.Join(PlatformRoles, ", "))
	}
	u, err := m.store.ChangeUser(ctx, name, func(u *User, admins int) (bool, error) {
		if role != PlatformAdmin && isLast(u, admins) {
			return false, lastPlatformAdmin(u.Name)
		}
		u.PlatformRole = role
		return false, nil
	})
	return u, m.change(err)
}

// Disable ends what a user can do, with all sessions and tokens, which stay ended.
func (m *Manager) Disable(ctx context.Context, name string) (User, error) {
	u, err := m.store.ChangeUser(ctx, name, func(u *User, admins int) (bool, error) {
		if isLast(u, admins) {
			return false, lastPlatformAdmin(u.Name)
		}
		if u.DisabledAt == nil {
			at := m.now()
			u.DisabledAt = &at
		}
		return true, nil
	})
	return u, m.change(err)
}

// Enable lets a user in again.
func (m *Manager) Enable(ctx context.Context, name string) (User, error) {
	u, err := m.store.ChangeUser(ctx, name, func(u *User, _ int) (bool, error) {
		u.DisabledAt = nil
		return false, nil
	})
	return u, m.change(err)
}

func isLast(u *User, admins int) bool {
	return u.PlatformRole == PlatformAdmin && u.DisabledAt == nil && admins <= 1
}

func lastPlatformAdmin(name string) error {
	return errs.Precondition("LAST_PLATFORM_ADMIN", "%s is the last platform-admin: make another one first", name)
}
