package jobmanager_test

import (
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/formicary/formicary/libs/testkit"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	jobmanager "github.com/formicary/formicary/services/job-manager"
	"github.com/formicary/formicary/services/job-manager/internal/request"
)

func TestDatabaseKnowsTheSameMoves(t *testing.T) {
	pool := testkit.Pool(t, jobmanager.Schema, jobmanager.Migrate)
	rows, err := pool.Query(t.Context(), "SELECT from_state, to_state, new_run FROM move")
	if err != nil {
		t.Fatal(err)
	}
	stored, err := pgx.CollectRows(rows, pgx.RowToStructByPos[request.Move])
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range request.Moves() {
		if !slices.Contains(stored, m) {
			t.Errorf("the database does not know %+v", m)
		}
	}
	if len(stored) != len(request.Moves()) {
		t.Errorf("%d moves in the database, %d in Go", len(stored), len(request.Moves()))
	}
}

func TestDatabaseRefusesIllegalMoves(t *testing.T) {
	c := newColony(t)
	c.upload(job("j", ""))
	r := c.submit(&jobv1.SubmitJobRequest{JobType: "j"})
	for _, set := range []string{
		"state = 'EXECUTING'", "state = 'READY', run = 2", "run = 3", "state = 'X'",
	} {
		if _, err := c.pool.Exec(t.Context(), "UPDATE request SET queued = false, "+set); err == nil {
			t.Errorf("%s was accepted", set)
		}
	}
	if _, err := c.requests.CancelJobRequest(t.Context(), &jobv1.CancelJobRequestRequest{Id: r.GetId()}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.pool.Exec(t.Context(), "UPDATE request SET state = 'COMPLETED'"); err == nil {
		t.Error("a terminal state was left")
	}
}

// TestCrashAfterCommit leaves rows in the outbox as a process does that dies between the commit and the publication.
func TestCrashAfterCommit(t *testing.T) {
	c := newColony(t)
	changed := hearChanged(c)
	payload := mustMarshal(t, &jobv1.RequestChanges{Changes: []*jobv1.RequestChanged{{RequestId: "left behind"}}})
	if _, err := c.pool.Exec(t.Context(), "INSERT INTO outbox (id, subject, payload, created_at) VALUES (gen_random_uuid(), 'formicary.event.job.changed', $1, now() - interval '2 seconds')", payload); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 20*time.Second, "the sweep sends it", func() bool { return len(changed()) == 1 })
	testkit.Eventually(t, 20*time.Second, "the outbox is empty", func() bool { return c.count("SELECT count(*) FROM outbox") == 0 })
}

// TestQueueIsBounded reads the queue beside 10,000 pending, 10,000 finished and 10,000 sleeping requests.
func TestQueueIsBounded(t *testing.T) {
	c := newColony(t)
	d := c.upload(job("j", ""))
	c.upload(job("k", ""))
	c.fill(d.GetId(), 30_000)
	last := c.submit(&jobv1.SubmitJobRequest{JobType: "k"})
	q := c.queue(50)
	if len(q.GetTypes()) != 2 || len(q.GetTypes()[0].GetHeads()) != 50 || q.GetTypes()[0].GetPending() != 51 {
		t.Fatalf("%d types, %d heads, %d pending", len(q.GetTypes()), len(q.GetTypes()[0].GetHeads()), q.GetTypes()[0].GetPending())
	}
	heads := q.GetTypes()[0].GetHeads()
	sorted := slices.IsSortedFunc(heads, func(a, b *jobv1.QueuedRequest) int {
		if a.GetPriority() != b.GetPriority() {
			return int(b.GetPriority() - a.GetPriority())
		}
		return a.GetAgeAt().AsTime().Compare(b.GetAgeAt().AsTime())
	})
	if !sorted {
		t.Error("the best do not come first")
	}
	if q.GetTypes()[1].GetHeads()[0].GetRequestId() != last.GetId() {
		t.Error("a small queue is hidden by a large one")
	}
	begin := time.Now()
	for range 20 {
		c.queue(50)
	}
	t.Logf("ReadQueue takes %s", time.Since(begin)/20)
}

// fill stores n requests: a third each finished, pending and scheduled for tomorrow.
func (c *colony) fill(definition string, n int) {
	c.Helper()
	_, err := c.pool.Exec(c.Context(), `
		INSERT INTO request (id, org_id, job_type, definition_id, definition_version, state, priority, age_at, scheduled_at, queued,
			placement_class, params, description, idempotency_key, request_hash, created_by, created_at, updated_at, check_at)
		SELECT gen_random_uuid(), 'default', 'j', $1, 1, 'PENDING', i % 100, now() - i * interval '1 second',
			CASE WHEN i % 3 = 2 THEN now() + interval '1 day' END, i % 3 <> 2, 'SHELL||1', '{}', '', '', '', 'u', now(), now(), now()
		FROM generate_series(1, $2::int) i`, definition, n)
	if err != nil {
		c.Fatal(err)
	}
	if _, err := c.pool.Exec(c.Context(), `
		UPDATE request SET state = 'COMPLETED', queued = false, ended_at = now()
		WHERE queued AND job_type = 'j' AND extract(epoch FROM created_at - age_at)::int % 3 = 0`); err != nil {
		c.Fatal(err)
	}
	if _, err := c.pool.Exec(c.Context(), "ANALYZE request"); err != nil {
		c.Fatal(err)
	}
}
