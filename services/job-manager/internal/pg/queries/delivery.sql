-- name: DueDeliveries :many
-- Takes what is due, the oldest first, a few for each host and none for those that are busy. Whoever takes one has it
-- until its lease ends.
WITH due AS (
    SELECT d.id, d.host, d.next_at FROM delivery d
    WHERE d.state = 'PENDING' AND d.next_at <= now() AND (d.leased_until IS NULL OR d.leased_until <= now())
      AND d.host <> ALL(sqlc.arg(busy)::text[])
    ORDER BY d.next_at LIMIT 500
), fair AS (
    SELECT r.id FROM (SELECT due.id, due.next_at, row_number() OVER (PARTITION BY due.host ORDER BY due.next_at) AS place FROM due) r
    WHERE r.place <= sqlc.arg(per_host)::int
    ORDER BY r.next_at LIMIT sqlc.arg(page)::int
), mine AS (
    SELECT q.id FROM delivery q
    WHERE q.id IN (SELECT fair.id FROM fair) AND q.state = 'PENDING' AND q.next_at <= now() AND (q.leased_until IS NULL OR q.leased_until <= now())
    FOR UPDATE SKIP LOCKED
)
UPDATE delivery u SET attempts = u.attempts + 1, leased_until = now() + sqlc.arg(lease)::interval
FROM mine WHERE u.id = mine.id
RETURNING sqlc.embed(u);

-- name: NextDelivery :one
-- How long until the next one is due that nobody has taken; a large number when there is none.
SELECT coalesce(extract(epoch FROM min(greatest(next_at, leased_until)) - now()), 86400)::float8 AS seconds FROM delivery
WHERE state = 'PENDING' AND host <> ALL(sqlc.arg(busy)::text[]);

-- name: SaveOutcomes :exec
-- Writes how attempts ended, unless a later one has begun. What is settled keeps nothing that may be secret.
UPDATE delivery u SET state = n.state, error = n.error, next_at = now() + n.pause * interval '1 millisecond', leased_until = NULL,
    settled_at = CASE WHEN n.state <> 'PENDING' THEN now() END, target = CASE WHEN n.state = 'PENDING' THEN u.target END
FROM (SELECT q.id, w.state, w.error, w.pause FROM delivery q
    JOIN (SELECT unnest(sqlc.arg(ids)::uuid[]) AS id, unnest(sqlc.arg(attempts)::int[]) AS attempts, unnest(sqlc.arg(states)::text[]) AS state,
        unnest(sqlc.arg(errors)::text[]) AS error, unnest(sqlc.arg(pauses)::bigint[]) AS pause) w
        ON w.id = q.id AND w.attempts = q.attempts
    WHERE q.state = 'PENDING'
    ORDER BY q.id FOR UPDATE OF q) n
WHERE u.id = n.id;

-- name: DeliveriesOf :many
SELECT d.id, d.request_id, d.run, d.task, d.channel, d.recipient, d.subject, d.state, d.attempts, d.error, d.created_at, d.next_at, d.settled_at
FROM delivery d
WHERE d.request_id = $1 AND d.org_id = $2
  AND (d.created_at, d.id) < (sqlc.arg(before)::timestamptz, sqlc.arg(before_id)::uuid)
ORDER BY d.created_at DESC, d.id DESC
LIMIT sqlc.arg(page)::int;

-- name: ForgetDeliveries :execrows
-- Deletes a few of those that were settled long ago.
DELETE FROM delivery d WHERE d.id IN (
    SELECT o.id FROM delivery o WHERE o.state <> 'PENDING' AND o.settled_at < now() - sqlc.arg(kept)::interval
    ORDER BY o.settled_at LIMIT sqlc.arg(page)::int FOR UPDATE SKIP LOCKED);
