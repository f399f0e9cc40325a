package jobmanager_test

import (
	"strings"
	"testing"

	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

// TestTemplatesSubmitJobs renders launches again and again: what they submit is submitted once for each run.
func TestTemplatesSubmitJobs(t *testing.T) {
	c := newColony(t)
	c.upload(job("child", ""))
	c.upload(strings.ReplaceAll(job("j", ""), `"true"`, `echo {{SubmitJob "child" "first" "A=1"}} {{range $i := Iterate 2}}{{SubmitJob "child" "more"}} {{end}}{{CountByJobTypeAndState "child" "PENDING"}}`))
	c.upload(strings.ReplaceAll(job("strange", ""), `"true"`, `{{SubmitJob "nowhere" "d"}}`))
	r, strange := c.submit(&jobv1.SubmitJobRequest{JobType: "j"}), c.submit(&jobv1.SubmitJobRequest{JobType: "strange"})
	first := c.launched(r.GetId(), 1)
	if first.GetErrorCode() != "" {
		t.Fatalf("%v", first)
	}
	again := c.launchOf(r.GetId(), 1)
	ids := func() []*jobv1.JobRequest {
		res, err := c.requests.ListJobRequests(t.Context(), &jobv1.ListJobRequestsRequest{ParentRequestId: r.GetId()})
		if err != nil {
			t.Fatal(err)
		}
		return res.GetRequests()
	}
	children := ids()
	if len(children) != 3 {
		t.Fatalf("%d children", len(children))
	}
	for _, child := range children {
		if !strings.Contains(string(first.GetPlan()), child.GetId()) || !strings.Contains(string(again.GetPlan()), child.GetId()) {
			t.Errorf("%s is not in the plan: %s, %s", child.GetId(), first.GetPlan(), again.GetPlan())
		}
	}
	if a := children[2]; a.GetDescription() != "first" || a.GetParams().GetFields()["A"].GetStringValue() != "1" || a.GetCreatedBy() != r.GetCreatedBy() {
		t.Errorf("%v", a)
	}
	if n := c.count("SELECT count(*) FROM request WHERE depth = 1 AND child_key = ''"); n != 3 {
		t.Errorf("%d of depth 1", n)
	}
	if l := c.launched(strange.GetId(), 1); l.GetErrorCode() != "ERR_JOB_LAUNCH" || !strings.Contains(l.GetErrorMessage(), "nowhere") {
		t.Errorf("%v", l)
	}
	// The next run submits its own.
	c.saidEnd(r.GetId(), 1, executionv1.Execution_FAILED)
	c.awaitState(r.GetId(), jobv1.JobRequest_FAILED, 1)
	c.restart(&jobv1.RestartJobRequestRequest{Id: r.GetId(), Hard: true})
	c.launched(r.GetId(), 2)
	if n := len(ids()); n != 6 {
		t.Errorf("%d children of two runs", n)
	}
}

// TestTemplatesChooseKeysAndParents gives submissions the keys and parents that their items name.
func TestTemplatesChooseKeysAndParents(t *testing.T) {
	c := newColony(t)
	c.upload(job("child", ""))
	c.upload(job("other", ""))
	parent := c.submit(&jobv1.SubmitJobRequest{JobType: "other"})
	c.upload(strings.ReplaceAll(job("j", ""), `"true"`, `echo {{SubmitJobsFromJSON "child" .items}} {{if 1}}x{{end}}`))
	items := func(parent string) string {
		return `[{"x": 1, "_user_key": "mine"}, {"x": 2, "_user_key": "mine"}, {"x": 3, "_parent_id": "` + parent + `"}]`
	}
	r := c.submit(&jobv1.SubmitJobRequest{JobType: "j", Params: params(t, "items", items(parent.GetId()))})
	if l := c.launched(r.GetId(), 1); l.GetErrorCode() != "" {
		t.Fatalf("%v", l)
	}
	if n := c.count("SELECT count(*) FROM request WHERE idempotency_key = 'mine' AND parent_request_id = $1", r.GetId()); n != 1 {
		t.Errorf("%d with the key", n)
	}
	if n := c.count("SELECT count(*) FROM request WHERE parent_request_id = $1", parent.GetId()); n != 1 {
		t.Errorf("%d of the other parent", n)
	}
	for _, stranger := range []string{"01900000-0000-7000-8000-000000000001", "nobody"} {
		r := c.submit(&jobv1.SubmitJobRequest{JobType: "j", Params: params(t, "items", items(stranger))})
		if l := c.launched(r.GetId(), 1); l.GetErrorCode() != "ERR_JOB_LAUNCH" || !strings.Contains(l.GetErrorMessage(), stranger) {
			t.Errorf("%v", l)
		}
	}
}
