package jobmanager_test

import (
	"testing"

	"github.com/formicary/formicary/libs/errs"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

// What a template submits at the claim of its task is submitted once, however often the claim is repeated, and again by
// the next run.
func TestTemplatesSubmitAtTheClaimOfATask(t *testing.T) {
	c := newColony(t)
	c.upload(job("child", ""))
	c.upload(job("j", ""))
	r := c.submit(&jobv1.SubmitJobRequest{JobType: "j"})
	ask := func(run int32, key string) string {
		res, err := c.children.SubmitForTemplate(t.Context(), &jobv1.SubmitForTemplateRequest{
			RequestId: r.GetId(), Run: run, JobType: "child", Description: "d",
			Params: []byte(`{"N": 9007199254740993, "_user_key": "` + key + `"}`),
		})
		if err != nil {
			t.Fatal(err)
		}
		return res.GetRequestId()
	}
	own := r.GetId() + "/put/SubmitJob/1.0"
	first := ask(1, own)
	if again := ask(1, own); again != first {
		t.Errorf("%s and %s", first, again)
	}
	if next, other := ask(2, own), ask(1, r.GetId()+"/put2/SubmitJob/1.0"); next == first || other == first || other == next {
		t.Errorf("%s, of the next run %s, of another task %s", first, next, other)
	}
	made := c.get(first)
	if made.GetParentRequestId() != r.GetId() || made.GetDescription() != "d" {
		t.Errorf("%v", made)
	}
	if n := c.count(`SELECT count(*) FROM request WHERE depth = 1 AND params->>'N' = '9007199254740993'`); n != 3 {
		t.Errorf("%d with all digits", n)
	}
	res, err := c.children.CountForTemplate(t.Context(), &jobv1.CountForTemplateRequest{RequestId: r.GetId(), JobType: "child", States: []string{"PENDING"}})
	if err != nil || res.GetCount() != 3 {
		t.Errorf("%d, %v", res.GetCount(), err)
	}
	_, err = c.children.SubmitForTemplate(t.Context(), &jobv1.SubmitForTemplateRequest{RequestId: r.GetId(), Run: 1, JobType: "nowhere", Params: []byte("{}")})
	if errs.CodeOf(err) != errs.CodeNotFound {
		t.Errorf("%v", err)
	}
}
