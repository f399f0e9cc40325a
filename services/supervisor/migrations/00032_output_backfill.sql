-- +goose NO TRANSACTION
-- +goose Up

-- Runs that are open, or whose outputs somebody may still ask for. New ones are kept by the trigger already. Each run is
-- done by itself and under its lock, like every step: nobody waits for more than one of them, and what was done before a
-- failure stays done.
SET lock_timeout = 0;
SET statement_timeout = 0;
-- +goose StatementBegin
DO $$
DECLARE
    one uuid;
BEGIN
    FOR one IN SELECT e.id FROM execution e
        WHERE (e.ended_at IS NULL OR e.ended_at > now() - interval '1 day'
                OR EXISTS (SELECT FROM child c WHERE c.request_id = e.request_id AND c.ended_at IS NULL))
            AND EXISTS (SELECT FROM task t WHERE t.execution_id = e.id AND t.outputs IS NOT NULL AND t.group_idx IS NULL)
        ORDER BY e.id
    LOOP
        SET LOCAL synchronous_commit = off;
        PERFORM FROM execution e WHERE e.id = one FOR NO KEY UPDATE;
        INSERT INTO output AS o (execution_id, name, value, bytes, task_idx, ended_at)
        SELECT DISTINCT ON (j.key) one, j.key, j.value, octet_length(j.value), t.idx, t.ended_at
        FROM task t CROSS JOIN LATERAL json_each_text(t.outputs) j
        WHERE t.execution_id = one AND t.state = 'COMPLETED' AND t.outputs IS NOT NULL AND t.group_idx IS NULL
            AND j.value IS NOT NULL AND octet_length(j.key) <= 512
        ORDER BY j.key, t.ended_at DESC, t.idx DESC
        ON CONFLICT (execution_id, name) DO UPDATE
        SET value = excluded.value, bytes = excluded.bytes, task_idx = excluded.task_idx, ended_at = excluded.ended_at
        WHERE (o.ended_at, o.task_idx) < (excluded.ended_at, excluded.task_idx);
        COMMIT;
    END LOOP;
END $$;
-- +goose StatementEnd
RESET lock_timeout;
RESET statement_timeout;
