-- name: InsertMember :execrows
INSERT INTO member (org_id, person_id, role, groups, added_at, added_by) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (org_id, person_id) DO NOTHING;

-- name: LockOrgAdmins :many
SELECT person_id FROM member WHERE org_id = $1 AND role = 'org-admin' ORDER BY person_id FOR UPDATE;

-- name: GetMember :one
SELECT m.*, p.name, p.title, p.email, p.disabled_at FROM member m JOIN person p ON p.id = m.person_id WHERE m.org_id = $1 AND p.name = $2;

-- name: UpdateMember :exec
UPDATE member SET role = $3, groups = $4 WHERE org_id = $1 AND person_id = $2;

-- name: DeleteMember :exec
DELETE FROM member WHERE org_id = $1 AND person_id = $2;

-- name: Members :many
SELECT m.*, p.name, p.title, p.email, p.disabled_at FROM member m JOIN person p ON p.id = m.person_id
WHERE m.org_id = @org_id AND p.name > @after ORDER BY p.name LIMIT @most;

-- name: Memberships :many
SELECT m.org_id, m.role, m.groups FROM member m JOIN org o ON o.id = m.org_id
WHERE m.person_id = $1 AND o.closed_at IS NULL ORDER BY m.org_id;

-- name: InsertInvitation :exec
INSERT INTO invitation (id, org_id, code_hash, note, role, groups, created_at, created_by, expires_at, used_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, '');

-- name: Invitations :many
SELECT * FROM invitation WHERE org_id = @org_id AND id > @after ORDER BY id LIMIT @most;

-- name: DeleteInvitation :execrows
DELETE FROM invitation WHERE org_id = $1 AND id = $2 AND used_at IS NULL;

-- name: LockInvitation :one
SELECT i.* FROM invitation i JOIN org o ON o.id = i.org_id
WHERE i.code_hash = @code_hash AND i.used_at IS NULL AND i.expires_at > @now AND o.closed_at IS NULL FOR UPDATE OF i;

-- name: UseInvitation :exec
UPDATE invitation SET used_at = $2, used_by = $3 WHERE id = $1;
