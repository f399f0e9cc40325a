-- name: InsertSession :exec
INSERT INTO session (id, secret_hash, person_id, kind, method, address, agent, created_at, last_seen_at, idle, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, $9, $10);

-- name: SessionsOf :many
SELECT s.*, p.name FROM session s JOIN person p ON p.id = s.person_id
WHERE p.name = @name AND s.expires_at > @now AND s.last_seen_at + make_interval(secs => s.idle) > @now ORDER BY s.id DESC LIMIT 1000;

-- name: EndSession :execrows
DELETE FROM session s USING person p WHERE s.id = $1 AND p.id = s.person_id AND p.name = $2;

-- name: EndSessions :execrows
DELETE FROM session WHERE person_id = $1;

-- name: SessionCredential :many
-- One row for each membership, or one with an empty member_of.
SELECT s.id, s.expires_at, s.last_seen_at, s.idle, p.name, p.platform_role, p.default_org,
    coalesce(m.org_id, '') AS member_of, coalesce(m.role, '') AS role, coalesce(m.groups, '{}')::text[] AS groups
FROM session s JOIN person p ON p.id = s.person_id
LEFT JOIN (member m JOIN org o ON o.id = m.org_id AND o.closed_at IS NULL) ON m.person_id = p.id
WHERE s.secret_hash = @secret_hash AND p.disabled_at IS NULL AND s.expires_at > @now AND s.last_seen_at + make_interval(secs => s.idle) > @now;

-- name: TokenCredential :many
SELECT t.id, t.expires_at, t.org_id, t.scopes, p.name, p.platform_role, p.default_org,
    coalesce(m.org_id, '') AS member_of, coalesce(m.role, '') AS role, coalesce(m.groups, '{}')::text[] AS groups
FROM token t JOIN person p ON p.id = t.person_id
LEFT JOIN (member m JOIN org o ON o.id = m.org_id AND o.closed_at IS NULL) ON m.person_id = p.id
WHERE t.secret_hash = @secret_hash AND p.disabled_at IS NULL AND t.revoked_at IS NULL AND t.expires_at > @now;

-- name: TouchSessions :exec
UPDATE session s SET last_seen_at = u.at FROM (SELECT unnest(@ids::uuid[]) AS id, unnest(@times::timestamptz[]) AS at) u
WHERE s.id = u.id AND s.last_seen_at < u.at;

-- name: TouchTokens :exec
UPDATE token t SET last_used_at = u.at FROM (SELECT unnest(@ids::uuid[]) AS id, unnest(@times::timestamptz[]) AS at) u
WHERE t.id = u.id AND (t.last_used_at IS NULL OR t.last_used_at < u.at);

-- name: InsertToken :exec
INSERT INTO token (id, secret_hash, person_id, org_id, name, scopes, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: CountTokens :one
SELECT count(*) FROM token WHERE person_id = $1 AND revoked_at IS NULL AND expires_at > @now;

-- name: TokenByID :one
SELECT t.*, p.name AS owner FROM token t JOIN person p ON p.id = t.person_id WHERE t.id = $1;

-- name: TokensOf :many
SELECT t.*, p.name AS owner FROM token t JOIN person p ON p.id = t.person_id
WHERE p.name = @name AND t.id > @after AND t.revoked_at IS NULL AND t.expires_at > @now ORDER BY t.id LIMIT @most;

-- name: RevokeToken :execrows
UPDATE token SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL;

-- name: RevokeTokens :exec
UPDATE token SET revoked_at = now() WHERE person_id = $1 AND revoked_at IS NULL;

-- name: Sweep :exec
WITH sessions AS (DELETE FROM session WHERE session.expires_at < @now),
    invitations AS (DELETE FROM invitation WHERE invitation.expires_at < @before),
    tokens AS (DELETE FROM token WHERE token.expires_at < @before),
    logins AS (DELETE FROM pending_login WHERE pending_login.expires_at < @now)
DELETE FROM attempt WHERE attempt.last_at < @forgotten;
