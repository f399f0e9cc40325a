-- +goose NO TRANSACTION
-- +goose Up

-- Reading the whole history takes longer than a statement may otherwise; nobody waits for it.
SET statement_timeout = 0;

-- One statement sees one state of the database: what is counted since the triggers exist stands in both tables that it
-- reads and cancels itself out.
INSERT INTO request_count AS c (org_id, job_type, state, n)
SELECT org_id, job_type, state, sum(n) FROM (
    SELECT org_id, job_type, state, count(*) AS n FROM request GROUP BY org_id, job_type, state
    UNION ALL
    SELECT org_id, job_type, state, -n FROM request_count_delta) x
GROUP BY org_id, job_type, state
ON CONFLICT (org_id, job_type, state) DO UPDATE SET n = excluded.n;

RESET statement_timeout;
