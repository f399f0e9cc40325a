-- name: DigestKey :one
SELECT digest_key FROM audit_head WHERE one;

-- name: Begin :exec
INSERT INTO audit_pending (id, body)
SELECT unnest(@ids::uuid[]), unnest(@bodies::bytea[])
ON CONFLICT DO NOTHING;

-- name: Touch :exec
UPDATE audit_pending SET touched_at = clock_timestamp() WHERE id = ANY(@ids::uuid[]);

-- name: LockHead :one
SELECT seq, hash, now()::timestamptz AS now FROM audit_head WHERE one FOR UPDATE;

-- name: Head :one
SELECT seq, hash FROM audit_head WHERE one;

-- name: MoveHead :exec
UPDATE audit_head SET seq = @seq, hash = @hash WHERE one;

-- name: Take :many
DELETE FROM audit_pending WHERE id = ANY(@ids::uuid[])
RETURNING id, at, body;

-- name: TakeAbandoned :many
DELETE FROM audit_pending WHERE id IN (SELECT p.id FROM audit_pending p WHERE p.touched_at < clock_timestamp() - @age::interval ORDER BY p.touched_at LIMIT 500)
RETURNING id, at, body;

-- name: Sealed :many
SELECT id FROM audit_event WHERE id = ANY(@ids::uuid[]);

-- name: Before :many
-- The digests that objects had last.
SELECT o.org_id::text AS org_id, o.kind::text AS kind, o.id::text AS id, e.after_digest
FROM (SELECT unnest(@orgs::text[]) AS org_id, unnest(@kinds::text[]) AS kind, unnest(@ids::text[]) AS id) o,
LATERAL (
    SELECT a.after_digest FROM audit_event a
    WHERE a.object_id = o.id AND a.object_kind = o.kind AND a.org_id = o.org_id AND a.after_digest <> ''
    ORDER BY a.seq DESC LIMIT 1
) e;

-- name: AddEvents :exec
-- COPY would not ask the policy.
INSERT INTO audit_event (
    seq, id, at, org_id, actor, actor_kind, credential, method, permission, object_kind, object_id, request_digest, before_digest, after_digest,
    address, request_id, agent, outcome, code, reason, took_us, prev_hash, hash
)
SELECT
    unnest(@seq::bigint[]), unnest(@id::uuid[]), unnest(@at::timestamptz[]), unnest(@org_id::text[]), unnest(@actor::text[]),
    unnest(@actor_kind::text[]), unnest(@credential::text[]), unnest(@method::text[]), unnest(@permission::text[]), unnest(@object_kind::text[]),
    unnest(@object_id::text[]), unnest(@request_digest::bytea[]), unnest(@before_digest::bytea[]), unnest(@after_digest::bytea[]),
    unnest(@address::text[]), unnest(@request_id::text[]), unnest(@agent::text[]), unnest(@outcome::text[]), unnest(@code::text[]),
    unnest(@reason::text[]), unnest(@took_us::bigint[]), unnest(@prev_hash::bytea[]), unnest(@hash::bytea[]);

-- name: Page :many
SELECT seq, id, at, org_id, actor, actor_kind, credential, method, permission, object_kind, object_id, request_digest, before_digest, after_digest,
    address, request_id, agent, outcome, code, reason, took_us, prev_hash, hash
FROM audit_event WHERE seq > @after ORDER BY seq LIMIT @max_rows;

-- name: Checkpoints :many
SELECT seq, hash, at, certificate, signature FROM audit_checkpoint WHERE seq > @after ORDER BY seq LIMIT @max_rows;

-- name: LastCheckpoint :one
SELECT coalesce(max(seq), 0)::bigint FROM audit_checkpoint;

-- name: AddCheckpoint :exec
INSERT INTO audit_checkpoint (seq, hash, at, certificate, signature) VALUES (@seq, @hash, @at, @certificate, @signature)
ON CONFLICT DO NOTHING;
