package pg

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/services/api-gateway/internal/login"
	"github.com/formicary/formicary/services/api-gateway/internal/pg/db"
)

// Tokens belong to their users, whatever organisation they act in: these statements see those of all and name the user, or are
// told of a token whose owner was looked at.

// AddToken implements login.Tokens.
func (s *Store) AddToken(ctx context.Context, t login.Token, hash []byte, most int) error {
	ctx = pgdb.OwnWork(ctx)
	return s.tx(ctx, "store a token", func(q *db.Queries) error {
		id, err := active(ctx, q, t.Owner)
		if err != nil {
			return err
		}
		n, err := q.CountTokens(ctx, db.CountTokensParams{PersonID: id, Now: t.CreatedAt})
		if err != nil {
			return err
		}
		if n >= int64(most) {
			return errs.Exhausted("TOO_MANY_TOKENS", "%s has %d tokens, which is all that a user may have: revoke some", t.Owner, n)
		}
		return q.InsertToken(ctx, db.InsertTokenParams{
			ID: t.ID, SecretHash: hash, PersonID: id, OrgID: t.Org, Name: t.Name, Scopes: t.Scopes, CreatedAt: t.CreatedAt, ExpiresAt: t.ExpiresAt,
		})
	})
}

// Token implements login.Tokens.
func (s *Store) Token(ctx context.Context, id uuid.UUID, now time.Time) (login.Token, error) {
	row, err := s.q.TokenByID(pgdb.OwnWork(ctx), id)
	if err == nil && (row.RevokedAt != nil || !row.ExpiresAt.After(now)) {
		return login.Token{}, login.NoToken(id.String())
	}
	return toToken(db.TokensOfRow(row)), said("read a token", found(err, login.NoToken(id.String())))
}

// Tokens implements login.Tokens.
func (s *Store) Tokens(ctx context.Context, owner string, after uuid.UUID, most int, now time.Time) ([]login.Token, error) {
	rows, err := s.q.TokensOf(pgdb.OwnWork(ctx), db.TokensOfParams{Name: owner, After: after, Now: now, Most: int32(most)})
	return each(rows, toToken), said("list tokens", err)
}

// RevokeToken implements login.Tokens.
func (s *Store) RevokeToken(ctx context.Context, id uuid.UUID, at time.Time) error {
	n, err := s.q.RevokeToken(pgdb.OwnWork(ctx), db.RevokeTokenParams{ID: id, RevokedAt: &at})
	if err == nil && n == 0 {
		return login.NoToken(id.String())
	}
	return said("revoke a token", err)
}

func toToken(r db.TokensOfRow) login.Token {
	return login.Token{
		ID: r.ID, Owner: r.Owner, Org: r.OrgID, Name: r.Name, Scopes: r.Scopes, CreatedAt: r.CreatedAt, ExpiresAt: r.ExpiresAt,
		LastUsedAt: r.LastUsedAt, RevokedAt: r.RevokedAt,
	}
}
