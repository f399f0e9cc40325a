package pg

import (
	"context"
	"crypto/rand"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/services/api-gateway/internal/identity"
	"github.com/formicary/formicary/services/api-gateway/internal/login"
	"github.com/formicary/formicary/services/api-gateway/internal/pg/db"
)

// ForeignUser implements login.Foreigners.
func (s *Store) ForeignUser(ctx context.Context, issuer, subject string) (identity.User, error) {
	p, err := s.q.PersonByOIDC(ctx, db.PersonByOIDCParams{Issuer: issuer, Subject: subject})
	return toUser(p), said("read who a provider knows", found(err, login.UnknownForeigner()))
}

// AddForeignUser implements login.Foreigners.
func (s *Store) AddForeignUser(ctx context.Context, f login.Foreign, u identity.User, m *identity.Member, invitation []byte) error {
	return s.tx(ctx, "store who a provider knows", func(q *db.Queries) error {
		if m != nil {
			if err := insertPerson(ctx, q, u); err != nil {
				return err
			}
			if err := insertMember(ctx, q, *m); err != nil {
				return err
			}
		} else if err := accept(ctx, q, invitation, u.CreatedAt, u, true, &identity.Invitation{}); err != nil {
			return err
		}
		n, err := q.InsertOIDC(ctx, db.InsertOIDCParams{Issuer: f.Issuer, Subject: f.Subject, PersonID: u.ID, CreatedAt: u.CreatedAt})
		if err == nil && n == 0 {
			return errs.Conflict("LOGIN_KNOWN", "somebody became a user at this moment")
		}
		return err
	})
}

// CookieKey returns the key of cookies, which the first replica that asks makes.
func (s *Store) CookieKey(ctx context.Context) ([]byte, error) {
	var key [32]byte
	_, _ = rand.Read(key[:]) // it never fails
	if err := s.q.EnsureCookieKey(ctx, key[:]); err != nil {
		return nil, said("make the key of cookies", err)
	}
	have, err := s.q.CookieKey(ctx)
	return have, said("read the key of cookies", err)
}
