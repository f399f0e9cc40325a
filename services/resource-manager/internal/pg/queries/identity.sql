-- name: AddJoinToken :one
INSERT INTO join_token (id, hash, org_id, pool, created_by, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, now(), now() + sqlc.arg(life_ms)::bigint * interval '1 millisecond') RETURNING *;

-- name: DeleteOldJoinTokens :exec
DELETE FROM join_token WHERE created_at < now() - interval '1 day';

-- name: ListJoinTokens :many
-- those of the organisation, or all of them
SELECT * FROM join_token WHERE sqlc.arg(every)::boolean OR org_id = sqlc.arg(org_id) ORDER BY created_at DESC, id LIMIT 1000;

-- name: DeleteJoinToken :execrows
DELETE FROM join_token WHERE id = sqlc.arg(id) AND (sqlc.arg(every)::boolean OR org_id = sqlc.arg(org_id));

-- name: SpendJoinToken :one
-- the row is there once for one ant: who comes second finds nothing
UPDATE join_token SET used_at = now(), used_by = sqlc.arg(ant_id) WHERE hash = sqlc.arg(hash) AND used_at IS NULL AND expires_at > now() RETURNING *;

-- name: GetIdentity :one
SELECT sqlc.embed(ant_identity), coalesce(revoked_at > clock_timestamp() - interval '5 seconds', false)::boolean AS shut FROM ant_identity WHERE ant_id = $1;

-- name: Clock :one
-- unlike now() it goes on while a transaction waits for a lock
SELECT clock_timestamp()::timestamptz AS now;

-- name: IdentityTaken :one
-- whether the id belongs to somebody else: an ant that joined and whose certificate may live, a session of one that did not
-- join, or what another organisation has on it
SELECT (EXISTS (SELECT FROM ant_identity i WHERE i.ant_id = sqlc.arg(ant_id)::text AND i.not_after > clock_timestamp())
    OR EXISTS (SELECT FROM ant a WHERE a.id = sqlc.arg(ant_id)::text
        AND (a.session IS NOT NULL AND a.lease_until > clock_timestamp() OR a.org_id <> sqlc.arg(org_id)::text AND a.state <> 'OFFLINE'))
    OR EXISTS (SELECT FROM hold h WHERE h.ant_id = sqlc.arg(ant_id)::text AND sqlc.arg(org_id)::text NOT IN ('', h.org_id)))::boolean AS taken;

-- name: SaveIdentity :exec
INSERT INTO ant_identity (ant_id, org_id, pool, joined_at, not_after) VALUES ($1, $2, $3, clock_timestamp(), $4)
ON CONFLICT (ant_id) DO UPDATE SET org_id = $2, pool = $3, joined_at = clock_timestamp(), not_after = $4;

-- name: RenewIdentity :exec
UPDATE ant_identity SET not_after = $2 WHERE ant_id = $1;

-- name: RevokeIdentity :exec
-- also of an ant whose certificate was not issued here
INSERT INTO ant_identity (ant_id, org_id, pool, joined_at, not_after, revoked_at)
VALUES ($1, $2, 'default', clock_timestamp(), clock_timestamp(), clock_timestamp())
ON CONFLICT (ant_id) DO UPDATE SET revoked_at = clock_timestamp(), not_after = clock_timestamp();

-- name: RevokedIdentities :many
-- those of which a certificate could still be good
SELECT ant_id, revoked_at FROM ant_identity WHERE revoked_at > now() - sqlc.arg(life_ms)::bigint * interval '1 millisecond' ORDER BY ant_id;

-- name: DeleteOldIdentities :exec
-- those whose certificates have all ended long ago
DELETE FROM ant_identity WHERE not_after < now() - interval '30 days';
