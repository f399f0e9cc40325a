package pg

import (
	"context"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/services/api-gateway/internal/identity"
	"github.com/formicary/formicary/services/api-gateway/internal/pg/db"
)

// AddUser implements identity.Users. Who rules users makes them members of any organisation.
func (s *Store) AddUser(ctx context.Context, u identity.User, m *identity.Member) error {
	return s.tx(pgdb.OwnWork(ctx), "store a user", func(q *db.Queries) error {
		if err := insertPerson(ctx, q, u); err != nil || m == nil {
			return err
		}
		return insertMember(ctx, q, *m)
	})
}

func insertPerson(ctx context.Context, q *db.Queries, u identity.User) error {
	n, err := q.InsertPerson(ctx, db.InsertPersonParams{
		ID: u.ID, Name: u.Name, Title: u.Title, Email: u.Email, PlatformRole: u.PlatformRole, DefaultOrg: u.DefaultOrg, Password: u.Password,
		CreatedAt: u.CreatedAt, CreatedBy: u.CreatedBy,
	})
	if err == nil && n == 0 {
		return errs.Conflict("USER_EXISTS", "there is a user %s already: names are not given again", u.Name)
	}
	return err
}

// User implements identity.Users.
func (s *Store) User(ctx context.Context, name string) (identity.User, error) {
	p, err := s.q.PersonByName(ctx, name)
	return toUser(p), said("read a user", found(err, identity.NoUser(name)))
}

// Users implements identity.Users.
func (s *Store) Users(ctx context.Context, org, after string, most int) ([]identity.User, error) {
	var rows []db.Person
	var err error
	if org == "" {
		rows, err = s.q.Persons(ctx, db.PersonsParams{After: after, Most: int32(most)})
	} else {
		rows, err = s.q.PersonsOf(ctx, db.PersonsOfParams{OrgID: org, After: after, Most: int32(most)})
	}
	return each(rows, toUser), said("list users", err)
}

// ChangeUser implements identity.Users. The tokens that end with a user are those of all organisations.
func (s *Store) ChangeUser(ctx context.Context, name string, f func(*identity.User, int) (bool, error)) (identity.User, error) {
	var u identity.User
	err := s.tx(pgdb.OwnWork(ctx), "change user "+name, func(q *db.Queries) error {
		admins, err := q.LockPlatformAdmins(ctx)
		if err != nil {
			return err
		}
		row, err := q.LockPerson(ctx, name)
		if err != nil {
			return found(err, identity.NoUser(name))
		}
		u = toUser(row)
		end, err := f(&u, len(admins))
		if err != nil {
			return err
		}
		if end {
			if err := endAll(ctx, q, u); err != nil {
				return err
			}
		}
		return q.UpdatePerson(ctx, db.UpdatePersonParams{
			ID: u.ID, Title: u.Title, Email: u.Email, PlatformRole: u.PlatformRole, DefaultOrg: u.DefaultOrg, Password: u.Password, DisabledAt: u.DisabledAt,
		})
	})
	return u, err
}

// endAll ends the sessions and tokens of a user.
func endAll(ctx context.Context, q *db.Queries, u identity.User) error {
	if _, err := q.EndSessions(ctx, u.ID); err != nil {
		return err
	}
	return q.RevokeTokens(ctx, u.ID)
}

func toUser(p db.Person) identity.User {
	return identity.User{
		ID: p.ID, Name: p.Name, Title: p.Title, Email: p.Email, PlatformRole: p.PlatformRole, DefaultOrg: p.DefaultOrg, Password: p.Password,
		CreatedAt: p.CreatedAt, CreatedBy: p.CreatedBy, DisabledAt: p.DisabledAt,
	}
}
