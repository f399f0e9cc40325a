package jobmanager

import "github.com/formicary/formicary/libs/audit"

// Invariants are what must hold in the schema at any time. Each finds the violations, a few at most.
func Invariants() []audit.Check {
	return []audit.Check{
		{Name: "job_request_state_fields", SQL: `
			SELECT format('request %s is %s with queued %s, ended_at %s', id, state, queued, ended_at) FROM request
			WHERE queued AND state <> 'PENDING'
			   OR (state IN ('COMPLETED', 'FAILED', 'CANCELLED', 'SKIPPED')) <> (ended_at IS NOT NULL)
			   OR resume_at IS NOT NULL AND state <> 'PAUSED'
			LIMIT 20`},
		{Name: "job_no_write_of_an_old_epoch", SQL: `
			SELECT format('request %s was admitted by epoch %s at %s after epoch %s began at %s', r.id, r.admitted_epoch, r.admitted_at, e.epoch, e.began_at)
			FROM request r CROSS JOIN LATERAL (SELECT * FROM epoch WHERE epoch > r.admitted_epoch ORDER BY epoch LIMIT 1) e
			WHERE e.began_at < r.admitted_at -- those that followed it began later
			LIMIT 20`},
		{Name: "job_admitted_by_a_known_epoch", SQL: `
			SELECT format('request %s is %s, admitted by epoch %s', r.id, r.state, r.admitted_epoch) FROM request r
			WHERE r.state IN ('READY', 'EXECUTING') AND NOT EXISTS (SELECT FROM epoch e WHERE e.epoch = r.admitted_epoch)
			LIMIT 20`},
		{Name: "job_concurrency_limit", SQL: `
			SELECT format('job type %s of %s has %s active requests, at most %s', t.job_type, t.org_id, c.active, t.max_concurrency)
			FROM job_type t CROSS JOIN LATERAL (
			    SELECT count(*) AS active FROM request r
			    WHERE r.org_id = t.org_id AND r.job_type = t.job_type AND r.state IN ('READY', 'EXECUTING')) c
			WHERE t.max_concurrency > 0 AND c.active > t.max_concurrency
			  -- a limit that was lowered holds for what is admitted from then on; that of a plugin is its owner's
			  AND NOT EXISTS (SELECT FROM definition d JOIN job_type o ON o.org_id = d.org_id AND o.job_type = d.job_type AND o.generation = d.generation
			      WHERE d.org_id IN (t.org_id, t.plugin_org) AND d.job_type = t.job_type AND (o.newest_id IS NULL OR d.id <> o.newest_id)
			        AND (d.max_concurrency = 0 OR d.max_concurrency > t.max_concurrency))
			LIMIT 20`},
		{Name: "job_pinned_definition_exists", SQL: `
			SELECT format('request %s has definition %s', r.id, r.definition_id) FROM request r
			WHERE NOT EXISTS (SELECT FROM definition d WHERE d.id = r.definition_id AND d.job_type = r.job_type
			    AND (d.org_id = r.org_id OR d.public_plugin AND r.child_key <> ''))
			LIMIT 20`},
		{Name: "job_parent_exists", SQL: `
			SELECT format('request %s of depth %s has parent %s of depth %s', r.id, r.depth, r.parent_request_id, p.depth) FROM request r
			LEFT JOIN request p ON p.id = r.parent_request_id
			WHERE r.parent_request_id IS NOT NULL
			  AND (p.id IS NULL OR p.org_id <> r.org_id OR r.depth <> p.depth + 1)
			LIMIT 20`},
		{Name: "job_refused_child_was_not_submitted", SQL: `
			SELECT format('request %s has the refused key %s', r.id, r.child_key) FROM request r JOIN child_refusal x USING (child_key) LIMIT 20`},
		{Name: "job_run_fields", SQL: `
			SELECT format('request %s is %s in run %s with retries %s, from_task %s, reuse_run %s, missing_at %s', id, state, run, retries, from_task, reuse_run, missing_at)
			FROM request
			WHERE retries < 0 OR retries >= run OR run > 1 AND restarted_at IS NULL AND retries <> run - 1
			   OR missing_at IS NOT NULL AND (execution_version = 0 OR state IN ('READY', 'COMPLETED', 'FAILED', 'CANCELLED', 'SKIPPED'))
			LIMIT 20`},
		{Name: "job_retry_within_total_timeout", SQL: `
			SELECT format('run %s of request %s begins at %s, after %s', run, id, scheduled_at, total_deadline) FROM request
			WHERE retries > 0 AND state = 'PENDING' AND scheduled_at > total_deadline
			LIMIT 20`},
		{Name: "job_borrowed_type_follows_its_plugin", SQL: `
			SELECT format('job type %s of %s is disabled %s with limit %s, its plugin of %s %s with %s',
			    b.job_type, b.org_id, b.disabled, b.max_concurrency, t.org_id, t.disabled, t.max_concurrency)
			FROM job_type b JOIN job_type t ON t.org_id = b.plugin_org AND t.job_type = b.job_type
			WHERE b.newest_id IS NOT NULL OR t.public_plugin AND (b.disabled, b.max_concurrency) IS DISTINCT FROM (t.disabled, t.max_concurrency)
			LIMIT 20`},
		{Name: "job_newest_definition", SQL: `
			SELECT format('job type %s of %s has newest %s, last version %s', t.job_type, t.org_id, t.newest_id, t.last_version) FROM job_type t
			LEFT JOIN definition d ON d.id = t.newest_id
			WHERE t.newest_id IS NOT NULL AND (d.id IS NULL OR d.version <> t.last_version OR d.generation <> t.generation)
			LIMIT 20`},
		{Name: "job_deleted_type_is_unused", SQL: `
			SELECT format('request %s is %s but its job type %s is deleted', r.id, r.state, r.job_type) FROM request r
			JOIN job_type t USING (org_id, job_type)
			WHERE t.newest_id IS NULL AND r.run = 1 -- a restart keeps its pinned version
			  AND r.child_key = '' -- a plugin belongs to another organisation
			  AND r.state IN ('PENDING', 'READY', 'EXECUTING', 'PAUSED', 'MANUAL_APPROVAL_REQUIRED')
			LIMIT 20`},
		{Name: "job_outbox_age", SQL: `
			SELECT format('message %s on %s waits since %s', id, subject, created_at) FROM outbox
			WHERE created_at < now() - interval '60 seconds' ORDER BY created_at LIMIT 20`},
		{Name: "job_delivery_is_tried", SQL: `
			SELECT format('delivery %s is due since %s and nobody tries it', id, greatest(next_at, leased_until)) FROM delivery
			WHERE state = 'PENDING' AND greatest(next_at, leased_until) < now() - interval '10 minutes'
			LIMIT 20`},
		{Name: "job_settled_delivery_keeps_no_secret", SQL: `
			SELECT format('delivery %s is %s and keeps its target', id, state) FROM delivery WHERE state <> 'PENDING' AND target IS NOT NULL LIMIT 20`},
		{Name: "job_due_is_queued", SQL: `
			SELECT format('request %s was due at %s and is not queued', id, scheduled_at) FROM request
			WHERE state = 'PENDING' AND NOT queued AND cancel_requested_at IS NULL AND coalesce(scheduled_at, created_at) < now() - interval '60 seconds'
			LIMIT 20`},
	}
}
