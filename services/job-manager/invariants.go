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
			FROM request r JOIN epoch e ON e.epoch > r.admitted_epoch AND e.began_at < r.admitted_at
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
			  -- a limit that was lowered holds for what is admitted from then on
			  AND NOT EXISTS (SELECT FROM definition d WHERE d.org_id = t.org_id AND d.job_type = t.job_type AND d.generation = t.generation
			      AND d.id <> t.newest_id AND (d.max_concurrency = 0 OR d.max_concurrency > t.max_concurrency))
			LIMIT 20`},
		{Name: "job_pinned_definition_exists", SQL: `
			SELECT format('request %s has definition %s', r.id, r.definition_id) FROM request r
			WHERE NOT EXISTS (SELECT FROM definition d WHERE d.id = r.definition_id AND d.org_id = r.org_id AND d.job_type = r.job_type)
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
			  AND r.state IN ('PENDING', 'READY', 'EXECUTING', 'PAUSED', 'MANUAL_APPROVAL_REQUIRED')
			LIMIT 20`},
		{Name: "job_outbox_age", SQL: `
			SELECT format('message %s on %s waits since %s', id, subject, created_at) FROM outbox
			WHERE created_at < now() - interval '60 seconds' ORDER BY created_at LIMIT 20`},
		{Name: "job_due_is_queued", SQL: `
			SELECT format('request %s was due at %s and is not queued', id, scheduled_at) FROM request
			WHERE state = 'PENDING' AND NOT queued AND cancel_requested_at IS NULL AND coalesce(scheduled_at, created_at) < now() - interval '60 seconds'
			LIMIT 20`},
	}
}
