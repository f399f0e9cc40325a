-- name: OverdueHolds :many
SELECT attempt_uid FROM hold WHERE deadline < now() - sqlc.arg(slack_ms)::bigint * interval '1 millisecond' ORDER BY deadline LIMIT sqlc.arg(most);

-- name: KeepHolds :exec
UPDATE hold SET deadline = now() + sqlc.arg(wait_ms)::bigint * interval '1 millisecond' WHERE attempt_uid = ANY(sqlc.arg(uids)::uuid[]);
