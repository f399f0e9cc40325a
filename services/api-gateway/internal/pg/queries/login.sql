-- name: EnsureAttempts :exec
INSERT INTO attempt (key, failures, last_at, until) SELECT unnest(@keys::text[]), 0, @now::timestamptz, @now::timestamptz ON CONFLICT (key) DO NOTHING;

-- name: LockAttempts :many
SELECT * FROM attempt WHERE key = ANY(@keys::text[]) ORDER BY key FOR UPDATE;

-- name: SetAttempt :exec
UPDATE attempt SET failures = $2, last_at = $3, until = $4 WHERE key = $1;

-- name: SetBootstrap :exec
INSERT INTO bootstrap (one, code_hash, expires_at) VALUES (true, $1, $2)
ON CONFLICT (one) DO UPDATE SET code_hash = excluded.code_hash, expires_at = excluded.expires_at;

-- name: TakeBootstrap :execrows
DELETE FROM bootstrap WHERE code_hash = $1 AND expires_at > @now;

-- name: InsertPendingLogin :exec
INSERT INTO pending_login (secret_hash, user_code_hash, challenge, person_id, denied, address, agent, created_at, expires_at)
VALUES ($1, $2, $3, $4, false, $5, $6, $7, $8);

-- name: PendingByUserCode :one
SELECT * FROM pending_login WHERE user_code_hash = $1 AND expires_at > @now AND person_id IS NULL AND NOT denied FOR UPDATE;

-- name: DecidePending :exec
UPDATE pending_login SET person_id = $2, denied = $3 WHERE secret_hash = $1;

-- name: PendingLogin :one
SELECT * FROM pending_login WHERE secret_hash = $1 AND expires_at > @now FOR UPDATE;

-- name: DeletePending :exec
DELETE FROM pending_login WHERE secret_hash = $1;

-- name: PeekUserCode :one
SELECT * FROM pending_login WHERE user_code_hash = $1 AND expires_at > @now AND person_id IS NULL AND NOT denied;

-- name: EnsureCookieKey :exec
INSERT INTO cookie_key (one, key) VALUES (true, $1) ON CONFLICT (one) DO NOTHING;

-- name: CookieKey :one
SELECT key FROM cookie_key;
