package pg

import (
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/services/supervisor/internal/step"
)

// queueArtifacts makes artifacts of the complete uploads that ends of attempts name.
func (x *tx) queueArtifacts(all []step.EndedAttempt, now time.Time) {
	var uids, uploads []uuid.UUID
	var numbers []int32
	var ages []time.Duration
	for _, e := range all {
		for i, a := range e.Artifacts {
			uids, uploads = append(uids, e.UID), append(uploads, a.Upload)
			numbers, ages = append(numbers, int32(i+1)), append(ages, a.Age) // #nosec G115 -- at most execution.MostArtifacts
		}
	}
	if len(uids) == 0 {
		return
	}
	x.t.Queue(`INSERT INTO artifact (id, org_id, kind, request_id, run, job_type, task, group_task, attempt_uid, attempt, number, name, key, bytes, files, sha256, created_at, expires_at)
		SELECT p.id, e.org_id, 'TASK', e.request_id, e.run, e.job_type, t.name, coalesce(g.name, ''), a.uid, a.number, u.number, p.name, p.key, p.bytes, p.files, p.sha256, $5::timestamptz, $5::timestamptz + u.age
		FROM (SELECT unnest($1::uuid[]) AS uid, unnest($2::uuid[]) AS id, unnest($3::int[]) AS number, unnest($4::interval[]) AS age) u
			JOIN artifact_upload p ON p.id = u.id AND p.attempt_uid = u.uid AND p.completed_at IS NOT NULL
			JOIN attempt a ON a.uid = u.uid JOIN execution e ON e.id = a.execution_id
			JOIN task t ON t.execution_id = a.execution_id AND t.idx = a.task_idx
			LEFT JOIN task g ON g.execution_id = t.execution_id AND g.idx = t.group_idx
		ON CONFLICT (id) DO NOTHING`, uids, uploads, numbers, ages, now)
	x.t.Queue(`DELETE FROM artifact_upload p USING artifact a WHERE p.id = ANY($1::uuid[]) AND a.id = p.id`, uploads)
}
