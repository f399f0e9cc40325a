-- name: LockAnt :one
SELECT * FROM ant WHERE id = $1 FOR UPDATE;

-- name: GetAnt :one
SELECT * FROM ant WHERE id = $1;

-- name: ListAnts :many
SELECT * FROM ant WHERE id > sqlc.arg(after) ORDER BY id LIMIT sqlc.arg(page);

-- name: LiveAnts :many
SELECT id, state, methods, tags, unhealthy, offered, used, session FROM ant WHERE state <> 'OFFLINE' ORDER BY id;

-- name: SaveAnt :exec
-- used is not written: it belongs to the holds
INSERT INTO ant (id, session, generation, state, drain_wanted, drain_reported, methods, tags, unhealthy, offered, slots,
    version, labels, registered_at, heartbeat_at, lease_until, braked, offline_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
ON CONFLICT (id) DO UPDATE SET session = $2, generation = $3, state = $4, drain_wanted = $5, drain_reported = $6,
    methods = $7, tags = $8, unhealthy = $9, offered = $10, slots = $11, version = $12, labels = $13, registered_at = $14,
    heartbeat_at = $15, lease_until = $16, braked = $17, offline_at = $18;

-- name: Now :one
SELECT now()::timestamptz AS now;

-- name: LockSlots :exec
-- whoever changes slots, used or holds does so one after the other
SELECT pg_advisory_xact_lock(hashtext(current_schema() || '.slots'));

-- name: CountAlive :one
SELECT count(*) FROM ant WHERE state <> 'OFFLINE';

-- name: LockExpired :many
SELECT id, braked FROM ant WHERE state <> 'OFFLINE' AND lease_until < now() ORDER BY id FOR UPDATE;

-- name: SetOffline :exec
UPDATE ant SET state = 'OFFLINE', offline_at = now() WHERE id = ANY(sqlc.arg(ids)::text[]) AND state <> 'OFFLINE';

-- name: Spare :exec
UPDATE ant SET braked = true, lease_until = now() + sqlc.arg(lease_ms)::bigint * interval '1 millisecond' WHERE id = ANY(sqlc.arg(ids)::text[]);

-- name: DeleteGone :many
DELETE FROM ant WHERE state = 'OFFLINE' AND offline_at < now() - sqlc.arg(after_ms)::bigint * interval '1 millisecond'
    AND NOT EXISTS (SELECT FROM hold WHERE hold.ant_id = ant.id) RETURNING id;

-- name: AntStates :many
SELECT id, state FROM ant ORDER BY id;
