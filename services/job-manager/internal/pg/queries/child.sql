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
