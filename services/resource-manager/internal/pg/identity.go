package pg

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/libs/placement"
	"github.com/formicary/formicary/services/resource-manager/internal/join"
	"github.com/formicary/formicary/services/resource-manager/internal/pg/db"
)

// The platform lets ants in for all organisations and shuts them out: the statements below name the organisation themselves.

func token(r db.JoinToken) join.Token {
	return join.Token{ID: r.ID, Org: r.OrgID, Pool: r.Pool, CreatedBy: r.CreatedBy, CreatedAt: r.CreatedAt, ExpiresAt: r.ExpiresAt, UsedBy: r.UsedBy}
}

// AddToken keeps the hash of a token, and forgets tokens of yesterday and ants that ended long ago.
func (s *Store) AddToken(ctx context.Context, t join.Token, hash []byte, life time.Duration) (join.Token, error) {
	ctx = pgdb.OwnWork(ctx)
	if err := s.q.DeleteOldJoinTokens(ctx); err != nil {
		return join.Token{}, fmt.Errorf("remove old join tokens: %w", err)
	}
	if err := s.q.DeleteOldIdentities(ctx); err != nil {
		return join.Token{}, fmt.Errorf("remove identities of ants that ended: %w", err)
	}
	row, err := s.q.AddJoinToken(ctx, db.AddJoinTokenParams{ID: t.ID, Hash: hash, OrgID: t.Org, Pool: t.Pool, CreatedBy: t.CreatedBy, LifeMs: life.Milliseconds()})
	if err != nil {
		return join.Token{}, fmt.Errorf("keep join token: %w", err)
	}
	return token(row), nil
}

// Tokens lists those of an organisation, or every one.
func (s *Store) Tokens(ctx context.Context, org string, every bool) ([]join.Token, error) {
	ctx = pgdb.OwnWork(ctx)
	rows, err := s.q.ListJoinTokens(ctx, db.ListJoinTokensParams{OrgID: org, Every: every})
	if err != nil {
		return nil, fmt.Errorf("list join tokens: %w", err)
	}
	out := make([]join.Token, len(rows))
	for i, r := range rows {
		out[i] = token(r)
	}
	return out, nil
}

// RemoveToken ends a token of an organisation, or any.
func (s *Store) RemoveToken(ctx context.Context, id uuid.UUID, org string, every bool) (bool, error) {
	ctx = pgdb.OwnWork(ctx)
	n, err := s.q.DeleteJoinToken(ctx, db.DeleteJoinTokenParams{ID: id, OrgID: org, Every: every})
	if err != nil {
		return false, fmt.Errorf("remove join token %s: %w", id, err)
	}
	return n > 0, nil
}

// Join spends a token for an ant.
func (s *Store) Join(ctx context.Context, hash []byte, antID string, issue func(join.Token, *join.Identity, time.Time) (time.Time, error)) (bool, error) {
	ctx = pgdb.OwnWork(ctx)
	ok := false
	err := pgdb.Tx(ctx, s.pool, func(tx pgx.Tx) error {
		q := s.q.WithTx(tx)
		if err := q.LockID(ctx, antID); err != nil { // against a registration, and another token for the same ant
			return err
		}
		row, err := q.SpendJoinToken(ctx, db.SpendJoinTokenParams{Hash: hash, AntID: antID})
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		taken, err := q.IdentityTaken(ctx, db.IdentityTakenParams{AntID: antID, OrgID: row.OrgID})
		if err != nil {
			return err
		}
		if taken {
			return errTaken // and the token is not spent
		}
		was, err := identity(q.GetIdentity(ctx, antID))
		if err != nil {
			return err
		}
		now, err := q.Clock(ctx)
		if err != nil {
			return err
		}
		until, err := issue(token(row), was, now)
		if err != nil {
			return err
		}
		ok = true
		return q.SaveIdentity(ctx, db.SaveIdentityParams{AntID: antID, OrgID: row.OrgID, Pool: row.Pool, NotAfter: until})
	})
	if errors.Is(err, errTaken) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("let ant %s join: %w", antID, err)
	}
	return ok, nil
}

var errTaken = errors.New("the id belongs to another ant")

func identity(r db.GetIdentityRow, err error) (*join.Identity, error) {
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil //nolint:nilnil // nobody of the name has joined
	}
	if err != nil {
		return nil, err
	}
	i := r.AntIdentity
	return &join.Identity{Org: i.OrgID, Pool: i.Pool, Revoked: i.RevokedAt, NotAfter: i.NotAfter, Shut: r.Shut}, nil
}

// Identity returns what is known of an ant that joined or was shut out; nil when none of the name was.
func (s *Store) Identity(ctx context.Context, antID string) (*join.Identity, error) {
	id, err := identity(s.q.GetIdentity(ctx, antID))
	if err != nil {
		return nil, fmt.Errorf("read the identity of ant %s: %w", antID, err)
	}
	return id, nil
}

// Renew issues the next certificate of an ant. The lock keeps its end from falling between what is read and what is signed.
func (s *Store) Renew(ctx context.Context, antID string, issue func(*join.Identity, time.Time) (time.Time, error)) error {
	err := pgdb.Tx(ctx, s.pool, func(tx pgx.Tx) error {
		q := s.q.WithTx(tx)
		if err := q.LockID(ctx, antID); err != nil {
			return err
		}
		id, err := identity(q.GetIdentity(ctx, antID))
		if err != nil {
			return err
		}
		now, err := q.Clock(ctx)
		if err != nil {
			return err
		}
		until, err := issue(id, now)
		if err != nil {
			return err
		}
		return q.RenewIdentity(ctx, db.RenewIdentityParams{AntID: antID, NotAfter: until})
	})
	if err != nil {
		return fmt.Errorf("renew the certificate of ant %s: %w", antID, err)
	}
	return nil
}

// Revoke shuts an ant out and ends its session.
func (s *Store) Revoke(ctx context.Context, antID, org string, every bool) error {
	ctx = pgdb.OwnWork(ctx)
	err := pgdb.Tx(ctx, s.pool, func(tx pgx.Tx) error {
		q := s.q.WithTx(tx)
		if err := q.LockID(ctx, antID); err != nil {
			return err
		}
		id, err := identity(q.GetIdentity(ctx, antID))
		if err != nil {
			return err
		}
		a, err := q.LockAnt(ctx, antID)
		here := err == nil
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		var of string
		switch {
		case here:
			of = a.OrgID
		case id != nil:
			of = id.Org
		default:
			return errs.NotFound("ANT_NOT_FOUND", "ant %s not found", antID)
		}
		if !every && of != org {
			if placement.Offered(of, org) { // it is seen here, but others use it, too
				return errs.Denied("ORG_OTHER", "ant %s works for all organisations: only a platform-admin shuts it out", antID)
			}
			return errs.NotFound("ANT_NOT_FOUND", "ant %s not found", antID)
		}
		if err := q.RevokeIdentity(ctx, db.RevokeIdentityParams{AntID: antID, OrgID: of}); err != nil || !here {
			return err
		}
		return s.end(ctx, q, a)
	})
	if err != nil {
		return fmt.Errorf("shut ant %s out: %w", antID, err)
	}
	s.fleet.drop()
	return nil
}

// end closes the session of an ant.
func (s *Store) end(ctx context.Context, q *db.Queries, row db.Ant) error {
	if row.Session == nil {
		return nil
	}
	a, err := fromRow(row)
	if err != nil {
		return err
	}
	now, err := q.Now(ctx)
	if err != nil {
		return err
	}
	if err := a.Leave(*row.Session, now); err != nil {
		return err
	}
	saved, err := toRow(a)
	if err != nil {
		return err
	}
	return q.SaveAnt(ctx, saved)
}

// Revoked returns, by ant, when it was shut out, as far back as life.
func (s *Store) Revoked(ctx context.Context, life time.Duration) (map[string]time.Time, error) {
	ctx = pgdb.OwnWork(ctx) // also when it is asked anew for a person
	rows, err := s.q.RevokedIdentities(ctx, life.Milliseconds())
	if err != nil {
		return nil, fmt.Errorf("read which ants are shut out: %w", err)
	}
	out := make(map[string]time.Time, len(rows))
	for _, r := range rows {
		out[r.AntID] = *r.RevokedAt
	}
	return out, nil
}
