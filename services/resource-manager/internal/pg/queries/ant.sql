-- name: LockAnt :one
SELECT * FROM ant WHERE id = $1 FOR NO KEY UPDATE;

-- name: GetAnt :one
-- one that is offered to the organisation
SELECT * FROM ant WHERE id = $1 AND org_id IN ('', sqlc.arg(org_id)::text);

-- name: ListAnts :many
SELECT * FROM ant WHERE id > sqlc.arg(after) AND org_id IN ('', sqlc.arg(org_id)::text) ORDER BY id LIMIT sqlc.arg(page);

-- name: AllAnts :many
SELECT * FROM ant WHERE id > sqlc.arg(after) ORDER BY id LIMIT sqlc.arg(page);

-- name: LockAnts :many
SELECT * FROM ant WHERE id = ANY(sqlc.arg(ids)::text[]) ORDER BY id FOR NO KEY UPDATE;

-- name: LockID :exec
-- a registration of an ant that has no row yet must not meet another one
SELECT pg_advisory_xact_lock(hashtext(current_schema() || '.ant.' || sqlc.arg(id)::text));

-- name: AbleAnts :many
-- those that take work
SELECT id, org_id, methods, tags, unhealthy, offered, used FROM ant WHERE state = 'ONLINE' AND deaf = '' ORDER BY id;

-- name: SaveAnt :exec
-- used is not written: it belongs to the holds
INSERT INTO ant (id, session, generation, state, drain_wanted, drain_reported, methods, tags, unhealthy, offered, slots,
    version, labels, registered_at, heartbeat_at, lease_until, braked, offline_at, deaf, heard, unclaimed, unclaimed_at, avoid_ms, avoided_until, org_id, pool)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26)
ON CONFLICT (id) DO UPDATE SET session = $2, generation = $3, state = $4, drain_wanted = $5, drain_reported = $6,
    methods = $7, tags = $8, unhealthy = $9, offered = $10, slots = $11, version = $12, labels = $13, registered_at = $14,
    heartbeat_at = $15, lease_until = $16, braked = $17, offline_at = $18, deaf = $19, heard = $20, unclaimed = $21,
    unclaimed_at = $22, avoid_ms = $23, avoided_until = $24, org_id = $25, pool = $26;

-- name: Touch :exec
-- beats that change nothing else
UPDATE ant SET heartbeat_at = now(), lease_until = now() + sqlc.arg(lease_ms)::bigint * interval '1 millisecond', heard = b.heard, braked = false
FROM (SELECT unnest(sqlc.arg(ids)::text[]) AS id, unnest(sqlc.arg(heard)::bigint[]) AS heard) b WHERE ant.id = b.id;

-- name: Now :one
SELECT now()::timestamptz AS now;

-- name: CountAlive :one
SELECT count(*) FROM ant WHERE state <> 'OFFLINE';

-- name: LockExpired :many
SELECT id, braked FROM ant WHERE state <> 'OFFLINE' AND lease_until < now() ORDER BY id FOR NO KEY UPDATE;

-- name: SetOffline :exec
UPDATE ant SET state = 'OFFLINE', offline_at = now() WHERE id = ANY(sqlc.arg(ids)::text[]) AND state <> 'OFFLINE';

-- name: Spare :exec
UPDATE ant SET braked = true, lease_until = now() + sqlc.arg(lease_ms)::bigint * interval '1 millisecond' WHERE id = ANY(sqlc.arg(ids)::text[]);

-- name: DeleteGone :many
-- a hold is only made while its ant is not OFFLINE, under the lock of its row
DELETE FROM ant WHERE state = 'OFFLINE' AND offline_at < now() - sqlc.arg(after_ms)::bigint * interval '1 millisecond'
    AND NOT EXISTS (SELECT FROM hold WHERE hold.ant_id = ant.id) RETURNING id;

-- name: AliveIDs :many
SELECT id FROM ant WHERE state <> 'OFFLINE' ORDER BY id;
