package api

import (
	"context"
	"math"
	"strconv"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/rpc"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	"github.com/formicary/formicary/services/job-manager/internal/definition"
)

type definitions struct {
	jobv1.UnsafeJobDefinitionServiceServer
	manager *definition.Manager
}

func (s *definitions) CreateJobDefinition(ctx context.Context, req *jobv1.CreateJobDefinitionRequest) (*jobv1.CreateJobDefinitionResponse, error) {
	caller := access.From(ctx)
	d, created, warnings, err := s.manager.Upload(ctx, definition.Upload{
		OrgID: caller.Org, User: caller.User, File: req.GetFileName(), YAML: req.GetYaml(), ValidateOnly: req.GetValidateOnly(),
	})
	if err != nil {
		return nil, err
	}
	return &jobv1.CreateJobDefinitionResponse{Definition: fromDefinition(d), Created: created, Warnings: fromWarnings(warnings)}, nil
}

func (s *definitions) GetJobDefinition(ctx context.Context, req *jobv1.GetJobDefinitionRequest) (*jobv1.GetJobDefinitionResponse, error) {
	d, err := s.manager.Get(ctx, access.From(ctx).Org, req.GetId())
	if err != nil {
		return nil, err
	}
	return &jobv1.GetJobDefinitionResponse{Definition: fromDefinition(d)}, nil
}

const definitionList = "definitions"

func (s *definitions) ListJobDefinitions(ctx context.Context, req *jobv1.ListJobDefinitionsRequest) (*jobv1.ListJobDefinitionsResponse, error) {
	after, err := rpc.PagePlace(definitionList, req.GetPageToken())
	if err != nil {
		return nil, err
	}
	size := pageSize(req.GetPageSize())
	list, err := s.manager.List(ctx, definition.Page{OrgID: access.From(ctx).Org, AfterType: after, Limit: size + 1})
	if err != nil {
		return nil, err
	}
	list, last, more := page(list, size)
	res := &jobv1.ListJobDefinitionsResponse{Definitions: fromDefinitions(list)}
	if more {
		res.NextPageToken = rpc.PageToken(definitionList, last.JobType)
	}
	return res, nil
}

func (s *definitions) ListJobDefinitionVersions(ctx context.Context, req *jobv1.ListJobDefinitionVersionsRequest) (*jobv1.ListJobDefinitionVersionsResponse, error) {
	versionList := "versions/" + req.GetJobType()
	token, err := rpc.PagePlace(versionList, req.GetPageToken())
	if err != nil {
		return nil, err
	}
	before := math.MaxInt32
	if token != "" {
		if before, err = strconv.Atoi(token); err != nil {
			return nil, rpc.BadPageToken()
		}
	}
	size := pageSize(req.GetPageSize())
	list, err := s.manager.List(ctx, definition.Page{
		OrgID: access.From(ctx).Org, JobType: req.GetJobType(), BeforeVersion: before, Limit: size + 1,
	})
	if err != nil {
		return nil, err
	}
	list, last, more := page(list, size)
	res := &jobv1.ListJobDefinitionVersionsResponse{Definitions: fromDefinitions(list)}
	if more {
		res.NextPageToken = rpc.PageToken(versionList, strconv.Itoa(last.Version))
	}
	return res, nil
}

const (
	defaultPlugins = 100
	pluginList     = "plugins"
)

func (s *definitions) ListPlugins(ctx context.Context, req *jobv1.ListPluginsRequest) (*jobv1.ListPluginsResponse, error) {
	after, err := rpc.PagePlace(pluginList, req.GetPageToken())
	if err != nil {
		return nil, err
	}
	size := defaultPlugins
	if req.GetPageSize() > 0 {
		size = int(req.GetPageSize())
	}
	list, err := s.manager.Plugins(ctx, definition.Page{AfterType: after, Limit: size + 1})
	if err != nil {
		return nil, err
	}
	list, last, more := page(list, size)
	res := &jobv1.ListPluginsResponse{Definitions: fromDefinitions(list)}
	if more {
		res.NextPageToken = rpc.PageToken(pluginList, last.JobType)
	}
	return res, nil
}

func (s *definitions) EnableJobDefinition(ctx context.Context, req *jobv1.EnableJobDefinitionRequest) (*jobv1.EnableJobDefinitionResponse, error) {
	d, err := s.manager.SetDisabled(ctx, access.From(ctx).Org, req.GetId(), false)
	if err != nil {
		return nil, err
	}
	return &jobv1.EnableJobDefinitionResponse{Definition: fromDefinition(d)}, nil
}

func (s *definitions) DisableJobDefinition(ctx context.Context, req *jobv1.DisableJobDefinitionRequest) (*jobv1.DisableJobDefinitionResponse, error) {
	d, err := s.manager.SetDisabled(ctx, access.From(ctx).Org, req.GetId(), true)
	if err != nil {
		return nil, err
	}
	return &jobv1.DisableJobDefinitionResponse{Definition: fromDefinition(d)}, nil
}

func (s *definitions) DeleteJobDefinition(ctx context.Context, req *jobv1.DeleteJobDefinitionRequest) (*jobv1.DeleteJobDefinitionResponse, error) {
	if err := s.manager.Delete(ctx, access.From(ctx).Org, req.GetId()); err != nil {
		return nil, err
	}
	return &jobv1.DeleteJobDefinitionResponse{}, nil
}
