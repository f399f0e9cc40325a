package api

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/rpc"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	"github.com/formicary/formicary/services/job-manager/internal/quota"
)

type quotas struct {
	jobv1.UnsafeQuotaServiceServer
	jobv1.UnsafeLimitServiceServer
	manager quota.Manager
}

// orgOf returns the organisation that a call names, which must be the one that it acts in.
func orgOf(ctx context.Context, org string) (string, error) {
	if c := access.From(ctx); c.Org != org {
		return "", errs.NotFound("ORG_NOT_FOUND", "no organisation %s: act in it to see its quotas (--org)", org)
	}
	return org, nil
}

func (s *quotas) GetQuota(ctx context.Context, req *jobv1.GetQuotaRequest) (*jobv1.GetQuotaResponse, error) {
	org, err := orgOf(ctx, req.GetOrg())
	if err != nil {
		return nil, err
	}
	list, err := s.list(ctx, org)
	return &jobv1.GetQuotaResponse{Quotas: list}, err
}

func (s *quotas) SetQuota(ctx context.Context, req *jobv1.SetQuotaRequest) (*jobv1.SetQuotaResponse, error) {
	org, err := orgOf(ctx, req.GetOrg())
	if err != nil {
		return nil, err
	}
	if err := s.manager.Change(ctx, org, req.GetLimits(), access.From(ctx).User); err != nil {
		return nil, err
	}
	list, err := s.list(ctx, org)
	return &jobv1.SetQuotaResponse{Quotas: list}, err
}

// list returns every quota that there is, also those without a bound.
func (s *quotas) list(ctx context.Context, org string) ([]*jobv1.Quota, error) {
	bounds, used, err := s.manager.Of(ctx, org)
	if err != nil {
		return nil, err
	}
	have := map[string]int64{quota.Queued: used.Queued, quota.Running: used.Running}
	var all []*jobv1.Quota
	for _, name := range quota.Names() {
		q := &jobv1.Quota{Name: name}
		if n, ok := have[name]; ok {
			q.Used = &n
		}
		for _, b := range bounds {
			if b.Name == name {
				q.Limit, q.SetAt, q.SetBy = &b.Most, timestamppb.New(b.SetAt), b.SetBy
			}
		}
		all = append(all, q)
	}
	return all, nil
}

const limitPage = 1000

func (s *quotas) ListLimits(ctx context.Context, req *jobv1.ListLimitsRequest) (*jobv1.ListLimitsResponse, error) {
	part := rpc.PartOf("limits", req.GetName())
	after, err := rpc.PagePlace(part, req.GetPageToken())
	if err != nil {
		return nil, err
	}
	bounds, err := s.manager.Named(ctx, req.GetName(), after, limitPage+1)
	if err != nil {
		return nil, err
	}
	res := &jobv1.ListLimitsResponse{}
	if len(bounds) > limitPage {
		bounds = bounds[:limitPage]
		res.NextPageToken = rpc.PageToken(part, bounds[limitPage-1].Org)
	}
	for _, b := range bounds {
		res.Limits = append(res.Limits, &jobv1.OrgLimit{OrgId: b.Org, Limit: b.Most})
	}
	return res, nil
}
