package peer

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/formicary/formicary/libs/jobspec/template"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// Host answers the template of a claimed task. What it submits has a key of the task in its run: a claim, or an attempt,
// that comes again finds what was submitted first.
func (c *Children) Host(ctx context.Context, x *execution.Claimed) template.Host {
	return &templateHost{ctx: ctx, client: c.client, job: x.Job, task: x.Task.Name}
}

// hostTime bounds one answer.
const hostTime = 4 * time.Second

type templateHost struct {
	ctx    context.Context //nolint:containedctx // a host lives as long as one rendering
	client jobv1.ChildServiceClient
	job    *execution.Context
	task   string
}

// CountByState implements template.Host.
func (h *templateHost) CountByState(jobType string, states []string) (int, error) {
	ctx, cancel := context.WithTimeout(h.ctx, hostTime)
	defer cancel()
	res, err := h.client.CountForTemplate(ctx, &jobv1.CountForTemplateRequest{RequestId: h.job.Request.String(), JobType: jobType, States: states})
	if err != nil {
		return 0, fmt.Errorf("count requests of %s: %w", jobType, err)
	}
	return int(res.GetCount()), nil
}

// Submit implements template.Host.
func (h *templateHost) Submit(jobType, description string, params map[string]any) (string, error) {
	ctx, cancel := context.WithTimeout(h.ctx, hostTime)
	defer cancel()
	own := h.job.Request.String() + "/"
	if rest, ok := strings.CutPrefix(fmt.Sprint(params[template.SubmitUserKey]), own); ok {
		params[template.SubmitUserKey] = own + h.task + "/" + rest
	}
	raw, err := json.Marshal(params)
	if err != nil {
		return "", fmt.Errorf("encode the parameters of %s: %w", jobType, err)
	}
	res, err := h.client.SubmitForTemplate(ctx, &jobv1.SubmitForTemplateRequest{
		RequestId: h.job.Request.String(), Run: int32(h.job.Key.Run), JobType: jobType, Description: description, Params: raw,
	})
	if err != nil {
		return "", fmt.Errorf("submit %s: %w", jobType, err)
	}
	return res.GetRequestId(), nil
}
