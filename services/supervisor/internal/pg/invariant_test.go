package pg_test

import (
	"testing"

	"github.com/formicary/formicary/libs/audit"
	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/services/supervisor"
	"github.com/formicary/formicary/services/supervisor/internal/pg"
)

// TestInvariantsFindWhatIsWrong breaks a clean record in every way that a check looks for.
func TestInvariantsFindWhatIsWrong(t *testing.T) {
	pool := testkit.Pool(t, supervisor.Schema, supervisor.Migrate)
	_, err := pool.Exec(t.Context(), `
		SET session_replication_role = replica;
		ALTER TABLE task ALTER org_id SET DEFAULT 'o'; -- triggers are off
		ALTER TABLE edge ALTER org_id SET DEFAULT 'o';
		ALTER TABLE child ALTER org_id SET DEFAULT 'o';
		ALTER TABLE attempt ALTER org_id SET DEFAULT 'o';
		DROP INDEX attempt_one_live;
		INSERT INTO execution (id, org_id, request_id, run, job_type, state, age_at, created_at, started_at, tasks_total, tasks_open, normal_open, running, active, approvals)
			VALUES ('00000000-0000-0000-0000-000000000001', 'o', gen_random_uuid(), 1, 'j', 'EXECUTING', now(), now(), now(), 8, 6, 6, 1, 3, 1);
		INSERT INTO task (execution_id, idx, name, method, class, state, spec, waiting, attempts, started_at, ended_at)
			SELECT id, 0, 'a', 'SHELL', 'c', 'COMPLETED', '{"retry": 1}'::json, 0, 2, now() - interval '1 minute', now() - interval '1 second' FROM execution UNION ALL
			SELECT id, 1, 'b', 'SHELL', 'c', 'DISPATCHED', '{}', 0, 1, now(), NULL FROM execution UNION ALL
			SELECT id, 2, 'c', 'SHELL', 'c', 'BLOCKED', '{}', 1, 0, NULL, NULL FROM execution;
		INSERT INTO task (execution_id, idx, name, method, class, state, wait_gate, spec, items, extra, group_idx, started_at, ended_at)
			SELECT id, 3, 'g', 'SHELL', 'c', 'WAITING', 'items', '{"retry": 1}'::json, '{"total": 2, "first": 6, "next": 2, "open": 1, "succeeded": 1}'::json, NULL::json, NULL::int, now(), NULL::timestamptz FROM execution UNION ALL
			SELECT id, 4, 'f', 'FORK_JOB', 'c', 'WAITING', 'child', '{}', NULL, '{"round": 1}', NULL, now(), NULL FROM execution UNION ALL
			SELECT id, 5, 'm', 'MANUAL', 'c', 'WAITING', 'approval', '{}', NULL, '{"round": 2}', NULL, now(), NULL FROM execution UNION ALL
			SELECT id, 6, 'g[0]', 'SHELL', 'c', 'COMPLETED', '', '{}', NULL, NULL, 3, NULL, now() FROM execution UNION ALL
			SELECT id, 7, 'g[1]', 'SHELL', 'c', 'READY', '', '{}', NULL, NULL, 3, NULL, NULL FROM execution;
		INSERT INTO child (execution_id, task_idx, round, state, wait, due_at, heard_at, created_at) SELECT id, 4, 1, 'SUBMITTED', true, now(), now(), now() FROM execution;
		INSERT INTO approval (execution_id, task_idx, round, org_id, state, policy, requested_at) SELECT id, 5, 2, 'o', 'PENDING', '{}', now() FROM execution;
		INSERT INTO edge SELECT id, 0, 1, 'c' FROM execution UNION ALL SELECT id, 1, 2, 'd' FROM execution;
		INSERT INTO attempt (uid, execution_id, task_idx, number, state, ant_id, session, lease_until, dispatched_at, started_at, ended_at)
			SELECT gen_random_uuid(), id, 0, n, 'SUCCEEDED', 'x', gen_random_uuid(), now(), now(), now(), now() FROM execution, generate_series(1, 2) n UNION ALL
			SELECT gen_random_uuid(), id, 1, 1, 'RUNNING', 'x', gen_random_uuid(), now(), now(), now(), NULL FROM execution`)
	if err != nil {
		t.Fatal(err)
	}
	for _, checks := range [][]audit.Check{pg.Invariants(), pg.RecentInvariants()} {
		found, err := audit.Run(t.Context(), pool, checks)
		if err != nil || len(found) > 0 {
			t.Fatalf("clean record: %v, %v", found, err)
		}
	}
	faults := map[string]string{
		"attempt_one_live":       `INSERT INTO attempt (uid, execution_id, task_idx, number, state, ant_id, session, lease_until, dispatched_at) SELECT gen_random_uuid(), id, 1, 2, 'DISPATCHED', 'x', gen_random_uuid(), now(), now() FROM execution`,
		"attempt_numbers":        `UPDATE attempt SET number = 3 WHERE number = 2`,
		"attempt_count":          `UPDATE task SET attempts = 5 WHERE idx = 2`,
		"attempt_live_task":      `UPDATE task SET state = 'READY' WHERE idx = 1`,
		"task_live_attempt":      `UPDATE attempt SET state = 'LOST', ended_at = now() WHERE task_idx = 1`,
		"attempt_running":        `UPDATE attempt SET started_at = NULL WHERE task_idx = 1`,
		"attempt_dispatched_age": `UPDATE attempt SET state = 'DISPATCHED', dispatched_at = now() - interval '1 hour' WHERE task_idx = 1`,
		"attempt_ended":          `UPDATE attempt SET ended_at = now() WHERE task_idx = 1`,
		"execution_counters":     `UPDATE execution SET running = 2`,
		"execution_terminal":     `UPDATE execution SET state = 'COMPLETED', ended_at = now()`,
		"execution_ended":        `UPDATE execution SET ended_at = now()`,
		"execution_roll_up":      `UPDATE execution SET tasks_open = 0, created_at = now() - interval '1 hour'`,
		"task_ended":             `UPDATE task SET ended_at = NULL WHERE idx = 0`,
		"task_inputs":            `UPDATE task SET started_at = now() - interval '1 hour' WHERE idx = 1`,
		"task_waiting":           `UPDATE task SET waiting = 0 WHERE idx = 2`,
		"task_retries":           `UPDATE task SET user_tries = 2 WHERE idx = 7`,
		"group_counters":         `UPDATE task SET state = 'FAILED', ended_at = now() WHERE idx = 7`,
		"group_ended":            `UPDATE task SET state = 'COMPLETED', ended_at = now() WHERE idx = 3`,
		"task_child":             `UPDATE child SET round = 2`,
		"child_halted":           `UPDATE task SET state = 'FAILED', ended_at = now() WHERE idx = 4`,
		"child_heard":            `UPDATE child SET state = 'ENDED', ended_at = now() - interval '1 hour', heard_at = now() - interval '1 hour'`,
		"await_heard":            `UPDATE task SET method = 'AWAIT_FORKED_JOB', spec = '{"await_forked_tasks": ["a"]}', started_at = now() - interval '1 hour' WHERE idx = 4`,
		"task_approval":          `UPDATE approval SET state = 'CANCELLED'`,
		"approval_task":          `UPDATE task SET wait_gate = 'pause' WHERE idx = 5`,
		"outbox_age":             `INSERT INTO outbox VALUES (gen_random_uuid(), 's', '', now() - interval '1 hour')`,
		"release_age":            `INSERT INTO slot_release VALUES (gen_random_uuid(), now() - interval '1 hour')`,
		"orphan_task":            `UPDATE task SET execution_id = gen_random_uuid() WHERE idx = 2`,
		"orphan_attempt":         `UPDATE attempt SET task_idx = 9 WHERE task_idx = 1`,
		"orphan_cache": `WITH c AS (INSERT INTO cache (id, org_id, job_type, key, request_id, task, object, bytes, raw_bytes, files, sha256, run_millis, created_at, expires_at, used_at)
			VALUES (gen_random_uuid(), 'o', 'j', 'k', gen_random_uuid(), 't', 'x', 1, 1, 1, '', 0, now(), now(), now()) RETURNING id)
			INSERT INTO artifact_upload (id, org_id, name, key, store_id, given_at) SELECT id, 'o', 'k', 'x', '', now() FROM c`,
	}
	for _, c := range pg.Invariants() {
		fault, ok := faults[c.Name]
		if !ok {
			t.Errorf("no fault for %s", c.Name)
			continue
		}
		tx, err := pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var detail string
		_, err = tx.Exec(t.Context(), `SET LOCAL session_replication_role = replica`)
		if err == nil {
			_, err = tx.Exec(t.Context(), fault)
		}
		if err == nil {
			err = tx.QueryRow(t.Context(), c.SQL).Scan(&detail)
		}
		if err != nil {
			t.Errorf("%s does not find its fault: %v", c.Name, err)
		}
		_ = tx.Rollback(t.Context())
	}
}
