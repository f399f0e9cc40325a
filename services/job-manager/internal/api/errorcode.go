package api

import (
	"context"
	"strconv"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/jobspec/errorrule"
	"github.com/formicary/formicary/libs/rpc"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	"github.com/formicary/formicary/services/job-manager/internal/errorcode"
)

type errorCodes struct {
	jobv1.UnsafeErrorCodeServiceServer
	manager *errorcode.Manager
}

const (
	defaultRules = 100
	ruleList     = "error-codes"
)

func (s *errorCodes) ListErrorCodes(ctx context.Context, req *jobv1.ListErrorCodesRequest) (*jobv1.ListErrorCodesResponse, error) {
	part := rpc.PartOf(ruleList, req.GetJobType())
	token, err := rpc.PagePlace(part, req.GetPageToken())
	if err != nil {
		return nil, err
	}
	skip := 0
	if token != "" {
		if skip, err = strconv.Atoi(token); err != nil || skip < 0 {
			return nil, rpc.BadPageToken()
		}
	}
	size := defaultRules
	if req.GetPageSize() > 0 {
		size = int(req.GetPageSize())
	}
	rules, err := s.manager.List(ctx, errorcode.Page{OrgID: access.From(ctx).Org, JobType: req.GetJobType(), Skip: skip, Limit: size + 1})
	if err != nil {
		return nil, err
	}
	rules, _, more := page(rules, size)
	res := &jobv1.ListErrorCodesResponse{ErrorCodes: make([]*jobv1.ErrorCode, len(rules))}
	for i := range rules {
		res.ErrorCodes[i] = fromRule(&rules[i])
	}
	if more {
		res.NextPageToken = rpc.PageToken(part, strconv.Itoa(skip+size))
	}
	return res, nil
}

func (s *errorCodes) SaveErrorCode(ctx context.Context, req *jobv1.SaveErrorCodeRequest) (*jobv1.SaveErrorCodeResponse, error) {
	rule, err := toRule(req.GetErrorCode())
	if err != nil {
		return nil, err
	}
	caller := access.From(ctx)
	rule.OrgID, rule.UpdatedBy = caller.Org, caller.User
	stored, err := s.manager.Save(ctx, rule)
	if err != nil {
		return nil, err
	}
	return &jobv1.SaveErrorCodeResponse{ErrorCode: fromRule(&stored)}, nil
}

func (s *errorCodes) DeleteErrorCode(ctx context.Context, req *jobv1.DeleteErrorCodeRequest) (*jobv1.DeleteErrorCodeResponse, error) {
	id, err := uuid.Parse(req.GetId())
	if err != nil {
		return nil, errs.Invalid("REQUEST_INVALID", "%q is no id of an error code", req.GetId())
	}
	if err := s.manager.Delete(ctx, access.From(ctx).Org, id); err != nil {
		return nil, err
	}
	return &jobv1.DeleteErrorCodeResponse{}, nil
}

// toRule reads a rule. hard_failure is another word for its action.
func toRule(m *jobv1.ErrorCode) (errorcode.Rule, error) {
	rule := errorcode.Rule{
		Description: m.GetDescription(),
		Rule: errorrule.Rule{
			JobType: m.GetJobType(), Task: m.GetTaskTypeScope(), Platform: m.GetPlatformScope(), Command: m.GetCommandScope(),
			Regex: m.GetRegex(), ExitCode: m.GetExitCode(), ErrorCode: m.GetErrorCode(), Message: m.GetDisplayMessage(),
			DisplayCode: m.GetDisplayCode(), Action: m.GetAction(), Retry: int(m.GetRetry()),
		},
	}
	if m.GetHardFailure() {
		if rule.Action != "" && rule.Action != errorrule.ActionHardFailure {
			return rule, errs.Invalid("INVALID_ERROR_CODE", "hard_failure and the action %s exclude each other", rule.Action)
		}
		rule.Action = errorrule.ActionHardFailure
	}
	if m.GetId() != "" {
		id, err := uuid.Parse(m.GetId())
		if err != nil {
			return rule, errs.NotFound("ERROR_CODE_NOT_FOUND", "no error code %s", m.GetId())
		}
		rule.ID = id
	}
	return rule, nil
}

func fromRule(r *errorcode.Rule) *jobv1.ErrorCode {
	return &jobv1.ErrorCode{
		Id: r.ID.String(), JobType: r.JobType, TaskTypeScope: r.Task, PlatformScope: r.Platform, CommandScope: r.Command, Regex: r.Regex,
		ExitCode: r.ExitCode, ErrorCode: r.ErrorCode, Description: r.Description, DisplayMessage: r.Message, DisplayCode: r.DisplayCode,
		Action: r.Action, Retry: int32(r.Retry), HardFailure: r.Action == errorrule.ActionHardFailure, UpdatedAt: timestamppb.New(r.UpdatedAt),
	}
}
