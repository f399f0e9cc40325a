package jobmanager_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

// A request that may not wait for ever for its start ends with the reason that held it.
func TestRequestsThatWaitTooLong(t *testing.T) {
	c := newColony(t)
	text := func(name, head, task string) string {
		return "job_type: " + name + "\n" + head + "tasks:\n- {task_type: a, method: SHELL, script: [x]" + task + "}\n"
	}
	c.upload(text("by-job", "timeouts: {pending: 1s}\n", ""))
	c.upload(text("by-task", "", ", timeouts: {pending: 1s}"))
	c.upload(text("by-param", "timeouts: {pending: '{{.wait}}'}\n", ""))
	c.upload(text("patient", "", ""))
	c.upload(text("long", "timeouts: {pending: 1h}\n", ""))
	c.lead()
	ids := map[string]string{}
	for _, name := range []string{"by-job", "by-task", "patient", "long"} {
		ids[name] = c.submit(&jobv1.SubmitJobRequest{JobType: name}).GetId()
	}
	ids["by-param"] = c.submit(&jobv1.SubmitJobRequest{JobType: "by-param", Params: params(t, "wait", "1s")}).GetId()
	later := c.submit(&jobv1.SubmitJobRequest{JobType: "by-job", ScheduledAt: timestamppb.New(time.Now().Add(time.Hour))}).GetId()
	for _, name := range []string{"by-job", "by-task", "by-param"} {
		r := c.awaitState(ids[name], jobv1.JobRequest_FAILED, 1)
		if r.GetErrorCode() != "ERR_JOB_TIMEOUT" || !strings.HasPrefix(r.GetErrorMessage(), "it did not start within 1s: it is due and waits") || r.GetEndedAt() == nil {
			t.Errorf("%s: %s: %s", name, r.GetErrorCode(), r.GetErrorMessage())
		}
	}
	for _, id := range []string{ids["patient"], ids["long"], later} {
		if r := c.get(id); r.GetState() != jobv1.JobRequest_PENDING {
			t.Errorf("%s is %s", r.GetJobType(), r.GetState())
		}
	}
	// A restart has the time again, and says to supervisor from when on it counts.
	c.restart(&jobv1.RestartJobRequestRequest{Id: ids["by-job"]})
	c.awaitState(ids["by-job"], jobv1.JobRequest_FAILED, 2)
	if l := c.launched(ids["long"], 1); time.Since(l.GetDueAt().AsTime()).Abs() > time.Minute {
		t.Errorf("it was due at %s", l.GetDueAt().AsTime())
	}
	if l := c.launched(ids["patient"], 1); l.GetDueAt() != nil {
		t.Errorf("one that may wait was due at %s", l.GetDueAt().AsTime())
	}
}

// A job-manager of an earlier version knows nothing of the limit: what it puts back into the queue has its time again, and
// is not ended for a wait of long ago.
func TestAnotherVersionBeginsTheWaitAnew(t *testing.T) {
	c := newColony(t)
	c.upload("job_type: j\ntimeouts: {pending: 1h}\ntasks:\n- {task_type: a, method: SHELL, script: [x]}\n")
	c.lead()
	id := c.submit(&jobv1.SubmitJobRequest{JobType: "j"}).GetId()
	left := func() time.Duration {
		var until time.Time
		if err := c.pool.QueryRow(t.Context(), `SELECT pending_until FROM request WHERE id = $1`, id).Scan(&until); err != nil {
			t.Fatal(err)
		}
		return time.Until(until)
	}
	write := func(set string) {
		if _, err := c.pool.Exec(t.Context(), `UPDATE request SET version = version + 1, `+set+` WHERE id = $1`, id); err != nil {
			t.Fatal(err)
		}
	}
	for _, way := range [][]string{
		{`state = 'READY', queued = false`, `state = 'EXECUTING'`, `state = 'PENDING', run = 2, retries = 1, scheduled_at = now() + interval '1 minute'`},
		{`state = 'PAUSED', queued = false`, `state = 'PENDING'`},
	} {
		write(`pending_until = pending_until - interval '90 minutes', scheduled_at = now() + interval '1 day', cancel_requested_at = now()`)
		for _, set := range way {
			write(set)
		}
		if d := left(); d < 59*time.Minute {
			t.Errorf("after %v it may wait for %s", way, d)
		}
	}
	write(`state = 'PAUSED', pending_until = NULL`)
	write(`state = 'PENDING'`)
	if n := c.count(`SELECT count(*) FROM request WHERE id = $1 AND pending_until IS NULL`, id); n != 1 {
		t.Error("one that may wait for ever got a limit")
	}
}
