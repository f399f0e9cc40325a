-- name: OverdueHolds :many
SELECT attempt_uid FROM hold WHERE deadline < now() - sqlc.arg(slack_ms)::bigint * interval '1 millisecond' ORDER BY deadline LIMIT sqlc.arg(most);

-- name: KeepHolds :exec
UPDATE hold SET deadline = now() + sqlc.arg(wait_ms)::bigint * interval '1 millisecond' WHERE attempt_uid = ANY(sqlc.arg(uids)::uuid[]);

-- name: Holders :many
SELECT DISTINCT ant_id FROM hold WHERE attempt_uid = ANY(sqlc.arg(uids)::uuid[]);

-- name: CountMissed :many
-- those that were placed on the present session of their ant
SELECT h.ant_id, count(*)::int AS missed FROM hold h JOIN ant a ON a.id = h.ant_id
WHERE h.attempt_uid = ANY(sqlc.arg(uids)::uuid[]) AND h.created_at >= a.registered_at GROUP BY h.ant_id;

-- name: MarkWaiting :many
-- Like EndWaiting it returns a row when it changed something: what returns none is not prepared by the driver, but planned
-- at each call.
UPDATE slot_wait SET waiting = true WHERE NOT waiting RETURNING waiting;

-- name: EndWaiting :many
UPDATE slot_wait SET waiting = false WHERE waiting RETURNING waiting;

-- name: LockOverdue :many
-- who asks for one again meanwhile moves its deadline first, or makes it anew
SELECT attempt_uid FROM hold WHERE attempt_uid = ANY(sqlc.arg(uids)::uuid[]) AND deadline < now() ORDER BY attempt_uid FOR UPDATE;
