package view

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/libs/storable"
	"github.com/formicary/formicary/services/supervisor/internal/cache"
)

// Caches lists those of an org, the newest first.
func (s *Store) Caches(ctx context.Context, f cache.Filter) ([]cache.Cache, error) {
	where, args := `org_id = $1 AND (created_at, id) < ($2, $3) AND starts_with(key, $5)`, []any{f.Org, f.Before, f.BeforeID, f.Limit, storable.Text(f.KeyPrefix)}
	if f.JobType != "" {
		where, args = where+` AND job_type = $6`, append(args, storable.Text(f.JobType))
	}
	rows, err := s.reads.Query(ctx, `SELECT id, org_id, job_type, key, request_id, task, object, bytes, raw_bytes, files, sha256, run_millis, created_at, expires_at, used_at, uses
		FROM cache WHERE `+where+` ORDER BY created_at DESC, id DESC LIMIT $4`, args...)
	if err != nil {
		return nil, fmt.Errorf("list caches: %w", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c cache.Cache, err error) {
		return c, row.Scan(&c.ID, &c.Org, &c.JobType, &c.Key, &c.Request, &c.Task, &c.Object, &c.Bytes, &c.RawBytes, &c.Files, &c.SHA256, &c.RunMillis,
			&c.CreatedAt, &c.ExpiresAt, &c.UsedAt, &c.Uses)
	})
	if err != nil {
		return nil, fmt.Errorf("list caches: %w", err)
	}
	return all, nil
}

// CacheBytes sums up those of an org.
func (s *Store) CacheBytes(ctx context.Context, org string) (n int64, err error) {
	if err := s.reads.QueryRow(ctx, `SELECT coalesce(sum(bytes), 0)::bigint FROM cache WHERE org_id = $1`, org).Scan(&n); err != nil {
		return 0, fmt.Errorf("sum up caches: %w", err)
	}
	return n, nil
}
