SET LOCAL statement_timeout = 0;

SET LOCAL session_replication_role = replica;

-- what i-th request has for an id: in the order of i, like the ids of production
CREATE OR REPLACE FUNCTION pg_temp.key(i bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex(1577836800000 + i * 1000), 12, '0') || '70008000' || lpad(to_hex(i), 12, '0'))::uuid $$;

CREATE OR REPLACE FUNCTION pg_temp.at(i bigint, seconds bigint) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$
    SELECT '2020-01-01 00:00:00+00'::timestamptz + (i + seconds) * interval '1 second' $$;

-- every twentieth family belongs to one of fifty small organisations
CREATE OR REPLACE FUNCTION pg_temp.org(i bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT CASE WHEN i / 3 % 20 = 19 THEN 'small-' || i / 60 % 50 ELSE 'default' END $$;

-- a hundred types that fork and one that is forked in each organisation
INSERT INTO job_type (org_id, job_type, last_version, newest_id)
SELECT org, job, CASE WHEN org = 'default' AND job <> 'bench-noop' THEN 50 ELSE 1 END, md5(org || job || 1)::uuid
FROM (SELECT 'default' AS org UNION ALL SELECT 'small-' || i FROM generate_series(0, 49) i) o, (SELECT 'bench-noop' AS job UNION ALL SELECT 'history-' || i FROM generate_series(0, 99) i) j
ON CONFLICT DO NOTHING;

INSERT INTO definition (id, org_id, job_type, version, generation, sem_version, description, disabled, sha256, yaml, max_concurrency, priority, required_params,
    created_at, created_by)
SELECT md5(org_id || job_type || v)::uuid, org_id, job_type, v, 0, '', '', false, sha256(v::text::bytea), 'job_type: ' || job_type || ' # ' || v, 0, 50, '{}', pg_temp.at(v, 0), 'sam'
FROM job_type, generate_series(1, last_version) v WHERE newest_id = md5(org_id || job_type || 1)::uuid ON CONFLICT DO NOTHING;

UPDATE job_type SET newest_id = md5(org_id || job_type || last_version)::uuid WHERE newest_id = md5(org_id || job_type || 1)::uuid;

INSERT INTO request (id, org_id, job_type, definition_id, definition_version, state, version, execution_version, priority, age_at, queued, placement_class, params,
    description, idempotency_key, request_hash, created_by, created_at, updated_at, started_at, ended_at, error_code, error_message, admitted_epoch, admitted_at,
    check_at, parent_request_id, parent_task, child_key, depth, audience)
SELECT pg_temp.key(i), t.org_id, t.job_type, t.newest_id, t.last_version,
    CASE WHEN i % 3 > 0 AND i % 20 = 7 THEN 'FAILED' WHEN i % 3 > 0 AND i % 20 = 13 THEN 'CANCELLED' ELSE 'COMPLETED' END,
    5, 4, 50, pg_temp.at(i, 0), false, 'default|SHELL||1', '{"branch": "main"}', '', CASE WHEN i % 6 = 0 THEN 'key-' || i ELSE '' END, sha256(i::text::bytea), 'sam',
    pg_temp.at(i, 0), pg_temp.at(i, 20), pg_temp.at(i, 1), pg_temp.at(i, 20), CASE WHEN i % 3 > 0 AND i % 20 = 7 THEN 'ERR_EXIT_1' ELSE '' END, '', -1, pg_temp.at(i, 0),
    pg_temp.at(i, 20), CASE WHEN i % 3 > 0 THEN pg_temp.key(i - i % 3) END, CASE WHEN i % 3 > 0 THEN 'later' || 2 + i % 3 ELSE '' END,
    CASE WHEN i % 3 > 0 THEN pg_temp.key(i - i % 3) || '/' || 2 + i % 3 || '/1' ELSE '' END, least(i % 3, 1), '{}'
FROM generate_series(0, :count - 1) i JOIN job_type t ON t.org_id = pg_temp.org(i) AND t.job_type = CASE WHEN i % 3 = 0 THEN 'history-' || i / 3 % 100 ELSE 'bench-noop' END;

INSERT INTO request_count AS c (org_id, job_type, state, n) SELECT org_id, job_type, state, count(*) FROM request WHERE id < pg_temp.key(:count) GROUP BY 1, 2, 3
ON CONFLICT (org_id, job_type, state) DO UPDATE SET n = c.n + excluded.n;

INSERT INTO delivery (id, org_id, request_id, run, task, channel, recipient, host, subject, message, state, attempts, created_at, next_at, settled_at)
SELECT md5('delivery' || i)::uuid, pg_temp.org(i), pg_temp.key(i), 1, '', 'email', 'sam@example.com', 'mail', 'a job ended', '{}', 'SENT', 1, pg_temp.at(i, 20), pg_temp.at(i, 20), now() - random() * interval '7 days'
FROM generate_series(0, :count - 1, 5) i;

-- below those of real leaders
INSERT INTO epoch (epoch, leader_id, cluster_id, revision, began_at)
SELECT -e, 'scheduler', 1, 0, '2019-12-01 00:00:00+00'::timestamptz - e * interval '1 second' FROM generate_series(1, least(:count, 10000)) e
ON CONFLICT DO NOTHING;

INSERT INTO child_refusal (child_key, reason) SELECT 'refused/' || i || '/1', 'the fork was cancelled' FROM generate_series(1, least(:count, 10000)) i ON CONFLICT DO NOTHING
