// Package pg keeps identity and login in PostgreSQL.
package pg

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/services/api-gateway/internal/identity"
	"github.com/formicary/formicary/services/api-gateway/internal/login"
	"github.com/formicary/formicary/services/api-gateway/internal/pg/db"
)

// Store implements identity.Store and login.Store.
type Store struct {
	pool *pgxpool.Pool
	q    *db.Queries
}

var (
	_ identity.Store = (*Store)(nil)
	_ login.Store    = (*Store)(nil)
)

// New returns the store in the schema that pool's search path names.
func New(pool *pgxpool.Pool) *Store { return &Store{pool, db.New(pool)} }

// tx runs f in a transaction. What is not a typed error is said to have failed at doing what.
func (s *Store) tx(ctx context.Context, what string, f func(q *db.Queries) error) error {
	return said(what, pgdb.Tx(ctx, s.pool, func(tx pgx.Tx) error { return f(s.q.WithTx(tx)) }))
}

// said wraps what failed. A text that PostgreSQL does not take is the caller's fault.
func said(what string, err error) error {
	if err == nil {
		return nil
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && (pg.Code == "22021" || pg.Code == "22P05") {
		return errs.Invalid("REQUEST_MALFORMED", "a text holds what cannot be stored: want UTF-8 without NUL")
	}
	return fmt.Errorf("%s: %w", what, err)
}

// found turns the absence of a row into the error for it.
func found(err, absent error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return absent
	}
	return err
}

// person returns the id of a user.
func person(ctx context.Context, q *db.Queries, name string) (uuid.UUID, error) {
	p, err := q.PersonByName(ctx, name)
	return p.ID, found(err, identity.NoUser(name))
}

// active locks a user who is not disabled, so that nothing is given out that a disabling at the same moment does not see.
func active(ctx context.Context, q *db.Queries, name string) (uuid.UUID, error) {
	p, err := q.LockPerson(ctx, name)
	if err == nil && p.DisabledAt != nil {
		err = identity.NoUser(name)
	}
	return p.ID, found(err, identity.NoUser(name))
}
