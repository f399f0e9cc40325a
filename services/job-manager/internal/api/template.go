package api

import (
	"context"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/exact"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	"github.com/formicary/formicary/services/job-manager/internal/request"
)

func (s *children) SubmitForTemplate(ctx context.Context, req *jobv1.SubmitForTemplateRequest) (*jobv1.SubmitForTemplateResponse, error) {
	id, err := uuid.Parse(req.GetRequestId())
	if err != nil {
		return nil, errs.Invalid("REQUEST_INVALID", "%q is no request id", req.GetRequestId())
	}
	params, err := exact.DecodeObject(req.GetParams())
	if err != nil {
		return nil, errs.Invalid("PARAMS_INVALID", "the parameters are no JSON object, or hold a number that nothing holds")
	}
	made, err := s.manager.SubmitForTemplate(ctx, request.Run{ID: id, Run: int(req.GetRun())}, req.GetJobType(), req.GetDescription(), params)
	if err != nil {
		return nil, err
	}
	return &jobv1.SubmitForTemplateResponse{RequestId: made}, nil
}

func (s *children) CountForTemplate(ctx context.Context, req *jobv1.CountForTemplateRequest) (*jobv1.CountForTemplateResponse, error) {
	id, err := uuid.Parse(req.GetRequestId())
	if err != nil {
		return nil, errs.Invalid("REQUEST_INVALID", "%q is no request id", req.GetRequestId())
	}
	n, err := s.manager.CountForTemplate(ctx, id, req.GetJobType(), req.GetStates())
	if err != nil {
		return nil, err
	}
	return &jobv1.CountForTemplateResponse{Count: int64(n)}, nil
}
