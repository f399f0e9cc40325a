-- name: LockType :one
-- Makes the job type's row where it is missing and holds its lock until the end of the transaction.
INSERT INTO job_type AS t (org_id, job_type) VALUES ($1, $2)
ON CONFLICT (org_id, job_type) DO UPDATE SET last_version = t.last_version
RETURNING last_version, newest_id, generation, disabled;

-- name: LockTypeForDelete :one
SELECT generation, newest_id FROM job_type WHERE org_id = $1 AND job_type = $2 FOR UPDATE;

-- name: InsertDefinition :exec
INSERT INTO definition (id, org_id, job_type, version, generation, sem_version, description, disabled, sha256, yaml,
    max_concurrency, priority, required_params, created_at, created_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, now(), $14);

-- name: SetNewest :exec
UPDATE job_type SET last_version = $3, newest_id = $4, disabled = $5, max_concurrency = $6
WHERE org_id = $1 AND job_type = $2;

-- name: MarkDeleted :exec
UPDATE job_type SET newest_id = NULL, generation = generation + 1, disabled = false, max_concurrency = 0
WHERE org_id = $1 AND job_type = $2;

-- name: SetDisabled :execrows
UPDATE job_type SET disabled = $3 WHERE org_id = $1 AND job_type = $2 AND newest_id IS NOT NULL;

-- name: OpenRequestOf :one
-- Any request of the job type that has not ended. Called rarely: it may read every request of the type.
SELECT id FROM request
WHERE org_id = $1 AND job_type = $2
  AND state IN ('PENDING', 'READY', 'EXECUTING', 'PAUSED', 'MANUAL_APPROVAL_REQUIRED')
LIMIT 1;

-- name: DefinitionByID :one
SELECT sqlc.embed(d), t.disabled FROM definition d JOIN job_type t USING (org_id, job_type)
WHERE d.id = $1 AND (sqlc.arg(any_org)::boolean OR d.org_id = $2);

-- name: NewestDefinition :one
SELECT sqlc.embed(d), t.disabled FROM job_type t JOIN definition d ON d.id = t.newest_id
WHERE t.org_id = $1 AND t.job_type = $2;

-- name: DefinitionByVersion :one
SELECT sqlc.embed(d), t.disabled FROM job_type t JOIN definition d USING (org_id, job_type, generation)
WHERE t.org_id = $1 AND t.job_type = $2 AND (d.version = sqlc.arg(version)::int OR d.sem_version = sqlc.arg(sem_version)::text)
ORDER BY d.version = sqlc.arg(version)::int DESC
LIMIT 1;

-- name: ListNewest :many
SELECT d.id, d.org_id, d.job_type, d.version, d.sem_version, d.description, d.sha256, d.max_concurrency, d.priority,
    d.required_params, d.created_at, d.created_by, t.disabled
FROM job_type t JOIN definition d ON d.id = t.newest_id
WHERE t.org_id = $1 AND t.job_type > sqlc.arg(after_type)::text
ORDER BY t.job_type
LIMIT sqlc.arg(page)::int;

-- name: ListVersions :many
SELECT d.id, d.org_id, d.job_type, d.version, d.sem_version, d.description, d.sha256, d.max_concurrency, d.priority,
    d.required_params, d.created_at, d.created_by, t.disabled
FROM job_type t JOIN definition d USING (org_id, job_type, generation)
WHERE t.org_id = $1 AND t.job_type = $2 AND d.version < sqlc.arg(before_version)::int
ORDER BY d.version DESC
LIMIT sqlc.arg(page)::int;
