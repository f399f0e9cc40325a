package api

import (
	"bytes"
	"context"
	"encoding/json"
	"math"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/errs"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	"github.com/formicary/formicary/services/job-manager/internal/request"
)

func (s *children) SubmitForTemplate(ctx context.Context, req *jobv1.SubmitForTemplateRequest) (*jobv1.SubmitForTemplateResponse, error) {
	id, err := uuid.Parse(req.GetRequestId())
	if err != nil {
		return nil, errs.Invalid("REQUEST_INVALID", "%q is no request id", req.GetRequestId())
	}
	params := map[string]any{}
	decoder := json.NewDecoder(bytes.NewReader(req.GetParams()))
	decoder.UseNumber()
	if err := decoder.Decode(&params); err != nil {
		return nil, errs.Invalid("PARAMS_INVALID", "the parameters are no JSON object")
	}
	made, err := s.manager.SubmitForTemplate(ctx, request.Run{ID: id, Run: int(req.GetRun())}, req.GetJobType(), req.GetDescription(), plain(params))
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

// plain makes the numbers of JSON whole where they are.
func plain[T any](v T) T {
	out, _ := number(any(v)).(T)
	return out
}

func number(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, err := v.Float64()
		if err != nil {
			return math.Inf(1)
		}
		return f
	case []any:
		for i := range v {
			v[i] = number(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = number(v[k])
		}
	}
	return v
}
