-- name: RequestsToLaunch :many
SELECT sqlc.embed(r), (SELECT c.count FROM error_rule_change c)::bigint AS rules FROM request r WHERE r.id = ANY(sqlc.arg(ids)::uuid[]);

-- name: RememberLaunches :exec
-- The rows are locked in the order of their ids, as everywhere. An empty audience is nobody, the beginning of
-- the epoch no deadline.
UPDATE request r SET total_deadline = w.deadline, audience = w.audience
FROM (SELECT q.id, nullif(n.deadline, 'epoch') AS deadline, nullif(n.audience, '')::json AS audience FROM request q
    JOIN (SELECT unnest(sqlc.arg(ids)::uuid[]) AS id, unnest(sqlc.arg(runs)::int[]) AS run, unnest(sqlc.arg(deadlines)::timestamptz[]) AS deadline,
        unnest(sqlc.arg(audiences)::text[]) AS audience) n
        ON n.id = q.id AND n.run = q.run
    WHERE q.total_deadline IS DISTINCT FROM nullif(n.deadline, 'epoch') OR coalesce(q.audience::text, '') <> n.audience
    ORDER BY q.id FOR UPDATE OF q) w
WHERE r.id = w.id;

-- name: CountRequests :one
-- Templates ask for it; what has ended is counted too, so it may read every request of the type.
SELECT count(*) FROM request
WHERE org_id = $1 AND job_type = $2 AND (sqlc.arg(any_state)::boolean OR state = ANY(sqlc.arg(states)::text[]));

-- name: RequestsInRange :many
SELECT * FROM request WHERE org_id = $1 AND id BETWEEN sqlc.arg(low)::uuid AND sqlc.arg(high)::uuid ORDER BY id LIMIT 2;

-- name: LatestRequest :many
SELECT * FROM request WHERE org_id = $1 ORDER BY id DESC LIMIT 1;

-- name: LatestFailed :many
SELECT * FROM request WHERE org_id = $1 AND state = 'FAILED' ORDER BY id DESC LIMIT 1;

-- name: RequestsByKey :many
SELECT * FROM request WHERE org_id = ANY(sqlc.arg(orgs)::text[]) AND idempotency_key = ANY(sqlc.arg(keys)::text[]) AND idempotency_key <> '';

-- name: TypeStandings :many
-- What stands around the pending requests of some job types. Active requests are counted up to a thousand, or to the limit.
SELECT t.org_id, t.job_type, t.disabled, t.max_concurrency,
    (SELECT count(*) FROM (SELECT FROM request r WHERE r.org_id = t.org_id AND r.job_type = t.job_type AND r.state IN ('READY', 'EXECUTING') LIMIT greatest(1000, t.max_concurrency)) c)::int AS active,
    ARRAY(SELECT r.id::text FROM request r WHERE r.org_id = t.org_id AND r.job_type = t.job_type AND r.state IN ('READY', 'EXECUTING') ORDER BY r.id LIMIT 5)::text[] AS holders
FROM job_type t
WHERE t.org_id = ANY(sqlc.arg(orgs)::text[]) AND t.job_type = ANY(sqlc.arg(types)::text[]);

-- name: Gates :many
SELECT org_id, job_type, placement_class, gate, reason, holders FROM gate
WHERE job_type = ANY(sqlc.arg(types)::text[]) OR placement_class = ANY(sqlc.arg(classes)::text[]);

-- name: Clock :one
SELECT clock_timestamp()::timestamptz;

-- name: Rank :one
-- How many queued requests of the job type stand before this one, counted up to ten thousand.
SELECT count(*) FROM (
    SELECT FROM request r
    WHERE r.org_id = $1 AND r.job_type = $2 AND r.state = 'PENDING' AND r.queued
      AND (r.priority > sqlc.arg(priority)::smallint
        OR r.priority = sqlc.arg(priority)::smallint AND (r.age_at, r.id) < (sqlc.arg(age_at)::timestamptz, sqlc.arg(id)::uuid))
    LIMIT 10000) before;

-- name: ClaimSilent :many
-- Requests that heard nothing for too long, each looked at by one replica. Those that run are asked about less often
-- the longer they do.
WITH due AS (
    SELECT r.id FROM request r WHERE r.state IN ('READY', 'EXECUTING') AND r.check_at <= now()
    UNION ALL
    SELECT r.id FROM request r WHERE r.cancel_requested_at IS NOT NULL AND r.state IN ('PENDING', 'PAUSED', 'MANUAL_APPROVAL_REQUIRED') AND r.check_at <= now()
    LIMIT sqlc.arg(page)::int
), mine AS (
    SELECT q.id FROM request q WHERE q.id IN (SELECT due.id FROM due) AND q.check_at <= now() FOR UPDATE SKIP LOCKED
)
UPDATE request u
SET check_at = now() + CASE WHEN u.state = 'EXECUTING' AND u.cancel_requested_at IS NULL
    THEN least(greatest(sqlc.arg(silent_after)::interval, (now() - u.updated_at) / 4), interval '5 minutes')
    ELSE sqlc.arg(silent_after)::interval END
FROM mine WHERE u.id = mine.id
RETURNING sqlc.embed(u);

-- name: DueToResume :many
SELECT id FROM request
WHERE state = 'PAUSED' AND resume_at <= clock_timestamp() AND cancel_requested_at IS NULL
ORDER BY resume_at LIMIT sqlc.arg(page)::int;

-- name: NextResume :many
SELECT resume_at FROM request WHERE state = 'PAUSED' AND resume_at IS NOT NULL AND cancel_requested_at IS NULL
ORDER BY resume_at LIMIT 1;

-- name: InsertPoison :exec
INSERT INTO poison (id, subject, payload, delivered, reason) VALUES ($1, $2, $3, $4, $5);

-- name: Depth :one
SELECT count(*) AS depth, coalesce(extract(epoch FROM now() - min(age_at)), 0)::float8 AS oldest_seconds
FROM request WHERE state = 'PENDING' AND queued;
