-- name: ConfigsOf :many
SELECT * FROM config
WHERE org_id = @org_id AND level = @level AND owner = @owner AND name > @after AND (secret OR NOT @secrets_only::boolean)
ORDER BY name LIMIT @rows;

-- name: ConfigNamed :one
SELECT * FROM config WHERE org_id = $1 AND level = $2 AND owner = $3 AND name = $4;

-- name: CountConfigs :one
SELECT count(*) FROM config WHERE org_id = $1 AND level = $2 AND owner = $3;

-- name: CountConfigChange :one
-- Its lock orders the changes.
UPDATE config_change SET count = count + 1 RETURNING count;

-- name: ConfigChanges :one
SELECT count FROM config_change;

-- name: SaveConfig :one
INSERT INTO config (id, org_id, level, owner, name, type, value, secret, version, description, change, created_at, updated_at, updated_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, now(), now(), $12)
ON CONFLICT (org_id, level, owner, name) DO UPDATE SET type = excluded.type, value = excluded.value, version = excluded.version,
    description = excluded.description, change = excluded.change, updated_at = now(), updated_by = excluded.updated_by
RETURNING *;

-- name: DeleteConfig :execrows
DELETE FROM config WHERE id = $1;

-- name: VisibleConfigs :many
-- What a run sees, of all levels.
SELECT c.level, c.name, c.type, c.value, c.secret
FROM (SELECT unnest(@orgs::text[]) AS org_id, unnest(@levels::text[]) AS level, unnest(@owners::text[]) AS owner) l
JOIN config c ON c.org_id = l.org_id AND c.level = l.level AND c.owner = l.owner;

-- name: InsertSealed :exec
INSERT INTO sealed (org_id, scope, name, version, key_id, data_key, value, created_at, created_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, now(), $8);

-- name: SealedVersions :many
SELECT version, key_id, created_at, created_by FROM sealed WHERE org_id = $1 AND scope = $2 AND name = $3 ORDER BY version DESC;

-- name: SealedVersion :one
SELECT key_id, data_key, value FROM sealed WHERE org_id = $1 AND scope = $2 AND name = $3 AND version = $4;

-- name: DeleteSealed :exec
DELETE FROM sealed WHERE org_id = $1 AND scope = $2 AND name = $3 AND version <= $4;

-- name: NewestSealed :many
-- The newest versions of secrets at places, those that there are.
SELECT p.n::int AS n, c.version, s.key_id, s.data_key, s.value
FROM (SELECT unnest(@ns::int[]) AS n, unnest(@orgs::text[]) AS org_id, unnest(@levels::text[]) AS level, unnest(@owners::text[]) AS owner,
    unnest(@scopes::text[]) AS scope, unnest(@names::text[]) AS name) p
JOIN config c ON c.org_id = p.org_id AND c.level = p.level AND c.owner = p.owner AND c.name = p.name AND c.secret
JOIN sealed s ON s.org_id = p.org_id AND s.scope = p.scope AND s.name = p.name AND s.version = c.version;

-- name: SealedParams :many
SELECT p.n::int AS n, s.key_id, s.data_key, s.value
FROM (SELECT unnest(@ns::int[]) AS n, unnest(@orgs::text[]) AS org_id, unnest(@scopes::text[]) AS scope, unnest(@names::text[]) AS name) p
JOIN sealed s ON s.org_id = p.org_id AND s.scope = p.scope AND s.name = p.name AND s.version = 0;

-- name: SealedKeyBounds :one
-- The first and the last key in use: where both are the primary one, there is no other.
SELECT coalesce((SELECT key_id FROM sealed ORDER BY key_id LIMIT 1), '')::text AS first,
    coalesce((SELECT key_id FROM sealed ORDER BY key_id DESC LIMIT 1), '')::text AS last;

-- name: SealedByKey :many
-- It reads the whole index: asked by people, and while keys are rotated.
SELECT key_id, count(*) AS n FROM sealed GROUP BY key_id ORDER BY key_id;

-- name: SealedUnder :many
SELECT org_id, scope, name, version, key_id, data_key FROM sealed
WHERE key_id = @key_id AND (org_id, scope, name, version) > (@after_org::text, @after_scope::text, @after_name::text, @after_version::int)
ORDER BY org_id, scope, name, version LIMIT @rows;

-- name: RewrapSealed :execrows
-- What was deleted, stored again or rewrapped by another replica meanwhile stays as it is.
UPDATE sealed s SET key_id = @key_id::text, data_key = n.fresh
FROM (SELECT unnest(@orgs::text[]) AS org_id, unnest(@scopes::text[]) AS scope, unnest(@names::text[]) AS name, unnest(@versions::int[]) AS version,
    unnest(@stale::bytea[]) AS stale, unnest(@fresh::bytea[]) AS fresh) n
WHERE s.org_id = n.org_id AND s.scope = n.scope AND s.name = n.name AND s.version = n.version AND s.data_key = n.stale;

-- name: SampleSealed :many
-- A few of each key, for the auditor.
SELECT s.* FROM (SELECT DISTINCT key_id FROM sealed) k
CROSS JOIN LATERAL (SELECT * FROM sealed x WHERE x.key_id = k.key_id ORDER BY md5(x.org_id || x.scope || x.name || @salt::text) LIMIT @rows) s;
