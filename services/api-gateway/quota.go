package apigateway

import (
	"context"
	"fmt"
	"time"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/run"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	"github.com/formicary/formicary/services/api-gateway/internal/limit"
)

// quotaEvery is how often job-manager, which keeps the quotas, is asked for the rates of organisations.
const quotaEvery = 2 * time.Second

// boundCallers holds organisations to their quotas of calls. While job-manager is away, what it said last counts. Callers who
// need no login are never counted, so then there is nothing to learn.
func (s *Service) boundCallers(limits *limit.Limits) func(context.Context) error {
	ask := jobv1.NewLimitServiceClient(s.deps.JobManager)
	return func(ctx context.Context) error {
		if !s.conf.Auth {
			<-ctx.Done()
			return nil
		}
		return run.Loop(access.Acting(ctx, ""), s.deps.Log, "quotas of calls", quotaEvery, run.NewSignal(), func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, quotaEvery)
			defer cancel()
			perSecond := map[string]int64{}
			req := &jobv1.ListLimitsRequest{Name: "calls_per_second"}
			for {
				page, err := ask.ListLimits(ctx, req)
				if err != nil {
					return fmt.Errorf("list the quotas of calls: %w", err)
				}
				for _, l := range page.GetLimits() {
					perSecond[l.GetOrgId()] = l.GetLimit()
				}
				if req.PageToken = page.GetNextPageToken(); req.GetPageToken() == "" {
					limits.Bound(perSecond)
					return nil
				}
			}
		})
	}
}
