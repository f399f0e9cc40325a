package files

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/storable"
	"github.com/formicary/formicary/services/supervisor/internal/artifact"
	"github.com/formicary/formicary/services/supervisor/internal/cache"
)

// scope is the run of an attempt: no cache is seen beyond its organisation and job type.
const scope = `attempt a JOIN execution e ON e.id = a.execution_id`

// findCache walks the newest of the scope until one begins with a prefix. $2 is the key, $3 the prefixes.
const findCache = `WITH own AS (SELECT e.org_id, e.job_type FROM ` + scope + ` WHERE a.uid = $1),
	exact AS (SELECT c.id FROM own o JOIN cache c ON c.org_id = o.org_id AND c.job_type = o.job_type AND c.key = $2 AND c.expires_at > now()),
	near AS (SELECT n.id FROM own o CROSS JOIN unnest($3::text[]) WITH ORDINALITY p (prefix, place)
		CROSS JOIN LATERAL (SELECT c.id FROM cache c WHERE c.org_id = o.org_id AND c.job_type = o.job_type AND starts_with(c.key, p.prefix) AND c.expires_at > now()
			ORDER BY c.created_at DESC, c.id DESC LIMIT 1) n
		WHERE NOT EXISTS (SELECT FROM exact) ORDER BY p.place LIMIT 1)
	UPDATE cache SET used_at = now(), uses = uses + 1 WHERE id = (SELECT id FROM exact UNION ALL SELECT id FROM near)
	RETURNING id, key, bytes, raw_bytes, files, sha256, run_millis`

// FindCache returns what an attempt gets for a key.
func (s *Store) FindCache(ctx context.Context, attempt uuid.UUID, key string, prefixes []string) (*cache.Cache, error) {
	stored := make([]string, len(prefixes))
	for i, p := range prefixes {
		stored[i] = storable.Text(p)
	}
	c := &cache.Cache{}
	err := s.pool.QueryRow(ctx, findCache, attempt, storable.Text(key), stored).Scan(&c.ID, &c.Key, &c.Bytes, &c.RawBytes, &c.Files, &c.SHA256, &c.RunMillis)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil //nolint:nilnil // nothing is found, which is no fault
	}
	if err != nil {
		return nil, fmt.Errorf("find cache of attempt %s: %w", attempt, err)
	}
	return c, nil
}

// HasCache says whether something is kept under a key.
func (s *Store) HasCache(ctx context.Context, attempt uuid.UUID, key string) (has bool, err error) {
	err = s.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM `+scope+` JOIN cache c ON c.org_id = e.org_id AND c.job_type = e.job_type
		WHERE a.uid = $1 AND c.key = $2 AND c.expires_at > now())`, attempt, storable.Text(key)).Scan(&has)
	if err != nil {
		return false, fmt.Errorf("look for a cache of attempt %s: %w", attempt, err)
	}
	return has, nil
}

// CacheObject returns the object of a cache that an attempt may read.
func (s *Store) CacheObject(ctx context.Context, attempt, id uuid.UUID) (object string, err error) {
	err = s.pool.QueryRow(ctx, `SELECT c.object FROM `+scope+` JOIN cache c ON c.org_id = e.org_id AND c.job_type = e.job_type WHERE a.uid = $1 AND c.id = $2`, attempt, id).
		Scan(&object)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", errs.NotFound("CACHE_NOT_FOUND", "cache %s does not exist (any more)", id)
	}
	if err != nil {
		return "", fmt.Errorf("find cache %s: %w", id, err)
	}
	return object, nil
}

// LoseCache forgets a cache whose object is not there.
func (s *Store) LoseCache(ctx context.Context, id uuid.UUID) error {
	if _, err := s.pool.Exec(ctx, `DELETE FROM cache WHERE id = $1`, id); err != nil {
		return fmt.Errorf("forget cache %s: %w", id, err)
	}
	return nil
}

// keepCache replaces what is over and not deleted yet: a key is free again then. $3 is the key.
const keepCache = `WITH made AS (
		INSERT INTO cache (id, org_id, job_type, key, request_id, task, object, bytes, raw_bytes, files, sha256, run_millis, created_at, used_at, expires_at)
		SELECT p.id, e.org_id, e.job_type, $3, e.request_id, t.name, p.key, p.bytes, $4, p.files, p.sha256, $5, now(), now(), now() + $6::interval
		FROM artifact_upload p JOIN ` + scope + ` ON a.uid = p.attempt_uid JOIN task t ON t.execution_id = a.execution_id AND t.idx = a.task_idx
		WHERE p.id = $1 AND p.attempt_uid = $2 AND p.completed_at IS NOT NULL
		ON CONFLICT DO NOTHING RETURNING id)
	DELETE FROM artifact_upload p USING made WHERE p.id = made.id RETURNING p.id`

// KeepCache makes a cache of a complete upload.
func (s *Store) KeepCache(ctx context.Context, attempt, upload uuid.UUID, c *cache.Cache, age time.Duration) (kept bool, err error) {
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		over := `c.key = $2 AND c.expires_at <= now() AND (c.org_id, c.job_type) = (SELECT e.org_id, e.job_type FROM ` + scope + ` WHERE a.uid = $1)`
		if _, err := tx.Exec(ctx, dropCaches(over, ``), attempt, storable.Text(c.Key)); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, keepCache, upload, attempt, storable.Text(c.Key), c.RawBytes, c.RunMillis, age)
		kept = tag.RowsAffected() == 1
		return err
	})
	if err != nil {
		return false, fmt.Errorf("keep cache of attempt %s: %w", attempt, err)
	}
	return kept, nil
}

// dropCaches makes of caches uploads that became nothing: their objects are deleted as those are, whatever happens.
func dropCaches(where, with string) string {
	return `WITH ` + with + ` gone AS (DELETE FROM cache c WHERE ` + where + ` RETURNING c.id, c.org_id, c.key, c.object)
		INSERT INTO artifact_upload (id, org_id, name, key, store_id, given_at) SELECT id, org_id, key, object, '', now() FROM gone RETURNING id, key`
}

// DropCache forgets a cache of an organisation.
func (s *Store) DropCache(ctx context.Context, org string, id uuid.UUID) ([]artifact.Upload, error) {
	gone, err := s.dropped(ctx, dropCaches(`c.org_id = $1 AND c.id = $2`, ``), org, id)
	if err == nil && len(gone) == 0 {
		return nil, errs.NotFound("CACHE_NOT_FOUND", "cache %s does not exist (any more)", id)
	}
	return gone, err
}

// DropCaches forgets caches whose time is over, and of organisations that have more than the quota those that were used least
// recently. It returns what to delete.
func (s *Store) DropCaches(ctx context.Context, quota int64, limit int) ([]artifact.Upload, error) {
	over, err := s.dropped(ctx, dropCaches(`c.id IN (SELECT id FROM cache WHERE expires_at <= now() ORDER BY expires_at, id LIMIT $1)`, ``), limit)
	if err != nil || len(over) > 0 {
		return over, err
	}
	return s.dropped(ctx, dropCaches(`c.id IN (SELECT id FROM ranked WHERE total > $1 LIMIT $2)`,
		`ranked AS (SELECT id, sum(bytes) OVER (PARTITION BY org_id ORDER BY used_at DESC, id DESC) AS total FROM cache),`), quota, limit)
}

func (s *Store) dropped(ctx context.Context, sql string, args ...any) ([]artifact.Upload, error) {
	rows, err := s.pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("drop caches: %w", err)
	}
	gone, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (u artifact.Upload, err error) { return u, row.Scan(&u.ID, &u.Key) })
	if err != nil {
		return nil, fmt.Errorf("drop caches: %w", err)
	}
	return gone, nil
}
