-- name: ChildrenByKey :many
SELECT * FROM request WHERE child_key = ANY(sqlc.arg(keys)::text[]) AND child_key <> '';

-- name: ChildIDs :many
SELECT id FROM request WHERE child_key = ANY(sqlc.arg(keys)::text[]) AND child_key <> '';

-- name: Parents :many
-- What a child takes over from its parent.
SELECT id, org_id, job_type, depth, created_by FROM request WHERE id = ANY(sqlc.arg(ids)::uuid[]);

-- name: RefusedChildren :many
SELECT child_key FROM child_refusal WHERE child_key = ANY(sqlc.arg(keys)::text[]);

-- name: RefuseChildren :exec
-- Remembers the keys that no request has. Follows the lock that submissions of children share.
INSERT INTO child_refusal (child_key, reason)
SELECT k.child_key, sqlc.arg(reason)::text FROM unnest(sqlc.arg(keys)::text[]) AS k (child_key)
WHERE NOT EXISTS (SELECT FROM request r WHERE r.child_key = k.child_key AND r.child_key <> '')
ORDER BY k.child_key
ON CONFLICT (child_key) DO NOTHING;

-- name: LockChildren :exec
-- Waits for submissions of children that are under way and keeps others out.
SELECT pg_advisory_xact_lock(hashtext(current_schema() || '.child'));

-- name: ActiveAncestors :many
-- The ancestors of a request that hold a place of its own job type, the nearest first. There are at most ten.
WITH RECURSIVE up AS (
    SELECT c.parent_request_id AS id, 1 AS distance FROM request c WHERE c.id = sqlc.arg(id)
    UNION ALL
    SELECT p.parent_request_id, u.distance + 1 FROM up u JOIN request p ON p.id = u.id WHERE u.distance < 10
)
SELECT r.id FROM up u JOIN request r ON r.id = u.id
WHERE r.org_id = sqlc.arg(org_id) AND r.job_type = sqlc.arg(job_type) AND r.state IN ('READY', 'EXECUTING')
ORDER BY u.distance;
