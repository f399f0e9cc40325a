package pg

import (
	"context"
	"time"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/services/api-gateway/internal/identity"
	"github.com/formicary/formicary/services/api-gateway/internal/pg/db"
)

// AddOrg implements identity.Orgs. Its first member is one of an organisation in which nobody acts yet.
func (s *Store) AddOrg(ctx context.Context, o identity.Org, admin string) error {
	return s.tx(pgdb.OwnWork(ctx), "store an org", func(q *db.Queries) error {
		n, err := q.InsertOrg(ctx, db.InsertOrgParams{ID: o.ID, Title: o.Title, CreatedAt: o.CreatedAt, CreatedBy: o.CreatedBy})
		if err != nil {
			return err
		}
		if n == 0 {
			return errs.Conflict("ORG_EXISTS", "there is or was an organisation %s: its id is not given again", o.ID)
		}
		if admin == "" {
			return nil
		}
		id, err := person(ctx, q, admin)
		if err != nil {
			return err
		}
		_, err = q.InsertMember(ctx, db.InsertMemberParams{
			OrgID: o.ID, PersonID: id, Role: identity.OrgAdmin, Groups: []string{}, AddedAt: o.CreatedAt, AddedBy: o.CreatedBy,
		})
		return err
	})
}

// Org implements identity.Orgs.
func (s *Store) Org(ctx context.Context, id string) (identity.Org, error) {
	o, err := s.q.GetOrg(ctx, id)
	return toOrg(o), said("read an org", found(err, identity.NoOrg(id)))
}

// Orgs implements identity.Orgs. Those of a user are found by memberships in all of them.
func (s *Store) Orgs(ctx context.Context, user, after string, most int) ([]identity.Org, error) {
	if user == "" {
		rows, err := s.q.Orgs(ctx, db.OrgsParams{After: after, Most: int32(most)})
		return each(rows, toOrg), said("list orgs", err)
	}
	id, err := person(ctx, s.q, user)
	if err != nil {
		return nil, said("list orgs", err)
	}
	rows, err := s.q.OrgsOf(pgdb.OwnWork(ctx), db.OrgsOfParams{PersonID: id, After: after, Most: int32(most)})
	return each(rows, toOrg), said("list orgs", err)
}

// UpdateOrg implements identity.Orgs.
func (s *Store) UpdateOrg(ctx context.Context, id, title string) (identity.Org, error) {
	o, err := s.q.UpdateOrg(ctx, db.UpdateOrgParams{ID: id, Title: title})
	return toOrg(o), said("update an org", found(err, identity.NoOrg(id)))
}

// CloseOrg implements identity.Orgs.
func (s *Store) CloseOrg(ctx context.Context, id string, at time.Time) error {
	n, err := s.q.CloseOrg(ctx, db.CloseOrgParams{ID: id, ClosedAt: &at})
	if err == nil && n == 0 {
		return identity.NoOrg(id)
	}
	return said("close an org", err)
}

func toOrg(o db.Org) identity.Org {
	return identity.Org{ID: o.ID, Title: o.Title, CreatedAt: o.CreatedAt, CreatedBy: o.CreatedBy}
}

func each[A, B any](rows []A, to func(A) B) []B {
	out := make([]B, len(rows))
	for i := range rows {
		out[i] = to(rows[i])
	}
	return out
}
