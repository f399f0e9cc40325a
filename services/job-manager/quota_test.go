package jobmanager_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/passport/passporttest"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

func quotaOf(list []*jobv1.Quota, name string) *jobv1.Quota {
	i := slices.IndexFunc(list, func(q *jobv1.Quota) bool { return q.GetName() == name })
	if i < 0 {
		return nil
	}
	return list[i]
}

// TestOneOrganisationCannotFillTheQueue floods: no more requests wait than the quota allows, however many come at the same
// time, by forks and restarts, too; the queue of another organisation stays open.
func TestOneOrganisationCannotFillTheQueue(t *testing.T) {
	c := newColony(t)
	quotas := jobv1.NewQuotaServiceClient(c.dial("job-manager"))
	const text = "job_type: j\ntasks:\n- {task_type: a, method: SHELL, script: [x]}\n"
	c.upload(text)
	ctx := access.With(t.Context(), passporttest.Person("default", "root"))
	if _, err := quotas.SetQuota(ctx, &jobv1.SetQuotaRequest{Org: "default", Limits: map[string]int64{"queued": 10, "running": 3}}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	accepted := map[string]string{} // id by key
	for range 30 {
		wg.Go(func() {
			key := uuid.NewString()
			res, err := c.requests.SubmitJob(ctx, &jobv1.SubmitJobRequest{JobType: "j", IdempotencyKey: key})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				accepted[key] = res.GetRequest().GetId()
			case errs.Reason(err) != "QUOTA_EXCEEDED" || errs.CodeOf(err) != errs.CodeExhausted || !strings.Contains(err.Error(), "formicary quota set"):
				t.Errorf("refused by %v", err)
			}
		})
	}
	wg.Wait()
	if len(accepted) != 10 {
		t.Errorf("%d were accepted of a quota of 10", len(accepted))
	}
	// What was accepted is answered again, also now.
	for key, id := range accepted {
		res, err := c.requests.SubmitJob(ctx, &jobv1.SubmitJobRequest{JobType: "j", IdempotencyKey: key})
		if err != nil || res.GetRequest().GetId() != id || res.GetCreated() {
			t.Errorf("again: %v, %v", res, err)
		}
		forks, err := c.children.SubmitChildren(access.Acting(t.Context(), ""), &jobv1.SubmitChildrenRequest{Children: []*jobv1.ChildSubmission{{
			ParentRequestId: id, ParentTask: "a", Key: uuid.NewString(), OrgId: "default", JobType: "j",
		}}})
		if err != nil || len(forks.GetAnswers()) != 1 || forks.GetAnswers()[0].GetReason() != "QUOTA_EXCEEDED" {
			t.Errorf("a fork: %v, %v", forks, err)
		}
		break
	}
	got, err := quotas.GetQuota(ctx, &jobv1.GetQuotaRequest{Org: "default"})
	if q := quotaOf(got.GetQuotas(), "queued"); err != nil || q.GetLimit() != 10 || q.GetUsed() != 10 || q.GetSetBy() != "root" || quotaOf(got.GetQuotas(), "calls_per_second").Limit != nil {
		t.Error(got, err)
	}
	// The scheduler is told of the other one.
	queue, err := c.admission.ReadQueue(access.Acting(t.Context(), ""), &jobv1.ReadQueueRequest{HeadLimit: 10})
	if err != nil || len(queue.GetOrgs()) != 1 || queue.GetOrgs()[0].GetMaxRunning() != 3 || queue.GetOrgs()[0].GetRunning() != 0 {
		t.Error(queue.GetOrgs(), err)
	}
	// Of another organisation nobody sees or sets anything, and it may submit.
	other := access.With(t.Context(), passporttest.Person("other", "eve"))
	if _, err := quotas.GetQuota(other, &jobv1.GetQuotaRequest{Org: "default"}); errs.Reason(err) != "ORG_NOT_FOUND" {
		t.Error(err)
	}
	if _, err := quotas.SetQuota(other, &jobv1.SetQuotaRequest{Org: "default", Limits: map[string]int64{"queued": -1}}); errs.Reason(err) != "ORG_NOT_FOUND" {
		t.Error(err)
	}
	if _, err := c.definitions.CreateJobDefinition(other, &jobv1.CreateJobDefinitionRequest{Yaml: text}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.requests.SubmitJob(other, &jobv1.SubmitJobRequest{JobType: "j"}); err != nil {
		t.Error(err)
	}
	// What is cancelled makes room; without the quota there is no end.
	submit := func(ctx context.Context) string {
		_, err := c.requests.SubmitJob(ctx, &jobv1.SubmitJobRequest{JobType: "j"})
		return errs.Reason(err)
	}
	for _, id := range accepted {
		if _, err := c.requests.CancelJobRequest(ctx, &jobv1.CancelJobRequestRequest{Id: id}); err != nil {
			t.Fatal(err)
		}
		if reason := submit(ctx); reason != "" {
			t.Errorf("into the place of a cancelled one: %s", reason)
		}
		if _, err := c.requests.RestartJobRequest(ctx, &jobv1.RestartJobRequestRequest{Id: id}); errs.Reason(err) != "QUOTA_EXCEEDED" {
			t.Errorf("a restart beyond the quota: %v", err)
		}
		break
	}
	if _, err := quotas.SetQuota(ctx, &jobv1.SetQuotaRequest{Org: "default", Limits: map[string]int64{"queued": -1}}); err != nil {
		t.Fatal(err)
	}
	if reason := submit(ctx); reason != "" {
		t.Errorf("without a quota: %s", reason)
	}
	for _, limits := range []map[string]int64{nil, {"none": 1}, {"queued": -2}, {"calls_per_second": 0}} {
		if _, err := quotas.SetQuota(ctx, &jobv1.SetQuotaRequest{Org: "default", Limits: limits}); errs.Reason(err) != "QUOTA_INVALID" {
			t.Errorf("%v: %v", limits, err)
		}
	}
}
