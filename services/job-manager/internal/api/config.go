package api

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/rpc"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	"github.com/formicary/formicary/services/job-manager/internal/config"
)

type configs struct {
	jobv1.UnsafeConfigServiceServer
	manager *config.Manager
}

const defaultEntries = 100

// listing is what both lists of entries have in common.
type listing interface {
	GetScope() string
	GetPageSize() int32
	GetPageToken() string
}

// listEntries returns a page of a scope and the token of the next one.
func listEntries(ctx context.Context, m *config.Manager, list string, req listing, secrets bool) ([]config.Entry, string, error) {
	scope, err := toScope(ctx, req.GetScope(), look)
	if err != nil {
		return nil, "", err
	}
	part := rpc.PartOf(list, fromScope(scope))
	after, err := rpc.PagePlace(part, req.GetPageToken())
	if err != nil {
		return nil, "", err
	}
	size := defaultEntries
	if req.GetPageSize() > 0 {
		size = int(req.GetPageSize())
	}
	entries, err := m.List(ctx, config.Page{Scope: scope, After: after, SecretsOnly: secrets, Limit: size + 1})
	if err != nil {
		return nil, "", err
	}
	entries, last, more := page(entries, size)
	if more {
		return entries, rpc.PageToken(part, last.Name), nil
	}
	return entries, "", nil
}

func (s *configs) ListConfigs(ctx context.Context, req *jobv1.ListConfigsRequest) (*jobv1.ListConfigsResponse, error) {
	entries, next, err := listEntries(ctx, s.manager, "configs", req, false)
	if err != nil {
		return nil, err
	}
	res := &jobv1.ListConfigsResponse{Configs: make([]*jobv1.Config, len(entries)), NextPageToken: next}
	for i := range entries {
		res.Configs[i] = fromConfig(&entries[i])
	}
	return res, nil
}

func (s *configs) GetConfig(ctx context.Context, req *jobv1.GetConfigRequest) (*jobv1.GetConfigResponse, error) {
	scope, err := toScope(ctx, req.GetScope(), look)
	if err != nil {
		return nil, err
	}
	e, err := s.manager.Config(ctx, scope, req.GetName())
	if err != nil {
		return nil, err
	}
	return &jobv1.GetConfigResponse{Config: fromConfig(&e)}, nil
}

func (s *configs) SetConfig(ctx context.Context, req *jobv1.SetConfigRequest) (*jobv1.SetConfigResponse, error) {
	caller := access.From(ctx)
	scope, err := toScope(ctx, req.GetScope(), change)
	if err != nil {
		return nil, err
	}
	if req.GetSecret() {
		return nil, errs.Conflict("CONFIG_IS_SECRET", "configs are stored in clear; store the secret %s at the same path with secrets for configs", req.GetName())
	}
	e, err := s.manager.SetConfig(ctx, config.Entry{
		Scope: scope, Name: req.GetName(), Type: req.GetType(), Value: req.GetValue(), Description: req.GetDescription(), UpdatedBy: caller.User,
	}, req.GetEtag())
	if err != nil {
		return nil, err
	}
	return &jobv1.SetConfigResponse{Config: fromConfig(&e)}, nil
}

func (s *configs) DeleteConfig(ctx context.Context, req *jobv1.DeleteConfigRequest) (*jobv1.DeleteConfigResponse, error) {
	scope, err := toScope(ctx, req.GetScope(), change)
	if err != nil {
		return nil, err
	}
	if err := s.manager.Delete(ctx, scope, req.GetName(), false, req.GetEtag()); err != nil {
		return nil, err
	}
	return &jobv1.DeleteConfigResponse{}, nil
}

func fromConfig(e *config.Entry) *jobv1.Config {
	out := &jobv1.Config{
		Scope: fromScope(e.Scope), Name: e.Name, Value: e.Value, Type: e.Type, Secret: e.Secret, Description: e.Description, Etag: e.Etag(),
		UpdatedAt: timestamppb.New(e.UpdatedAt), UpdatedBy: e.UpdatedBy,
	}
	if e.Secret {
		out.Value = config.Masked
	}
	return out
}
