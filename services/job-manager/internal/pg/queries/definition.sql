-- name: LockType :one
-- Makes the job type's row where it is missing and holds its lock until the end of the transaction.
INSERT INTO job_type AS t (org_id, job_type) VALUES ($1, $2)
ON CONFLICT (org_id, job_type) DO UPDATE SET last_version = t.last_version
RETURNING last_version, newest_id, generation, disabled;

-- name: LockTypeForDelete :one
SELECT generation, newest_id FROM job_type WHERE org_id = $1 AND job_type = $2 FOR UPDATE;

-- name: InsertDefinition :exec
INSERT INTO definition (id, org_id, job_type, version, generation, sem_version, description, disabled, sha256, yaml,
    max_concurrency, priority, required_params, created_at, created_by, public_plugin, audience)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, now(), $14, $15, $16);

-- name: SetNewest :exec
UPDATE job_type SET last_version = $3, newest_id = $4, disabled = $5, max_concurrency = $6, public_plugin = $7, plugin_org = NULL
WHERE org_id = $1 AND job_type = $2;

-- name: LendPlugin :exec
-- Brings the copies of a plugin's switch and limit in other organisations up to date.
UPDATE job_type b SET disabled = t.disabled, max_concurrency = t.max_concurrency
FROM job_type t
WHERE t.org_id = $1 AND t.job_type = $2 AND b.plugin_org = $1 AND b.job_type = $2
  AND (b.disabled, b.max_concurrency) IS DISTINCT FROM (t.disabled, t.max_concurrency);

-- name: OwnerOf :one
-- Whose job type a name means to an organisation: its own, or that of the one plugin of the name.
SELECT t.org_id FROM job_type t
WHERE t.job_type = $2 AND t.newest_id IS NOT NULL AND (t.org_id = $1 OR t.public_plugin)
ORDER BY t.org_id = $1 DESC
LIMIT 1;

-- name: MarkDeleted :exec
UPDATE job_type SET newest_id = NULL, generation = generation + 1, disabled = false, max_concurrency = 0, public_plugin = false
WHERE org_id = $1 AND job_type = $2;

-- name: SetDisabled :execrows
UPDATE job_type SET disabled = $3 WHERE org_id = $1 AND job_type = $2 AND newest_id IS NOT NULL;

-- name: OpenRequestOf :one
-- Any request of the job type that has not ended: one look into request_by_type_state for each state.
SELECT id FROM request
WHERE org_id = $1 AND job_type = $2
  AND state IN ('PENDING', 'READY', 'EXECUTING', 'PAUSED', 'MANUAL_APPROVAL_REQUIRED')
LIMIT 1;

-- name: DefinitionByID :one
SELECT sqlc.embed(d), t.disabled FROM definition d JOIN job_type t USING (org_id, job_type)
WHERE d.id = $1 AND (sqlc.arg(any_org)::boolean OR d.org_id = $2 OR d.public_plugin);

-- name: NewestDefinition :one
SELECT sqlc.embed(d), t.disabled FROM job_type t JOIN definition d ON d.id = t.newest_id
WHERE t.org_id = $1 AND t.job_type = $2;

-- name: VersionNames :many
-- The versions of a job type that a text may mean, with the newest number of the type.
SELECT d.id, d.version, d.sem_version, t.last_version FROM job_type t JOIN definition d USING (org_id, job_type, generation)
WHERE t.org_id = $1 AND t.job_type = $2 AND t.newest_id IS NOT NULL AND (d.public_plugin OR NOT sqlc.arg(public_only)::boolean)
  AND (d.sem_version <> '' OR d.version = sqlc.arg(number)::int)
ORDER BY d.version;

-- name: TypeExists :one
SELECT EXISTS (SELECT FROM job_type WHERE org_id = $1 AND job_type = $2 AND newest_id IS NOT NULL);

-- name: ListNewest :many
SELECT d.id, d.org_id, d.job_type, d.version, d.sem_version, d.description, d.sha256, d.max_concurrency, d.priority,
    d.required_params, d.created_at, d.created_by, d.public_plugin, t.disabled
FROM job_type t JOIN definition d ON d.id = t.newest_id
WHERE t.org_id = $1 AND t.job_type > sqlc.arg(after_type)::text
ORDER BY t.job_type
LIMIT sqlc.arg(page)::int;

-- name: ListVersions :many
SELECT d.id, d.org_id, d.job_type, d.version, d.sem_version, d.description, d.sha256, d.max_concurrency, d.priority,
    d.required_params, d.created_at, d.created_by, d.public_plugin, t.disabled
FROM job_type t JOIN definition d USING (org_id, job_type, generation)
WHERE t.org_id = $1 AND t.job_type = $2 AND d.version < sqlc.arg(before_version)::int
ORDER BY d.version DESC
LIMIT sqlc.arg(page)::int;

-- name: ListPlugins :many
SELECT d.id, d.org_id, d.job_type, d.version, d.sem_version, d.description, d.sha256, d.max_concurrency, d.priority,
    d.required_params, d.created_at, d.created_by, d.public_plugin, t.disabled
FROM job_type t JOIN definition d ON d.id = t.newest_id
WHERE t.public_plugin AND t.job_type > sqlc.arg(after_type)::text
ORDER BY t.job_type
LIMIT sqlc.arg(page)::int;
