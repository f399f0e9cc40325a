package identity

import (
	"context"
	"time"

	"github.com/formicary/formicary/libs/errs"
)

// DefaultOrg exists from the first start and is never closed.
const DefaultOrg = "default"

// Org is an organisation.
type Org struct {
	ID string
	// Title is for people; it may change.
	Title     string
	CreatedAt time.Time
	CreatedBy string
}

// NoOrg is the answer for an org that does not exist for the caller.
func NoOrg(id string) error {
	return errs.NotFound("ORG_NOT_FOUND", "there is no organisation %q, or you are no member of it", id)
}

// Orgs keeps organisations.
type Orgs interface {
	// AddOrg stores a new one; admin, if not empty, becomes its first org-admin. It fails with ORG_EXISTS, USER_NOT_FOUND.
	AddOrg(ctx context.Context, o Org, admin string) error
	Org(ctx context.Context, id string) (Org, error)
	// Orgs lists those of a user by id, all of them when user is empty.
	Orgs(ctx context.Context, user, after string, most int) ([]Org, error)
	// UpdateOrg gives it another title.
	UpdateOrg(ctx context.Context, id, title string) (Org, error)
	// CloseOrg ends it at a time.
	CloseOrg(ctx context.Context, id string, at time.Time) error
}

// CreateOrg makes an organisation, whose first org-admin is admin, a user, if not empty.
func (m *Manager) CreateOrg(ctx context.Context, id, title, admin, by string) (Org, error) {
	if err := CheckOrgID(id); err != nil {
		return Org{}, err
	}
	if title == "" {
		title = id
	}
	if err := checkTitle(title, ""); err != nil {
		return Org{}, err
	}
	o := Org{ID: id, Title: title, CreatedAt: m.now(), CreatedBy: by}
	return o, m.store.AddOrg(ctx, o, admin)
}

// UpdateOrg changes the title.
func (m *Manager) UpdateOrg(ctx context.Context, id, title string) (Org, error) {
	if err := checkTitle(title, ""); err != nil {
		return Org{}, err
	}
	return m.store.UpdateOrg(ctx, id, title)
}

// CloseOrg ends an organisation: from then on nobody acts in it. What is stored of it stays.
func (m *Manager) CloseOrg(ctx context.Context, id string) error {
	if id == DefaultOrg {
		return errs.Precondition("ORG_DEFAULT", "the organisation %s cannot be closed", DefaultOrg)
	}
	return m.change(m.store.CloseOrg(ctx, id, m.now()))
}
