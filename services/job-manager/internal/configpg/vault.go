package configpg

import (
	"context"
	"fmt"

	"github.com/formicary/formicary/libs/keyring"
	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/services/job-manager/internal/config"
	"github.com/formicary/formicary/services/job-manager/internal/pg/db"
)

// Beside implements config.Vault. Like all of this file it sees the rows of all organisations: keys belong to none.
func (s *Store) Beside(ctx context.Context, keyID string) (bool, error) {
	b, err := s.q.SealedKeyBounds(pgdb.OwnWork(ctx))
	if err != nil {
		return false, fmt.Errorf("look for other keys: %w", err)
	}
	return b.First != "" && (b.First != keyID || b.Last != keyID), nil
}

// ByKey implements config.Vault.
func (s *Store) ByKey(ctx context.Context) (map[string]int64, error) {
	rows, err := s.q.SealedByKey(pgdb.OwnWork(ctx))
	if err != nil {
		return nil, fmt.Errorf("count what keys hold: %w", err)
	}
	counts := make(map[string]int64, len(rows))
	for _, r := range rows {
		counts[r.KeyID] = r.N
	}
	return counts, nil
}

// Under implements config.Vault.
func (s *Store) Under(ctx context.Context, keyID string, after keyring.Place, limit int) ([]config.Sealing, error) {
	rows, err := s.q.SealedUnder(pgdb.OwnWork(ctx), db.SealedUnderParams{
		KeyID: keyID, AfterOrg: after.Org, AfterScope: after.Scope, AfterName: after.Name, AfterVersion: int32(after.Version), Rows: int32(limit),
	})
	if err != nil {
		return nil, fmt.Errorf("read data keys: %w", err)
	}
	some := make([]config.Sealing, len(rows))
	for i, r := range rows {
		some[i] = config.Sealing{
			Place:  keyring.Place{Org: r.OrgID, Scope: r.Scope, Name: r.Name, Version: int(r.Version)},
			Sealed: keyring.Sealed{KeyID: r.KeyID, DataKey: r.DataKey},
		}
	}
	return some, nil
}

// Rewrap implements config.Vault.
func (s *Store) Rewrap(ctx context.Context, keyID string, some []config.Rewrapped) error {
	arg := db.RewrapSealedParams{KeyID: keyID}
	for _, r := range some {
		arg.Orgs, arg.Scopes, arg.Names, arg.Versions = append(arg.Orgs, r.Org), append(arg.Scopes, r.Scope), append(arg.Names, r.Name), append(arg.Versions, int32(r.Version))
		arg.Stale, arg.Fresh = append(arg.Stale, r.Stale), append(arg.Fresh, r.Fresh)
	}
	if _, err := s.q.RewrapSealed(pgdb.OwnWork(ctx), arg); err != nil {
		return fmt.Errorf("replace %d data keys: %w", len(some), err)
	}
	return nil
}

// Sample implements config.Vault.
func (s *Store) Sample(ctx context.Context, salt string, each int) ([]config.Sealing, error) {
	rows, err := s.q.SampleSealed(pgdb.OwnWork(ctx), db.SampleSealedParams{Salt: salt, Rows: int32(each)})
	if err != nil {
		return nil, fmt.Errorf("read some secrets: %w", err)
	}
	some := make([]config.Sealing, len(rows))
	for i, r := range rows {
		some[i] = config.Sealing{
			Place:  keyring.Place{Org: r.OrgID, Scope: r.Scope, Name: r.Name, Version: int(r.Version)},
			Sealed: keyring.Sealed{KeyID: r.KeyID, DataKey: r.DataKey, Value: r.Value},
		}
	}
	return some, nil
}
