-- +goose Up

-- Runs that are open, or whose outputs somebody may still ask for. New ones are kept by the trigger already: this locks
-- nothing that anybody waits for.
SET LOCAL statement_timeout = 0;
INSERT INTO output AS o (execution_id, name, value, bytes, task_idx, ended_at)
SELECT DISTINCT ON (t.execution_id, j.key) t.execution_id, j.key, j.value, octet_length(j.value), t.idx, t.ended_at
FROM execution e JOIN task t ON t.execution_id = e.id CROSS JOIN LATERAL json_each_text(t.outputs) j
WHERE (e.ended_at IS NULL OR e.ended_at > now() - interval '1 day'
        OR EXISTS (SELECT FROM child c WHERE c.request_id = e.request_id AND c.ended_at IS NULL))
    AND t.state = 'COMPLETED' AND t.outputs IS NOT NULL AND t.group_idx IS NULL AND j.value IS NOT NULL AND octet_length(j.key) <= 512
ORDER BY t.execution_id, j.key, t.ended_at DESC, t.idx DESC
ON CONFLICT (execution_id, name) DO UPDATE
SET value = excluded.value, bytes = excluded.bytes, task_idx = excluded.task_idx, ended_at = excluded.ended_at
WHERE (o.ended_at, o.task_idx) < (excluded.ended_at, excluded.task_idx);
