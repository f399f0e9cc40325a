-- name: RaiseEpoch :one
-- Waits for every leader's write that shares the row.
UPDATE leader SET epoch = greatest(epoch + 1, sqlc.arg(revision)::bigint), leader_id = sqlc.arg(leader_id) RETURNING epoch;

-- name: RecordEpoch :exec
-- In a statement of its own: the clock is read while the lock is held.
INSERT INTO epoch (epoch, leader_id, cluster_id, revision, began_at)
VALUES ($1, $2, sqlc.arg(cluster_id)::text::numeric, $3, clock_timestamp());

-- name: RecordFenced :exec
INSERT INTO fenced_write (epoch, leader_id, requests) VALUES ($1, $2, $3);
