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
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// BeginUpload notes an upload.
func (s *Store) BeginUpload(ctx context.Context, u *artifact.Upload) error {
	_, err := s.pool.Exec(ctx, `INSERT INTO artifact_upload (id, attempt_uid, org_id, name, key, store_id, given_at)
		VALUES ($1, $2, $3, $4, $5, $6, now())`, u.ID, nullable(u.Attempt), u.Org, storable.Text(u.Name), u.Key, u.StoreID)
	if err != nil {
		return fmt.Errorf("note upload %s: %w", u.ID, err)
	}
	return nil
}

func nullable(id uuid.UUID) *uuid.UUID {
	if id == uuid.Nil {
		return nil
	}
	return &id
}

// UploadOf returns an upload of an attempt.
func (s *Store) UploadOf(ctx context.Context, id, attempt uuid.UUID) (*artifact.Upload, error) {
	u := &artifact.Upload{ID: id, Attempt: attempt}
	err := s.pool.QueryRow(ctx, `SELECT org_id, name, key, store_id, completed_at IS NOT NULL FROM artifact_upload WHERE id = $1 AND attempt_uid = $2`, id, attempt).
		Scan(&u.Org, &u.Name, &u.Key, &u.StoreID, &u.Done)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, errs.NotFound("UPLOAD_NOT_FOUND", "attempt %s has no upload %s", attempt, id)
	}
	if err != nil {
		return nil, fmt.Errorf("find upload %s: %w", id, err)
	}
	return u, nil
}

// CompleteUpload notes that the object is whole.
func (s *Store) CompleteUpload(ctx context.Context, u *artifact.Upload) error {
	_, err := s.pool.Exec(ctx, `UPDATE artifact_upload SET completed_at = now(), bytes = $2, files = $3, sha256 = $4 WHERE id = $1 AND completed_at IS NULL`,
		u.ID, u.Bytes, u.Files, u.SHA256)
	if err != nil {
		return fmt.Errorf("complete upload %s: %w", u.ID, err)
	}
	return nil
}

// KeepUpload makes an artifact of a user's upload.
func (s *Store) KeepUpload(ctx context.Context, u *artifact.Upload, age time.Duration) (*artifact.Artifact, error) {
	a := &artifact.Artifact{ID: u.ID, Org: u.Org, Kind: artifact.OfUser, Name: u.Name, Key: u.Key, Bytes: u.Bytes, Files: u.Files, SHA256: u.SHA256}
	err := s.pool.QueryRow(ctx, `WITH gone AS (DELETE FROM artifact_upload WHERE id = $1 RETURNING id)
		INSERT INTO artifact (id, org_id, kind, name, key, bytes, files, sha256, created_at, expires_at)
		SELECT id, $2, $3, $4, $5, $6, $7, $8, now(), now() + $9::interval FROM gone RETURNING created_at, expires_at`,
		u.ID, u.Org, a.Kind, storable.Text(u.Name), u.Key, u.Bytes, u.Files, u.SHA256, age).Scan(&a.CreatedAt, &a.ExpiresAt)
	if err != nil {
		return nil, fmt.Errorf("keep upload %s: %w", u.ID, err)
	}
	return a, nil
}

// InputKeys returns the keys of artifacts that the claim of an attempt has named.
func (s *Store) InputKeys(ctx context.Context, attempt uuid.UUID, ids []uuid.UUID) (map[uuid.UUID]string, error) {
	rows, err := s.pool.Query(ctx, `SELECT id, key FROM artifact WHERE id = ANY($2::uuid[]) AND id IN (SELECT unnest(inputs) FROM attempt WHERE uid = $1)`, attempt, ids)
	if err != nil {
		return nil, fmt.Errorf("find inputs of attempt %s: %w", attempt, err)
	}
	keys := make(map[uuid.UUID]string, len(ids))
	var id uuid.UUID
	var key string
	if _, err := pgx.ForEachRow(rows, []any{&id, &key}, func() error { keys[id] = key; return nil }); err != nil {
		return nil, fmt.Errorf("find inputs of attempt %s: %w", attempt, err)
	}
	return keys, nil
}

// inputsOf are the artifacts that a task gets, which it notes at its attempt: of each task that it names those of the last
// attempt, of one that fans out those of the last attempt of each item, then those that are named by their ids.
//
// base is the run from which a task that is named was kept, or this one: there its files are from. Its items of then may have
// been kept themselves, from the last run before in which they were executed. An attempt that came later and has kept nothing
// leaves nothing. Of a task that forked a job, or waited for one, they are those of the tasks of that job. What the outputs of a
// task tell an address of and is not there any more is gone: it has no bytes.
const inputsOf = `WITH named AS (SELECT name, min(place) AS place FROM (
			SELECT n.name, n.place FROM unnest($3::text[]) WITH ORDINALITY n (name, place)
			UNION ALL SELECT f.name, n.place FROM unnest($3::text[]) WITH ORDINALITY n (name, place)
				JOIN task t ON t.execution_id = $1 AND t.name = n.name AND t.group_idx IS NULL
				CROSS JOIN LATERAL json_array_elements_text(CASE WHEN json_typeof(t.spec -> 'await_forked_tasks') = 'array' THEN t.spec -> 'await_forked_tasks' ELSE '[]' END) f (name)
		) x GROUP BY name),
	base AS (SELECT n.place, b.* FROM named n CROSS JOIN LATERAL (SELECT m.id, m.request_id, m.run, t.idx, t.name, t.items
		FROM execution e JOIN execution m ON m.request_id = e.request_id AND m.run <= e.run
			JOIN task t ON t.execution_id = m.id AND t.name = n.name AND t.group_idx IS NULL
		WHERE e.id = $1 AND NOT t.reuse ORDER BY m.run DESC LIMIT 1) b),
	item AS (SELECT b.place, b.request_id, b.run, i.name, i.execution_id, i.idx, i.state,
			i.attempts > 0 OR EXISTS (SELECT FROM child c WHERE c.execution_id = i.execution_id AND c.task_idx = i.idx) AS ran
		FROM base b JOIN task i ON i.execution_id = b.id AND b.items IS NOT NULL
			AND i.idx BETWEEN (b.items ->> 'first')::int AND (b.items ->> 'first')::int + (b.items ->> 'total')::int - 1),
	kept AS (SELECT DISTINCT ON (i.place, i.idx) i.place, i.request_id, m.run, i.name, t.execution_id, t.idx
		FROM item i JOIN execution m ON m.request_id = i.request_id AND m.run < i.run
			JOIN task t ON t.execution_id = m.id AND t.name = i.name AND t.group_idx IS NOT NULL
		WHERE NOT i.ran AND i.state = 'COMPLETED' AND (t.attempts > 0 OR EXISTS (SELECT FROM child c WHERE c.execution_id = t.execution_id AND c.task_idx = t.idx))
		ORDER BY i.place, i.idx, m.run DESC),
	done AS (SELECT place, request_id, run, name, id AS execution_id, idx FROM base
		UNION ALL SELECT place, request_id, run, name, execution_id, idx FROM item WHERE ran
		UNION ALL SELECT place, request_id, run, name, execution_id, idx FROM kept),
	own AS (SELECT a.*, d.place, d.idx FROM done d
		CROSS JOIN LATERAL (SELECT max(p.number) AS number FROM attempt p WHERE p.execution_id = d.execution_id AND p.task_idx = d.idx) l
		JOIN artifact a ON a.request_id = d.request_id AND a.task = d.name AND a.run = d.run AND a.attempt = l.number AND a.kind = 'TASK'),
	forked AS (SELECT a.*, d.place, d.idx, rank() OVER (PARTITION BY a.request_id, a.task ORDER BY a.run DESC) AS age
		FROM done d CROSS JOIN LATERAL (SELECT c.request_id FROM child c WHERE c.execution_id = d.execution_id AND c.task_idx = d.idx OFFSET 0) c
			JOIN artifact a ON a.request_id = c.request_id AND a.kind = 'TASK' AND a.org_id = $2
		WHERE NOT EXISTS (SELECT FROM execution m JOIN task t ON t.execution_id = m.id AND t.name = a.task
			WHERE m.request_id = a.request_id AND (m.run = a.run AND t.attempts > a.attempt OR m.run > a.run AND t.attempts > 0))),
	found AS (SELECT id, task, name, bytes, sha256, place, idx, number FROM own
		UNION ALL SELECT id, task, name, bytes, sha256, place, idx, number FROM forked WHERE age = 1
		UNION ALL SELECT a.id, a.task, a.name, a.bytes, a.sha256, 1000000 + i.place, 0, 0 FROM unnest($4::uuid[]) WITH ORDINALITY i (id, place)
			JOIN artifact a ON a.id = i.id AND a.org_id = $2),
	told AS (SELECT DISTINCT d.name, substring(o.value FROM '/artifacts/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/download$')::uuid AS id
		FROM done d JOIN task t ON t.execution_id = d.execution_id AND t.idx = d.idx AND json_typeof(t.outputs) = 'object'
			CROSS JOIN LATERAL json_each_text(t.outputs) o WHERE o.key LIKE '%\_ArtifactURL\_%'),
	gone AS (SELECT name, id FROM told WHERE id IS NOT NULL AND NOT EXISTS (SELECT FROM artifact a WHERE a.id = told.id)),
	noted AS (UPDATE attempt SET inputs = (SELECT array_agg(id) FROM found) WHERE uid = $5)
	SELECT id, task, name, bytes, sha256 FROM (SELECT * FROM found UNION ALL SELECT id, name, '', -1, '', 0, 0, 0 FROM gone) x ORDER BY place, idx, task, number, id`

// Inputs returns the artifacts that a task gets, in the order in which they are unpacked, and notes that its attempt may read
// them.
func (s *Store) Inputs(ctx context.Context, attempt, run uuid.UUID, org string, tasks []string, ids []uuid.UUID) ([]execution.Input, error) {
	rows, err := s.pool.Query(ctx, inputsOf, run, org, tasks, ids, attempt)
	if err != nil {
		return nil, fmt.Errorf("find inputs in execution %s: %w", run, err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (i execution.Input, err error) {
		err = row.Scan(&i.ID, &i.Task, &i.Name, &i.Bytes, &i.SHA256)
		i.Gone = i.Bytes < 0
		return i, err
	})
	if err != nil {
		return nil, fmt.Errorf("find inputs in execution %s: %w", run, err)
	}
	return all, nil
}

// OldUploads returns uploads that were begun longer ago than the age and that no end can name any more.
func (s *Store) OldUploads(ctx context.Context, age time.Duration, skip, limit int) ([]artifact.Upload, error) {
	rows, err := s.pool.Query(ctx, `SELECT p.id, p.key, p.store_id FROM artifact_upload p LEFT JOIN attempt a ON a.uid = p.attempt_uid
		WHERE p.given_at < now() - $1::interval AND (a.uid IS NULL OR a.ended_at < now() - $1::interval) ORDER BY p.given_at, p.id OFFSET $2 LIMIT $3`, age, skip, limit)
	if err != nil {
		return nil, fmt.Errorf("find old uploads: %w", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (u artifact.Upload, err error) {
		return u, row.Scan(&u.ID, &u.Key, &u.StoreID)
	})
	if err != nil {
		return nil, fmt.Errorf("find old uploads: %w", err)
	}
	return all, nil
}

// ForgetArtifactUploads deletes the notes of uploads.
func (s *Store) ForgetArtifactUploads(ctx context.Context, ids []uuid.UUID) error {
	if _, err := s.pool.Exec(ctx, `DELETE FROM artifact_upload WHERE id = ANY($1::uuid[])`, ids); err != nil {
		return fmt.Errorf("forget %d uploads: %w", len(ids), err)
	}
	return nil
}

// ExpiredArtifacts returns artifacts whose time is over.
func (s *Store) ExpiredArtifacts(ctx context.Context, skip, limit int) ([]artifact.Artifact, error) {
	rows, err := s.pool.Query(ctx, `SELECT id, org_id, key FROM artifact WHERE expires_at < now() ORDER BY expires_at, id OFFSET $1 LIMIT $2`, skip, limit)
	if err != nil {
		return nil, fmt.Errorf("find expired artifacts: %w", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (a artifact.Artifact, err error) {
		return a, row.Scan(&a.ID, &a.Org, &a.Key)
	})
	if err != nil {
		return nil, fmt.Errorf("find expired artifacts: %w", err)
	}
	return all, nil
}

// ForgetArtifacts deletes the rows of artifacts whose objects are gone.
func (s *Store) ForgetArtifacts(ctx context.Context, ids []uuid.UUID) error {
	if _, err := s.pool.Exec(ctx, `DELETE FROM artifact WHERE id = ANY($1::uuid[])`, ids); err != nil {
		return fmt.Errorf("forget %d artifacts: %w", len(ids), err)
	}
	return nil
}
