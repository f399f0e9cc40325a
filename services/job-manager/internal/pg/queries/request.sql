-- name: RequestsToLaunch :many
SELECT sqlc.embed(r), (SELECT c.count FROM error_rule_change c)::bigint AS rules, (SELECT c.count FROM config_change c)::bigint AS configs FROM request r WHERE r.id = ANY(sqlc.arg(ids)::uuid[]);

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
-- Templates ask for it. The sum of what was counted and of what is not added to it yet is what count(*) would say.
SELECT coalesce(sum(x.n), 0)::bigint FROM (
    SELECT c.n FROM request_count c
    WHERE c.org_id = $1 AND c.job_type = $2 AND (sqlc.arg(any_state)::boolean OR c.state = ANY(sqlc.arg(states)::text[]))
    UNION ALL
    SELECT d.n FROM request_count_delta d
    WHERE d.org_id = $1 AND d.job_type = $2 AND (sqlc.arg(any_state)::boolean OR d.state = ANY(sqlc.arg(states)::text[]))) x;

-- name: AddUpCounts :one
-- Moves the oldest changes of counts into the counts, and says how many. What it leaves is for the next call; replicas
-- take different ones, and lock the counts in their order.
WITH taken AS (
    DELETE FROM request_count_delta WHERE id IN (
        SELECT d.id FROM request_count_delta d ORDER BY d.id LIMIT sqlc.arg(page)::int FOR UPDATE SKIP LOCKED)
    RETURNING org_id, job_type, state, n
), added AS (
    INSERT INTO request_count AS c (org_id, job_type, state, n)
    SELECT t.org_id, t.job_type, t.state, sum(t.n) FROM taken t GROUP BY t.org_id, t.job_type, t.state ORDER BY t.org_id, t.job_type, t.state
    ON CONFLICT (org_id, job_type, state) DO UPDATE SET n = c.n + excluded.n
)
SELECT count(*) FROM taken;

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
-- Those of the job types, and of the placement classes, each reached by its key.
SELECT g.org_id, g.job_type, g.placement_class, g.gate, g.reason, g.holders
FROM (SELECT DISTINCT unnest(sqlc.arg(orgs)::text[]) AS org_id, unnest(sqlc.arg(types)::text[]) AS job_type) n
JOIN gate g ON g.org_id = n.org_id AND g.job_type = n.job_type AND g.key = ''
UNION ALL
SELECT g.org_id, g.job_type, g.placement_class, g.gate, g.reason, g.holders
FROM (SELECT DISTINCT o.org_id, class_key(c.placement_class) AS key FROM (SELECT unnest(sqlc.arg(orgs)::text[]) AS org_id, unnest(sqlc.arg(classes)::text[]) AS placement_class) c
    CROSS JOIN LATERAL (VALUES (c.org_id), ('')) AS o (org_id)) n
JOIN gate g ON g.org_id = n.org_id AND g.job_type = '' AND g.key = n.key;

-- name: Clock :one
SELECT clock_timestamp()::timestamptz;

-- name: Rank :one
-- How many queued requests of the job type stand before this one, counted up to ten thousand.
-- Two ranges of request_queue: one condition with OR would step over everything that stands behind.
SELECT count(*) FROM (
    (SELECT FROM request r
    WHERE r.org_id = $1 AND r.job_type = $2 AND r.state = 'PENDING' AND r.queued AND r.priority > sqlc.arg(priority)::smallint
    LIMIT 10000)
    UNION ALL
    (SELECT FROM request r
    WHERE r.org_id = $1 AND r.job_type = $2 AND r.state = 'PENDING' AND r.queued
      AND r.priority = sqlc.arg(priority)::smallint AND (r.age_at, r.id) < (sqlc.arg(age_at)::timestamptz, sqlc.arg(id)::uuid)
    LIMIT 10000)
    LIMIT 10000) before;

-- name: ClaimSilent :many
-- Requests of which supervisor may know more than this service, the ones that are due longest first, each looked at by
-- one replica. The condition is that of request_silent. What changes rarely is asked about less often, but each minute.
WITH mine AS (
    SELECT q.id FROM request q
    WHERE (q.state IN ('READY', 'EXECUTING')
        OR q.state IN ('PENDING', 'PAUSED', 'MANUAL_APPROVAL_REQUIRED') AND (q.execution_version > 0 OR q.cancel_requested_at IS NOT NULL))
      AND q.check_at <= now()
    ORDER BY q.check_at LIMIT sqlc.arg(page)::int FOR UPDATE SKIP LOCKED
)
UPDATE request u
SET check_at = now() + CASE WHEN u.state = 'READY' OR u.cancel_requested_at IS NOT NULL THEN sqlc.arg(silent_after)::interval
    ELSE greatest(sqlc.arg(silent_after)::interval, least((now() - u.updated_at) / 4, interval '1 minute')) END
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
-- Up to a hundred thousand, and the oldest of those: a scrape must not cost what the backlog has grown to.
SELECT count(*) AS depth, coalesce(extract(epoch FROM now() - min(q.age_at)), 0)::float8 AS oldest_seconds
FROM (SELECT r.age_at FROM request r WHERE r.state = 'PENDING' AND r.queued LIMIT 100000) q;

-- name: RecordFailure :one
-- Counts a failure and returns how often it happened. What is a day old is forgotten: it was handled since, or is gone.
WITH old AS (
    DELETE FROM failure o WHERE o.at < now() - interval '1 day' AND (o.kind, o.key) <> ($1, $2)
)
INSERT INTO failure AS f (kind, key, count, reason, at) VALUES ($1, $2, 1, $3, now())
ON CONFLICT (kind, key) DO UPDATE SET count = f.count + 1, reason = excluded.reason, at = excluded.at
RETURNING count;

-- name: OverdueRequests :many
SELECT * FROM request
WHERE state = 'PENDING' AND pending_until <= clock_timestamp() AND cancel_requested_at IS NULL
ORDER BY pending_until LIMIT sqlc.arg(page)::int;

-- name: NextOverdue :many
SELECT pending_until FROM request WHERE state = 'PENDING' AND pending_until IS NOT NULL AND cancel_requested_at IS NULL
ORDER BY pending_until LIMIT 1;
