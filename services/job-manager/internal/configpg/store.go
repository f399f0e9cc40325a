// Package configpg keeps configs and what is encrypted of secrets in PostgreSQL.
package configpg

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/keyring"
	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/services/job-manager/internal/config"
	"github.com/formicary/formicary/services/job-manager/internal/pg/db"
)

// Store implements config.Store and config.Vault.
type Store struct {
	pool *pgxpool.Pool
	q    *db.Queries
}

// New returns a store on the schema that pool's search path names.
func New(pool *pgxpool.Pool) *Store { return &Store{pool: pool, q: db.New(pool)} }

// List implements config.Store.
func (s *Store) List(ctx context.Context, p config.Page) ([]config.Entry, error) {
	rows, err := s.q.ConfigsOf(ctx, db.ConfigsOfParams{
		OrgID: p.Org, Level: string(p.Level), Owner: p.Owner, After: p.After, SecretsOnly: p.SecretsOnly, Rows: int32(p.Limit),
	})
	if err != nil {
		return nil, fmt.Errorf("list configs: %w", err)
	}
	entries := make([]config.Entry, len(rows))
	for i := range rows {
		entries[i] = toEntry(&rows[i])
	}
	return entries, nil
}

// Find implements config.Store.
func (s *Store) Find(ctx context.Context, in config.Scope, name string) (config.Entry, bool, error) {
	return find(ctx, s.q, in, name)
}

func find(ctx context.Context, q *db.Queries, in config.Scope, name string) (config.Entry, bool, error) {
	row, err := q.ConfigNamed(ctx, db.ConfigNamedParams{OrgID: in.Org, Level: string(in.Level), Owner: in.Owner, Name: name})
	if errors.Is(err, pgx.ErrNoRows) {
		return config.Entry{}, false, nil
	}
	if err != nil {
		return config.Entry{}, false, fmt.Errorf("find config %s: %w", name, err)
	}
	return toEntry(&row), true, nil
}

// Save implements config.Store. The count of changes is locked first, so that writes are made one after the other.
func (s *Store) Save(ctx context.Context, w config.Write) (stored config.Entry, ok bool, err error) {
	err = pgdb.Tx(writing(ctx, w.Scope), s.pool, func(tx pgx.Tx) error {
		q := s.q.WithTx(tx)
		change, same, err := begin(ctx, q, w.Scope, w.Name, w.Seen)
		if ok = same; err != nil || !ok {
			return err
		}
		if w.Seen == 0 {
			if err := fresh(ctx, q, &w); err != nil {
				return err
			}
		}
		row, err := q.SaveConfig(ctx, db.SaveConfigParams{
			ID: w.ID, OrgID: w.Org, Level: string(w.Level), Owner: w.Owner, Name: w.Name, Type: w.Type, Value: w.Value, Secret: w.Secret,
			Version: int32(w.Version), Description: w.Description, Change: change, UpdatedBy: w.UpdatedBy,
		})
		if err != nil {
			return err
		}
		stored = toEntry(&row)
		return seal(ctx, q, &w)
	})
	if err != nil {
		return config.Entry{}, false, fmt.Errorf("store config %s: %w", w.Name, err)
	}
	return stored, ok, nil
}

// writing lets what belongs to no organisation be written; who may is decided before.
func writing(ctx context.Context, in config.Scope) context.Context {
	if in.Level == config.System {
		return pgdb.OwnWork(ctx)
	}
	return ctx
}

// begin locks the count of changes and says whether an entry is as it was seen.
func begin(ctx context.Context, q *db.Queries, in config.Scope, name string, seen int64) (change int64, same bool, err error) {
	if change, err = q.CountConfigChange(ctx); err != nil {
		return 0, false, err
	}
	now, found, err := find(ctx, q, in, name)
	return change, found == (seen != 0) && now.Change == seen, err
}

func fresh(ctx context.Context, q *db.Queries, w *config.Write) error {
	n, err := q.CountConfigs(ctx, db.CountConfigsParams{OrgID: w.Org, Level: string(w.Level), Owner: w.Owner})
	if err != nil {
		return err
	}
	if n >= config.MaxEntries {
		return errs.Exhausted("TOO_MANY_CONFIGS", "there may be at most %d configs and secrets in one scope", config.MaxEntries)
	}
	w.ID, err = uuid.NewV7()
	return err
}

// seal stores the newest version of a secret and forgets those that are too old.
func seal(ctx context.Context, q *db.Queries, w *config.Write) error {
	if w.Sealed == nil {
		return nil
	}
	p := w.Place(w.Version)
	if err := q.InsertSealed(ctx, db.InsertSealedParams{
		OrgID: p.Org, Scope: p.Scope, Name: p.Name, Version: int32(p.Version), KeyID: w.Sealed.KeyID, DataKey: w.Sealed.DataKey, Value: w.Sealed.Value,
		CreatedBy: w.UpdatedBy,
	}); err != nil {
		return err
	}
	return q.DeleteSealed(ctx, db.DeleteSealedParams{OrgID: p.Org, Scope: p.Scope, Name: p.Name, Version: int32(p.Version - config.KeptVersions)})
}

// Delete implements config.Store.
func (s *Store) Delete(ctx context.Context, e config.Entry) (ok bool, err error) {
	err = pgdb.Tx(writing(ctx, e.Scope), s.pool, func(tx pgx.Tx) error {
		q := s.q.WithTx(tx)
		if _, ok, err = begin(ctx, q, e.Scope, e.Name, e.Change); err != nil || !ok {
			return err
		}
		if _, err := q.DeleteConfig(ctx, e.ID); err != nil || !e.Secret {
			return err
		}
		p := e.Place(e.Version)
		return q.DeleteSealed(ctx, db.DeleteSealedParams{OrgID: p.Org, Scope: p.Scope, Name: p.Name, Version: int32(p.Version)})
	})
	if err != nil {
		return false, fmt.Errorf("delete config %s: %w", e.Name, err)
	}
	return ok, nil
}

// Versions implements config.Store.
func (s *Store) Versions(ctx context.Context, p keyring.Place) ([]config.Version, error) {
	rows, err := s.q.SealedVersions(ctx, db.SealedVersionsParams{OrgID: p.Org, Scope: p.Scope, Name: p.Name})
	if err != nil {
		return nil, fmt.Errorf("list versions of secret %s: %w", p.Name, err)
	}
	versions := make([]config.Version, len(rows))
	for i, r := range rows {
		versions[i] = config.Version{Version: int(r.Version), KeyID: r.KeyID, CreatedAt: r.CreatedAt, CreatedBy: r.CreatedBy}
	}
	return versions, nil
}

// Sealed implements config.Store.
func (s *Store) Sealed(ctx context.Context, p keyring.Place) (keyring.Sealed, bool, error) {
	r, err := s.q.SealedVersion(ctx, db.SealedVersionParams{OrgID: p.Org, Scope: p.Scope, Name: p.Name, Version: int32(p.Version)})
	if errors.Is(err, pgx.ErrNoRows) {
		return keyring.Sealed{}, false, nil
	}
	if err != nil {
		return keyring.Sealed{}, false, fmt.Errorf("read secret %s: %w", p.Name, err)
	}
	return keyring.Sealed{KeyID: r.KeyID, DataKey: r.DataKey, Value: r.Value}, true, nil
}

// Newest implements config.Store.
func (s *Store) Newest(ctx context.Context, spots []config.Spot) ([]config.Found, error) {
	arg := db.NewestSealedParams{}
	for i, at := range spots {
		arg.Ns, arg.Orgs, arg.Levels, arg.Owners = append(arg.Ns, int32(i)), append(arg.Orgs, at.Org), append(arg.Levels, string(at.Level)), append(arg.Owners, at.Owner)
		arg.Scopes, arg.Names = append(arg.Scopes, at.Place(at.Name, 0).Scope), append(arg.Names, at.Name)
	}
	rows, err := s.q.NewestSealed(ctx, arg)
	if err != nil {
		return nil, fmt.Errorf("find secrets: %w", err)
	}
	found := make([]config.Found, len(rows))
	for i, r := range rows {
		found[i] = config.Found{N: int(r.N), Version: int(r.Version), Sealed: keyring.Sealed{KeyID: r.KeyID, DataKey: r.DataKey, Value: r.Value}}
	}
	return found, nil
}

// Params implements config.Store.
func (s *Store) Params(ctx context.Context, places []keyring.Place) ([]config.Found, error) {
	arg := db.SealedParamsParams{}
	for i, p := range places {
		arg.Ns, arg.Orgs, arg.Scopes, arg.Names = append(arg.Ns, int32(i)), append(arg.Orgs, p.Org), append(arg.Scopes, p.Scope), append(arg.Names, p.Name)
	}
	rows, err := s.q.SealedParams(ctx, arg)
	if err != nil {
		return nil, fmt.Errorf("find secret parameters: %w", err)
	}
	found := make([]config.Found, len(rows))
	for i, r := range rows {
		found[i] = config.Found{N: int(r.N), Sealed: keyring.Sealed{KeyID: r.KeyID, DataKey: r.DataKey, Value: r.Value}}
	}
	return found, nil
}

// Changes implements config.Store.
func (s *Store) Changes(ctx context.Context) (int64, error) {
	n, err := s.q.ConfigChanges(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the count of changes of configs: %w", err)
	}
	return n, nil
}

// Visible implements config.Store.
func (s *Store) Visible(ctx context.Context, scopes []config.Scope) ([]config.Entry, error) {
	arg := db.VisibleConfigsParams{}
	for _, in := range scopes {
		arg.Orgs, arg.Levels, arg.Owners = append(arg.Orgs, in.Org), append(arg.Levels, string(in.Level)), append(arg.Owners, in.Owner)
	}
	rows, err := s.q.VisibleConfigs(ctx, arg)
	if err != nil {
		return nil, fmt.Errorf("read configs: %w", err)
	}
	entries := make([]config.Entry, len(rows))
	for i, r := range rows {
		entries[i] = config.Entry{Scope: config.Scope{Level: config.Level(r.Level)}, Name: r.Name, Type: r.Type, Value: r.Value, Secret: r.Secret}
	}
	return entries, nil
}

func toEntry(r *db.Config) config.Entry {
	return config.Entry{
		ID: r.ID, Scope: config.Scope{Org: r.OrgID, Level: config.Level(r.Level), Owner: r.Owner}, Name: r.Name, Type: r.Type, Value: r.Value,
		Secret: r.Secret, Version: int(r.Version), Description: r.Description, Change: r.Change, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
		UpdatedBy: r.UpdatedBy,
	}
}
