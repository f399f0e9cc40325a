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
