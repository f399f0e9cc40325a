package pg

import (
	"strconv"
	"strings"

	"github.com/formicary/formicary/libs/audit"
	"github.com/formicary/formicary/libs/jobspec/plan"
)

// lately puts the oldest that are open and the last that ended in the place of the whole tables: a sample whose size
// depends neither on the history nor on the load, nor on the size of the runs. The rows of each run are fetched by their
// key: joined as sets, they tempted the planner to read whole tables for each of the checks.
const lately = `WITH found AS ((SELECT *, created_at - now() AS place FROM execution WHERE ended_at IS NULL ORDER BY created_at LIMIT 200)
		UNION ALL (SELECT *, now() - ended_at FROM execution WHERE ended_at IS NOT NULL ORDER BY ended_at DESC LIMIT 200)),
	execution AS MATERIALIZED (SELECT * FROM (SELECT *, sum(tasks_total) OVER (PARTITION BY ended_at IS NULL ORDER BY place, id) AS tasks_so_far FROM found) f
		WHERE tasks_so_far - tasks_total < 10000),
	task AS (SELECT t.* FROM execution e CROSS JOIN LATERAL (SELECT * FROM task WHERE execution_id = e.id OFFSET 0) t),
	edge AS (SELECT d.* FROM execution e CROSS JOIN LATERAL (SELECT * FROM edge WHERE execution_id = e.id OFFSET 0) d),
	attempt AS (SELECT a.* FROM execution e CROSS JOIN LATERAL (SELECT * FROM attempt WHERE execution_id = e.id OFFSET 0) a),
	child AS (SELECT c.* FROM execution e CROSS JOIN LATERAL (SELECT * FROM child WHERE execution_id = e.id OFFSET 0) c),
	approval AS (SELECT a.* FROM execution e CROSS JOIN LATERAL (SELECT * FROM approval WHERE execution_id = e.id OFFSET 0) a) `

// RecentInvariants are Invariants of a sample of what is open or ended lately.
func RecentInvariants() []audit.Check {
	var recent []audit.Check
	for _, c := range Invariants() {
		if !strings.HasPrefix(c.Name, "orphan_") { // nothing is lost there that is found by its execution
			recent = append(recent, audit.Check{Name: c.Name, SQL: lately + c.SQL})
		}
	}
	return recent
}

// Invariants are what must hold in every snapshot of the schema.
func Invariants() []audit.Check {
	return []audit.Check{
		{Name: "attempt_one_live", SQL: `SELECT 'task ' || execution_id || ' ' || task_idx || ' has ' || count(*) || ' live attempts' FROM attempt
			WHERE state IN ('DISPATCHED', 'RUNNING') GROUP BY execution_id, task_idx HAVING count(*) > 1 LIMIT 20`},
		{Name: "attempt_numbers", SQL: `SELECT 'task ' || execution_id || ' ' || task_idx || ' has ' || count(*) || ' attempts up to number ' || max(number)
			FROM attempt GROUP BY execution_id, task_idx HAVING min(number) <> 1 OR max(number) <> count(*) LIMIT 20`},
		{Name: "attempt_count", SQL: `SELECT 'task ' || t.execution_id || ' ' || t.idx || ' counts ' || t.attempts || ' attempts and has ' || count(a.uid)
			FROM task t LEFT JOIN attempt a ON a.execution_id = t.execution_id AND a.task_idx = t.idx
			GROUP BY t.execution_id, t.idx, t.attempts HAVING count(a.uid) <> t.attempts LIMIT 20`},
		{Name: "attempt_live_task", SQL: `SELECT 'attempt ' || a.uid || ' is ' || a.state || ' while its task is ' || coalesce(t.state, 'missing')
			FROM attempt a LEFT JOIN task t ON t.execution_id = a.execution_id AND t.idx = a.task_idx
			WHERE a.state IN ('DISPATCHED', 'RUNNING') AND t.state IS DISTINCT FROM 'DISPATCHED' LIMIT 20`},
		{Name: "task_live_attempt", SQL: `SELECT 'task ' || t.execution_id || ' ' || t.idx || ' is ' || t.state || ' without a live attempt' FROM task t
			WHERE t.state IN ('DISPATCHED', 'RUNNING') AND NOT EXISTS (SELECT FROM attempt a WHERE a.execution_id = t.execution_id
				AND a.task_idx = t.idx AND a.state IN ('DISPATCHED', 'RUNNING')) LIMIT 20`},
		{Name: "attempt_running", SQL: `SELECT 'attempt ' || uid || ' is RUNNING without ant, session or start' FROM attempt
			WHERE state = 'RUNNING' AND (ant_id = '' OR started_at IS NULL) LIMIT 20`},
		{Name: "attempt_dispatched_age", SQL: `SELECT 'attempt ' || uid || ' is DISPATCHED since ' || dispatched_at FROM attempt
			WHERE state = 'DISPATCHED' AND dispatched_at < now() - interval '5 minutes' LIMIT 20`},
		{Name: "attempt_ended", SQL: `SELECT 'attempt ' || uid || ' is ' || state || CASE WHEN ended_at IS NULL THEN ' without an end' ELSE ' with an end' END FROM attempt
			WHERE (ended_at IS NULL) <> (state IN ('DISPATCHED', 'RUNNING')) LIMIT 20`},
		{Name: "execution_counters", SQL: `SELECT 'execution ' || id || ' counts ' || counted || ' and has ' || found FROM (
			SELECT e.id, concat_ws('/', e.tasks_total, e.tasks_open, e.normal_open, e.running, e.active, e.approvals) AS counted,
				concat_ws('/', count(t.idx), count(t.idx) FILTER (WHERE t.ended_at IS NULL), count(t.idx) FILTER (WHERE t.ended_at IS NULL AND NOT t.always_run),
					count(t.idx) FILTER (WHERE t.state IN ('DISPATCHED', 'RUNNING')),
					count(t.idx) FILTER (WHERE t.state IN ('READY', 'DISPATCHED', 'RUNNING') OR t.state = 'WAITING' AND t.wait_gate IN ('schedule', 'child')),
					count(t.idx) FILTER (WHERE t.state = 'WAITING' AND t.wait_gate = 'approval')) AS found
			FROM execution e LEFT JOIN task t ON t.execution_id = e.id
			GROUP BY e.id, e.tasks_total, e.tasks_open, e.normal_open, e.running, e.active, e.approvals) c WHERE counted <> found LIMIT 20`},
		{Name: "group_counters", SQL: `SELECT 'group ' || execution_id || ' ' || idx || ' counts ' || counted || ' and has ' || found FROM (
			SELECT g.execution_id, g.idx, concat_ws('/', g.items ->> 'total', g.items ->> 'open', coalesce(g.items ->> 'failed', '0'), coalesce(g.items ->> 'succeeded', '0')) AS counted,
				(SELECT concat_ws('/', count(t.idx), count(t.idx) FILTER (WHERE t.ended_at IS NULL), count(t.idx) FILTER (WHERE t.state = 'CANCELLED' OR t.state = 'FAILED' AND t.extra ->> 'may_fail' IS NULL),
					count(t.idx) FILTER (WHERE t.state = 'COMPLETED')) FROM task t WHERE t.execution_id = g.execution_id AND t.group_idx = g.idx
					AND t.idx >= (g.items ->> 'first')::int AND t.idx < (g.items ->> 'first')::int + (g.items ->> 'total')::int) AS found
			FROM task g WHERE g.items IS NOT NULL) c WHERE counted <> found LIMIT 20`},
		{Name: "group_ended", SQL: `SELECT 'task ' || execution_id || ' ' || idx || ' is ' || state || ' with ' || (items ->> 'open') || ' open items' FROM task
			WHERE items IS NOT NULL AND (ended_at IS NOT NULL) <> ((items ->> 'open')::int = 0) LIMIT 20`},
		{Name: "task_child", SQL: `SELECT 'task ' || t.execution_id || ' ' || t.idx || ' waits for a child that is not there' FROM task t
			WHERE t.state = 'WAITING' AND t.wait_gate = 'child' AND t.method <> 'AWAIT_FORKED_JOB' AND NOT EXISTS (SELECT FROM child c
				WHERE c.execution_id = t.execution_id AND c.task_idx = t.idx AND c.round = (t.extra ->> 'round')::int) LIMIT 20`},
		{Name: "child_halted", SQL: `SELECT 'child ' || c.execution_id || '/' || c.task_idx || '/' || c.round || ' is ' || c.state || ' though nobody waits for it' FROM child c
			JOIN execution e ON e.id = c.execution_id JOIN task t ON t.execution_id = c.execution_id AND t.idx = c.task_idx
			WHERE c.state IN ('WANTED', 'SUBMITTED') AND (e.state = 'CANCELLED' AND NOT t.always_run AND (c.wait OR c.cascade) OR c.wait AND (t.ended_at IS NOT NULL OR c.round < (t.extra ->> 'round')::int)) LIMIT 20`},
		{Name: "task_approval", SQL: `SELECT 'task ' || t.execution_id || ' ' || t.idx || ' waits for an approval that is not pending' FROM task t
			WHERE t.state = 'WAITING' AND t.wait_gate = 'approval' AND NOT EXISTS (SELECT FROM approval a
				WHERE a.execution_id = t.execution_id AND a.task_idx = t.idx AND a.round = (t.extra ->> 'round')::int AND a.state = 'PENDING') LIMIT 20`},
		{Name: "approval_task", SQL: `SELECT 'approval ' || a.execution_id || '/' || a.task_idx || '/' || a.round || ' is pending while its task is ' || t.state FROM approval a
			JOIN task t ON t.execution_id = a.execution_id AND t.idx = a.task_idx
			WHERE a.state = 'PENDING' AND NOT (t.state = 'WAITING' AND t.wait_gate = 'approval') LIMIT 20`},
		{Name: "execution_terminal", SQL: `SELECT 'execution ' || e.id || ' is ' || e.state || ' with task ' || t.idx || ' ' || t.state FROM execution e JOIN task t ON t.execution_id = e.id
			WHERE e.ended_at IS NOT NULL AND t.ended_at IS NULL LIMIT 20`},
		{Name: "execution_ended", SQL: `SELECT 'execution ' || id || ' is ' || state || CASE WHEN ended_at IS NULL THEN ' without an end' ELSE ' with an end' END FROM execution
			WHERE (ended_at IS NOT NULL) <> (state IN ('COMPLETED', 'FAILED', 'CANCELLED', 'SKIPPED')) LIMIT 20`},
		{Name: "execution_roll_up", SQL: `SELECT 'execution ' || id || ' is ' || state || ' though all its tasks have ended' FROM execution
			WHERE ended_at IS NULL AND tasks_open = 0 AND created_at < now() - interval '60 seconds' LIMIT 20`},
		{Name: "task_ended", SQL: `SELECT 'task ' || execution_id || ' ' || idx || ' is ' || state || CASE WHEN ended_at IS NULL THEN ' without an end' ELSE ' with an end' END FROM task
			WHERE (ended_at IS NOT NULL) <> (state IN ('COMPLETED', 'FAILED', 'SKIPPED', 'CANCELLED')) LIMIT 20`},
		{Name: "task_inputs", SQL: `SELECT 'task ' || t.execution_id || ' ' || t.idx || ' started before task ' || f.idx || ' had ended' FROM task t
			JOIN edge e ON e.execution_id = t.execution_id AND e.to_idx = t.idx JOIN task f ON f.execution_id = e.execution_id AND f.idx = e.from_idx
			WHERE t.started_at IS NOT NULL AND (f.ended_at IS NULL OR f.ended_at > t.started_at) LIMIT 20`},
		{Name: "task_waiting", SQL: `SELECT 'task ' || t.execution_id || ' ' || t.idx || ' waits for ' || t.waiting || ' of ' || count(f.idx) || ' open tasks' FROM task t
			LEFT JOIN edge e ON e.execution_id = t.execution_id AND e.to_idx = t.idx
			LEFT JOIN task f ON f.execution_id = e.execution_id AND f.idx = e.from_idx AND f.ended_at IS NULL
			WHERE t.state = 'BLOCKED' GROUP BY t.execution_id, t.idx, t.waiting HAVING t.waiting <> count(f.idx) LIMIT 20`},
		// error rules have budgets of their own
		{Name: "task_retries", SQL: `SELECT 'task ' || t.execution_id || ' ' || t.idx || ' was retried ' || t.user_tries || ' times of ' || s.most FROM task t
			JOIN execution e ON e.id = t.execution_id LEFT JOIN task g ON g.execution_id = t.execution_id AND g.idx = t.group_idx
			CROSS JOIN LATERAL (SELECT coalesce((coalesce(g.spec, t.spec) ->> 'retry')::int, CASE
				WHEN coalesce(g.spec, t.spec) ->> 'retry_given' IS NULL AND coalesce(g.spec, t.spec)::text LIKE '%` + plan.ActionRestartTask + `%'
				THEN ` + strconv.Itoa(plan.MaxRestarts) + ` ELSE 0 END) AS most) s
			WHERE t.user_tries > 0 AND t.user_tries > s.most AND e.policy -> 'rules' IS NULL LIMIT 20`},
		{Name: "outbox_age", SQL: `SELECT 'message ' || id || ' to ' || subject || ' waits since ' || created_at FROM outbox
			WHERE created_at < now() - interval '60 seconds' LIMIT 20`},
		{Name: "release_age", SQL: `SELECT 'slots of attempt ' || attempt_uid || ' wait for their release since ' || created_at FROM slot_release
			WHERE created_at < now() - interval '60 seconds' LIMIT 20`},
		{Name: "orphan_task", SQL: `SELECT 'task ' || execution_id || ' ' || idx || ' has no execution' FROM task t
			WHERE NOT EXISTS (SELECT FROM execution e WHERE e.id = t.execution_id) LIMIT 20`},
		{Name: "orphan_attempt", SQL: `SELECT 'attempt ' || uid || ' has no task' FROM attempt a
			WHERE NOT EXISTS (SELECT FROM task t WHERE t.execution_id = a.execution_id AND t.idx = a.task_idx) LIMIT 20`},
		// such an upload is swept, and its object with it
		{Name: "orphan_cache", SQL: `SELECT 'the object of cache ' || c.id || ' is also that of an upload that may be deleted' FROM cache c
			JOIN artifact_upload p ON p.id = c.id LIMIT 20`},
		childHeard, awaitHeard,
	}
}
