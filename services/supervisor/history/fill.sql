SET LOCAL statement_timeout = 0;

SET LOCAL session_replication_role = replica;

-- what i-th request, execution or attempt has for an id: in the order of i, like the ids of production
CREATE OR REPLACE FUNCTION pg_temp.key(kind text, i bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex(1577836800000 + i * 1000), 12, '0') || '7' || kind || '8000' || lpad(to_hex(i), 12, '0'))::uuid $$;

-- how the i-th run ended: every third forks two others and completes
CREATE OR REPLACE FUNCTION pg_temp.ended(i bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN i % 3 > 0 AND i % 20 = 7 THEN 'FAILED' WHEN i % 3 > 0 AND i % 20 = 13 THEN 'CANCELLED' ELSE 'COMPLETED' END $$;

CREATE OR REPLACE FUNCTION pg_temp.at(i bigint, seconds bigint) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$
    SELECT '2020-01-01 00:00:00+00'::timestamptz + (i + seconds) * interval '1 second' $$;

-- every twentieth family belongs to one of fifty small organisations
CREATE OR REPLACE FUNCTION pg_temp.org(i bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT CASE WHEN i / 3 % 20 = 19 THEN 'small-' || i / 60 % 50 ELSE 'default' END $$;

CREATE TEMP TABLE past ON COMMIT DROP AS
SELECT i, pg_temp.key('001', i) AS id, 3 + CASE WHEN i % 3 = 0 THEN 2 ELSE 0 END + CASE WHEN i % 10 = 9 THEN 1 ELSE 0 END AS tasks,
    pg_temp.ended(i) AS state
FROM generate_series(0, :count - 1) i;

INSERT INTO execution (id, org_id, request_id, run, job_type, definition_id, state, version, age_at, policy, tasks_total, tasks_planned,
    error_code, error_message, created_at, started_at, ended_at, submitted_by)
SELECT id, pg_temp.org(i), pg_temp.key('000', i), 1, CASE WHEN i % 3 = 0 THEN 'history-' || i / 3 % 100 ELSE 'bench-noop' END, pg_temp.key('002', 0)::text, state, 4, pg_temp.at(i, 0),
    '{"cleanup": 300000000000}', tasks, tasks, CASE WHEN state = 'FAILED' THEN 'ERR_EXIT_1' ELSE '' END, CASE WHEN state = 'FAILED' THEN 'task ship exited with 1' ELSE '' END,
    pg_temp.at(i, 0), pg_temp.at(i, 1), pg_temp.at(i, 20), 'sam'
FROM past;

-- 0 build, 1 test, 2 ship; then what forks, then who signs
INSERT INTO task (execution_id, org_id, idx, name, method, class, state, control, taken, spec, timeout_ms, attempts, user_tries, exit_code, failure_class, message,
    outputs, result, ready_at, started_at, ended_at)
SELECT id, pg_temp.org(i), k, CASE k WHEN 0 THEN 'build' WHEN 1 THEN 'test' WHEN 2 THEN 'ship' ELSE 'later' || k END,
    CASE WHEN k < 3 THEN 'SHELL' WHEN k = tasks - 1 AND i % 10 = 9 THEN 'MANUAL' ELSE 'FORK_JOB' END, pg_temp.org(i) || '|SHELL||1',
    CASE WHEN k = 2 THEN past.state ELSE 'COMPLETED' END, least(k, 1), least(k, 1),
    '{"name": "build", "method": "SHELL", "script": ["make all"], "retry": 2, "environment": {"BRANCH": "main"}}', 600000,
    CASE WHEN k > 2 THEN 0 WHEN k = 0 AND i % 3 = 1 THEN 2 ELSE 1 END, CASE WHEN k = 0 AND i % 3 = 1 THEN 1 ELSE 0 END,
    CASE WHEN k = 2 AND past.state = 'FAILED' THEN 1 ELSE 0 END, CASE WHEN k = 2 AND past.state = 'FAILED' THEN 'user' ELSE '' END, '',
    CASE WHEN k = 0 THEN '{"digest": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}'::json END, CASE WHEN k = 1 THEN '212 passed' ELSE '' END,
    pg_temp.at(i, 3 * k + 1), pg_temp.at(i, 3 * k + 2), pg_temp.at(i, 3 * k + 3)
FROM past, generate_series(0, tasks - 1) k;

INSERT INTO output (execution_id, org_id, name, value, bytes, task_idx, ended_at)
SELECT id, pg_temp.org(i), 'digest', 'sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08', 71, 0, pg_temp.at(i, 3) FROM past;

INSERT INTO edge (execution_id, org_id, from_idx, to_idx, kind)
SELECT id, pg_temp.org(i), k, k + 1, 'c' FROM past, generate_series(0, tasks - 2) k
UNION ALL SELECT id, pg_temp.org(i), 0, 2, 'd' FROM past;

INSERT INTO attempt (uid, execution_id, task_idx, number, state, ant_id, session, claim_session, lease_until, exit_code, failure_class,
    log_key, log_bytes, log_sha256, org_id, dispatched_at, started_at, ended_at)
SELECT md5(id::text || k || n)::uuid, id, k, n,
    CASE WHEN n < last THEN 'FAILED' WHEN k = 2 AND past.state <> 'COMPLETED' THEN past.state ELSE 'SUCCEEDED' END,
    'ant-' || i % 50, md5('session' || i % 50)::uuid, md5('session' || i % 50)::uuid, pg_temp.at(i, 3 * k + 30),
    CASE WHEN n < last THEN 1 ELSE 0 END, CASE WHEN n < last THEN 'user' ELSE '' END,
    'logs/' || pg_temp.org(i) || '/' || id || '/1/build/' || n || '.log', 4096, md5(i::text) || md5(k::text), pg_temp.org(i), pg_temp.at(i, 3 * k + 1), pg_temp.at(i, 3 * k + 2), pg_temp.at(i, 3 * k + 3)
FROM past, generate_series(0, 2) k, LATERAL (SELECT CASE WHEN k = 0 AND i % 3 = 1 THEN 2 ELSE 1 END AS last) l, generate_series(1, last) n;

-- every build keeps one artifact for ever, and every hundredth user sends one
INSERT INTO artifact (id, org_id, kind, request_id, run, job_type, task, attempt_uid, attempt, number, name, key, bytes, files, sha256, created_at, expires_at)
SELECT pg_temp.key('003', i), e.org_id, 'TASK', e.request_id, 1, e.job_type, 'build', md5(e.id::text || '01')::uuid, 1, 1, 'files',
    'artifacts/' || e.org_id || '/' || e.request_id || '/1/build/' || i, 1048576, 12, md5(i::text) || md5(i::text), pg_temp.at(i, 3), now() + (i + 1) * interval '1 minute'
FROM past JOIN execution e USING (id)
UNION ALL SELECT pg_temp.key('004', i), pg_temp.org(i), 'USER', NULL, 0, '', '', NULL, 0, 0, 'fixtures-' || i, 'artifacts/' || pg_temp.org(i) || '/user/' || i,
    1048576, 12, md5(i::text) || md5(i::text), pg_temp.at(i, 3), now() + (i + 1) * interval '1 minute'
FROM past WHERE i % 100 = 0;

INSERT INTO child (execution_id, org_id, task_idx, round, kind, state, job_type, params, wait, cascade, request_id, outcome, due_at, heard_at, created_at, ended_at)
SELECT id, pg_temp.org(i), k, 1, 'job', 'ENDED', 'bench-noop', '{}', true, true, pg_temp.key('000', i + k - 2), pg_temp.ended(i + k - 2), pg_temp.at(i, 1), pg_temp.at(i, 15), pg_temp.at(i, 1), pg_temp.at(i, 15)
FROM past, generate_series(3, 4) k WHERE i % 3 = 0 AND i + k - 2 < :count;

INSERT INTO approval (execution_id, task_idx, round, org_id, state, policy, requested_at, decided_at)
SELECT id, tasks - 1, 1, pg_temp.org(i), 'APPROVED', '{"approvers": ["sam"]}', pg_temp.at(i, 10), pg_temp.at(i, 14) FROM past WHERE i % 10 = 9;

INSERT INTO vote (execution_id, org_id, task_idx, round, voter, approve, comment, created_at)
SELECT id, pg_temp.org(i), tasks - 1, 1, 'sam', true, 'looks good', pg_temp.at(i, 14) FROM past WHERE i % 10 = 9
