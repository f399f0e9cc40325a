-- name: InsertPerson :execrows
INSERT INTO person (id, name, title, email, platform_role, default_org, password, created_at, created_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (name) DO NOTHING;

-- name: PersonByName :one
SELECT * FROM person WHERE name = $1;

-- name: PersonByID :one
SELECT * FROM person WHERE id = $1;

-- name: LockPerson :one
SELECT * FROM person WHERE name = $1 FOR UPDATE;

-- name: Persons :many
SELECT * FROM person WHERE name > @after ORDER BY name LIMIT @most;

-- name: PersonsOf :many
SELECT person.* FROM member JOIN person ON person.id = member.person_id
WHERE member.org_id = @org_id AND person.name > @after ORDER BY person.name LIMIT @most;

-- name: UpdatePerson :exec
UPDATE person SET title = $2, email = $3, platform_role = $4, default_org = $5, password = $6, disabled_at = $7 WHERE id = $1;

-- name: LockPlatformAdmins :many
-- Two that would end each other's role wait here for each other.
SELECT id FROM person WHERE platform_role = 'platform-admin' AND disabled_at IS NULL ORDER BY id FOR UPDATE;

-- name: PlatformAdmins :one
SELECT count(*) FROM person WHERE platform_role = 'platform-admin' AND disabled_at IS NULL;

-- name: InsertOIDC :execrows
INSERT INTO oidc_identity (issuer, subject, person_id, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT (issuer, subject) DO NOTHING;

-- name: PersonByOIDC :one
SELECT person.* FROM oidc_identity o JOIN person ON person.id = o.person_id WHERE o.issuer = $1 AND o.subject = $2;
