-- name: FindRuns :many
SELECT e.id, e.request_id, e.run FROM (SELECT unnest(@request_ids::uuid[]) AS request_id, unnest(@runs::int[]) AS run) u
JOIN execution e ON e.request_id = u.request_id AND e.run = u.run;

-- name: RunStates :many
SELECT e.request_id, e.run, e.version, e.state, e.error_code, e.error_message, e.started_at, e.ended_at, e.restart_at, e.restart_soft, e.resume_at
FROM (SELECT unnest(@request_ids::uuid[]) AS request_id, unnest(@runs::int[]) AS run) u
JOIN execution e ON e.request_id = u.request_id AND e.run = u.run;

-- name: GetExecution :one
-- The newest run when run is 0.
SELECT id, request_id, run, org_id, job_type, state, version, tasks_total, tasks_open, tasks_planned, error_code, error_message,
    created_at, started_at, ended_at
FROM execution WHERE request_id = @request_id AND org_id = @org_id AND (@run::int = 0 OR run = @run::int) ORDER BY run DESC LIMIT 1;

-- name: ListTasks :many
-- A range of indexes: the tasks of the plan, or the items of one. A task that has a live attempt is RUNNING once that
-- attempt is. Why a class is not placed holds for READY tasks, and for the items of a group that has such.
SELECT t.idx, t.name, t.method, coalesce(t.class_text, t.class) AS class,
    CASE WHEN a.state = 'RUNNING' THEN 'RUNNING' ELSE t.state END::text AS state,
    t.exit_code, t.failure_class, t.message, t.wait_gate, t.wait_reason, t.allow_failure, t.outputs, t.result, t.wake_at,
    t.started_at, t.ended_at, t.item, t.item_value, t.items, t.extra,
    coalesce(w.gate, '')::text AS class_gate, coalesce(w.reason, '')::text AS class_reason
FROM task t
LEFT JOIN attempt a ON a.execution_id = t.execution_id AND a.task_idx = t.idx AND a.state IN ('DISPATCHED', 'RUNNING')
LEFT JOIN class_wait w ON w.key = t.class AND (t.state = 'READY' OR t.state = 'WAITING' AND t.items IS NOT NULL)
WHERE t.execution_id = @execution_id AND t.idx > @after::int AND t.idx <= @last::int
    AND (cardinality(@states::text[]) = 0 OR CASE WHEN a.state = 'RUNNING' THEN 'RUNNING' ELSE t.state END = ANY(@states::text[]))
ORDER BY t.idx LIMIT @page_size::int;

-- name: FindGroup :one
-- A task of the plan by its name, with the counters of its items.
SELECT t.items FROM execution e JOIN task t ON t.execution_id = e.id
WHERE e.id = @execution_id AND t.name = @name AND t.idx < e.tasks_planned;

-- name: WaitingChildren :many
-- The open children of tasks, with the state of their newest run.
SELECT c.task_idx, c.kind, c.job_type, c.state, c.request_id, coalesce(r.state, '')::text AS run_state
FROM child c LEFT JOIN LATERAL (SELECT x.state FROM execution x WHERE x.request_id = c.request_id ORDER BY x.run DESC LIMIT 1) r ON true
WHERE c.execution_id = @execution_id AND c.task_idx = ANY(@idx::int[]) AND c.ended_at IS NULL AND c.state <> 'REFUSED'
ORDER BY c.task_idx, c.round;

-- name: AwaitedChildren :many
-- The same of the tasks that AWAIT_FORKED_JOB tasks name; task_idx is the one that awaits.
SELECT w.idx AS task_idx, c.kind, c.job_type, c.state, c.request_id, coalesce(r.state, '')::text AS run_state
FROM execution e JOIN task w ON w.execution_id = e.id
CROSS JOIN LATERAL json_array_elements_text(w.spec -> 'await_forked_tasks') AS n (name)
JOIN task f ON f.execution_id = e.id AND f.name = n.name AND f.idx < e.tasks_planned
JOIN child c ON c.execution_id = e.id AND c.task_idx = f.idx AND c.ended_at IS NULL AND c.state <> 'REFUSED'
LEFT JOIN LATERAL (SELECT x.state FROM execution x WHERE x.request_id = c.request_id ORDER BY x.run DESC LIMIT 1) r ON true
WHERE e.id = @execution_id AND w.idx = ANY(@idx::int[]) ORDER BY w.idx, f.idx, c.round;

-- name: ListAttempts :many
SELECT uid, task_idx, number, state, ant_id, exit_code, failure_class, message, dispatched_at, started_at, ended_at, log_bytes, usage, cache
FROM attempt WHERE execution_id = @execution_id AND task_idx = ANY(@idx::int[]) ORDER BY task_idx, number;

-- name: BlockedBy :many
-- The tasks that BLOCKED tasks wait for.
SELECT e.to_idx, t.name FROM edge e JOIN task t ON t.execution_id = e.execution_id AND t.idx = e.from_idx
WHERE e.execution_id = @execution_id AND e.to_idx = ANY(@idx::int[]) AND t.ended_at IS NULL ORDER BY e.to_idx, e.from_idx;

-- name: LiveAttempts :many
SELECT uid FROM attempt WHERE uid = ANY(@uids::uuid[]) AND state IN ('DISPATCHED', 'RUNNING');

-- name: LogPlaces :many
SELECT a.uid, a.state = 'RUNNING' AS live, a.ant_id, a.session, e.org_id, e.request_id, e.run, t.name
FROM attempt a JOIN execution e ON e.id = a.execution_id JOIN task t ON t.execution_id = a.execution_id AND t.idx = a.task_idx
WHERE a.uid = ANY(@uids::uuid[]);

-- name: FindTaskLog :one
-- The newest attempt when attempt is 0; a task without attempts has a NULL uid.
SELECT t.state AS task_state, a.uid, a.number, a.state, a.log_key, a.log_bytes, a.log_format, a.log_stored
FROM task t LEFT JOIN attempt a ON a.execution_id = t.execution_id AND a.task_idx = t.idx AND (@attempt::int = 0 OR a.number = @attempt::int)
WHERE t.execution_id = @execution_id AND t.name = @task ORDER BY a.number DESC NULLS LAST LIMIT 1;

-- name: ListLogs :many
-- The logs of a run after one of them, task by task; all tasks when none is named, all attempts when attempt is 0.
SELECT t.idx, t.name, t.state AS task_state, a.uid, a.number, a.state, a.log_key, a.log_bytes, a.log_format, a.log_stored
FROM attempt a JOIN task t ON t.execution_id = a.execution_id AND t.idx = a.task_idx
WHERE a.execution_id = @execution_id AND (a.task_idx, a.number) > (@after_idx::int, @after_number::int)
  AND (cardinality(@tasks::text[]) = 0 OR t.name = ANY(@tasks::text[])) AND (@attempt::int = 0 OR a.number = @attempt::int)
ORDER BY a.task_idx, a.number LIMIT @most;
