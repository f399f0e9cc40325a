-- name: InsertOrg :execrows
INSERT INTO org (id, title, created_at, created_by) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING;

-- name: GetOrg :one
SELECT * FROM org WHERE id = $1 AND closed_at IS NULL;

-- name: Orgs :many
SELECT * FROM org WHERE id > @after AND closed_at IS NULL ORDER BY id LIMIT @most;

-- name: OrgsOf :many
SELECT org.* FROM member JOIN org ON org.id = member.org_id
WHERE member.person_id = @person_id AND org.id > @after AND org.closed_at IS NULL ORDER BY org.id LIMIT @most;

-- name: UpdateOrg :one
UPDATE org SET title = $2 WHERE id = $1 AND closed_at IS NULL RETURNING *;

-- name: CloseOrg :execrows
UPDATE org SET closed_at = $2 WHERE id = $1 AND closed_at IS NULL;
