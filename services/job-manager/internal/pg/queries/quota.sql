-- name: QuotasOf :many
SELECT * FROM quota WHERE org_id = $1 ORDER BY name;

-- name: QuotasNamed :many
SELECT * FROM quota WHERE name = $1 AND org_id > sqlc.arg(after)::text ORDER BY org_id LIMIT sqlc.arg(most_rows)::int;

-- name: QueuedQuotas :many
SELECT org_id, most FROM quota WHERE name = 'queued' AND org_id = ANY(sqlc.arg(orgs)::text[]);

-- name: SetQuota :exec
INSERT INTO quota (org_id, name, most, set_at, set_by) VALUES ($1, $2, $3, now(), $4)
ON CONFLICT (org_id, name) DO UPDATE SET most = excluded.most, set_at = excluded.set_at, set_by = excluded.set_by;

-- name: DeleteQuota :exec
DELETE FROM quota WHERE org_id = $1 AND name = $2;

-- name: CountsOf :one
-- What an organisation has waiting and running, by what was counted and what is not added to it yet.
SELECT coalesce(sum(x.n) FILTER (WHERE x.state = 'PENDING'), 0)::bigint AS queued,
    coalesce(sum(x.n) FILTER (WHERE x.state IN ('READY', 'EXECUTING')), 0)::bigint AS running
FROM (SELECT c.state, c.n FROM request_count c WHERE c.org_id = $1
    UNION ALL SELECT d.state, d.n FROM request_count_delta d WHERE d.org_id = $1) x;
