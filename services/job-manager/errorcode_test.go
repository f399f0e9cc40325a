package jobmanager_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/formicary/formicary/libs/jobspec/errorrule"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

func (c *colony) saveRule(client jobv1.ErrorCodeServiceClient, rule *jobv1.ErrorCode) *jobv1.ErrorCode {
	c.Helper()
	res, err := client.SaveErrorCode(c.Context(), &jobv1.SaveErrorCodeRequest{ErrorCode: rule})
	if err != nil {
		c.Fatal(err)
	}
	return res.GetErrorCode()
}

func TestErrorCodes(t *testing.T) {
	c := newColony(t)
	if got := c.saveRule(c.errorCodes, &jobv1.ErrorCode{ErrorCode: "ERR_OOM", Regex: "out of memory", HardFailure: true, Description: "d"}); got.GetAction() != "HARD_FAILURE" || got.GetId() == "" || got.GetUpdatedAt() == nil {
		t.Errorf("%v", got)
	}
	for i := range 3 {
		c.saveRule(c.errorCodes, &jobv1.ErrorCode{ErrorCode: fmt.Sprintf("ERR_%d", i), JobType: []string{"*", "j", "k"}[i], ExitCode: "4xx", Action: "RETRY_TASK", Retry: 2})
	}
	bad := map[string]*jobv1.ErrorCode{
		"regex":     {ErrorCode: "ERR_X", Regex: "("},
		"exit code": {ErrorCode: "ERR_X", ExitCode: "x-y"},
		"action":    {ErrorCode: "ERR_X", Action: "EXPLODE"},
		"both":      {ErrorCode: "ERR_X", Action: "RETRY_JOB", HardFailure: true},
	}
	for name, rule := range bad {
		if _, err := c.errorCodes.SaveErrorCode(t.Context(), &jobv1.SaveErrorCodeRequest{ErrorCode: rule}); err == nil {
			t.Errorf("%s was accepted", name)
		} else {
			wantReason(t, err, "INVALID_ERROR_CODE")
		}
	}
	// What is true of every text is refused before the rule is looked at.
	_, err := c.errorCodes.SaveErrorCode(t.Context(), &jobv1.SaveErrorCodeRequest{ErrorCode: &jobv1.ErrorCode{ErrorCode: "ERR_X", Regex: "a", Description: "a\x00b"}})
	wantReason(t, err, "REQUEST_INVALID")
	list := func(jobType string) (codes []string) {
		req := &jobv1.ListErrorCodesRequest{PageSize: 2, JobType: jobType}
		for {
			res, err := c.errorCodes.ListErrorCodes(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range res.GetErrorCodes() {
				codes = append(codes, e.GetErrorCode())
			}
			if req.PageToken = res.GetNextPageToken(); req.PageToken == "" {
				return codes
			}
		}
	}
	some, err := c.errorCodes.ListErrorCodes(t.Context(), &jobv1.ListErrorCodesRequest{PageSize: 1})
	if err != nil || some.GetNextPageToken() == "" {
		t.Fatalf("%v, %v", some, err)
	}
	_, err = c.errorCodes.ListErrorCodes(t.Context(), &jobv1.ListErrorCodesRequest{JobType: "j", PageToken: some.GetNextPageToken()})
	wantReason(t, err, "PAGE_TOKEN_INVALID")
	if got := fmt.Sprint(list("")); got != "[ERR_1 ERR_2 ERR_0 ERR_OOM]" {
		t.Error(got)
	}
	if got := fmt.Sprint(list("j")); got != "[ERR_1 ERR_0 ERR_OOM]" {
		t.Error(got)
	}
	// Organisations see their own.
	if res, err := c.errorCodes.ListErrorCodes(c.of("other"), &jobv1.ListErrorCodesRequest{}); err != nil || len(res.GetErrorCodes()) != 0 {
		t.Errorf("%v, %v", res, err)
	}
	mine, err := c.errorCodes.ListErrorCodes(t.Context(), &jobv1.ListErrorCodesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	rule := mine.GetErrorCodes()[0]
	for _, id := range []string{rule.GetId(), "none"} {
		_, err = c.errorCodes.SaveErrorCode(c.of("other"), &jobv1.SaveErrorCodeRequest{ErrorCode: &jobv1.ErrorCode{Id: id, ErrorCode: "ERR_X"}})
		wantReason(t, err, "ERROR_CODE_NOT_FOUND")
	}
	_, err = c.errorCodes.DeleteErrorCode(c.of("other"), &jobv1.DeleteErrorCodeRequest{Id: rule.GetId()})
	wantReason(t, err, "ERROR_CODE_NOT_FOUND")
	if _, err := c.errorCodes.DeleteErrorCode(t.Context(), &jobv1.DeleteErrorCodeRequest{Id: rule.GetId()}); err != nil {
		t.Error(err)
	}
	if got := fmt.Sprint(list("")); got != "[ERR_2 ERR_0 ERR_OOM]" {
		t.Error(got)
	}
}

// TestLaunchesCarryRules changes rules beside launches, here and in another replica.
func TestLaunchesCarryRules(t *testing.T) {
	c := newColony(t)
	c.start("other")
	elsewhere := jobv1.NewErrorCodeServiceClient(c.dial("other"))
	c.upload(job("j", ""))
	r := c.submit(&jobv1.SubmitJobRequest{JobType: "j"})
	c.admit(r.GetId())
	rules := func() (codes []string) {
		l := c.launchOf(r.GetId(), 1)
		if len(l.GetErrorRules()) == 0 {
			return nil
		}
		var list []errorrule.Rule
		if err := json.Unmarshal(l.GetErrorRules(), &list); err != nil {
			t.Fatal(err)
		}
		for _, rule := range list {
			codes = append(codes, rule.ErrorCode)
		}
		return codes
	}
	if got := rules(); got != nil {
		t.Errorf("%v", got)
	}
	all := c.saveRule(elsewhere, &jobv1.ErrorCode{ErrorCode: "ERR_ALL", ExitCode: "*"})
	c.saveRule(elsewhere, &jobv1.ErrorCode{ErrorCode: "ERR_K", JobType: "k"})
	if got := fmt.Sprint(rules()); got != "[ERR_ALL]" {
		t.Error(got)
	}
	c.saveRule(elsewhere, &jobv1.ErrorCode{ErrorCode: "ERR_J", JobType: "j", TaskTypeScope: "a"})
	if got := fmt.Sprint(rules()); got != "[ERR_J ERR_ALL]" {
		t.Error(got)
	}
	all.ErrorCode = "ERR_EVERY"
	c.saveRule(c.errorCodes, all)
	if got := fmt.Sprint(rules()); got != "[ERR_J ERR_EVERY]" {
		t.Error(got)
	}
	if _, err := elsewhere.DeleteErrorCode(t.Context(), &jobv1.DeleteErrorCodeRequest{Id: all.GetId()}); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(rules()); got != "[ERR_J]" {
		t.Error(got)
	}
}
