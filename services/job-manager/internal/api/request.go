package api

import (
	"context"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/exact"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/rpc"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	"github.com/formicary/formicary/services/job-manager/internal/request"
)

type requests struct {
	jobv1.UnsafeJobRequestServiceServer
	manager *request.Manager
	tasks   executionv1.ExecutionServiceClient
}

func (s *requests) SubmitJob(ctx context.Context, req *jobv1.SubmitJobRequest) (*jobv1.SubmitJobResponse, error) {
	caller := access.From(ctx)
	params, err := exact.Map(req.GetParams(), req.GetParamsJson())
	if err != nil {
		return nil, badParams(err)
	}
	submission := request.Submission{
		OrgID: caller.Org, User: caller.User, JobType: req.GetJobType(), JobVersion: req.GetJobVersion(), Params: params,
		IdempotencyKey: req.GetIdempotencyKey(), Description: req.GetDescription(), ValidateOnly: req.GetValidateOnly(),
	}
	if req.Priority != nil {
		p := int(req.GetPriority())
		submission.Priority = &p
	}
	if req.GetScheduledAt() != nil {
		at := req.GetScheduledAt().AsTime()
		submission.ScheduledAt = &at
	}
	rec, created, err := s.manager.Submit(ctx, submission)
	if err != nil {
		return nil, err
	}
	out, err := fromRecord(&rec, nil)
	if err != nil {
		return nil, err
	}
	return &jobv1.SubmitJobResponse{Request: out, Created: created, Warnings: fromWarnings(s.manager.Advise(ctx, submission))}, nil
}

func badParams(err error) error {
	message := "params_json: " + err.Error()
	return errs.Invalid("PARAMS_INVALID", "%s", message).WithViolations(errs.Violation{Field: "params_json", Description: err.Error(), Reason: source.CodeInvalidValue})
}

func (s *requests) GetJobRequest(ctx context.Context, req *jobv1.GetJobRequestRequest) (*jobv1.GetJobRequestResponse, error) {
	out, tasks, err := s.explain(ctx, req.GetId(), 1, executionv1.Execution_READY)
	if err != nil {
		return nil, err
	}
	if len(tasks) > 0 {
		out.Wait = tasks[0].GetWait()
	}
	return &jobv1.GetJobRequestResponse{Request: out}, nil
}

const requestList = "requests"

func (s *requests) ListJobRequests(ctx context.Context, req *jobv1.ListJobRequestsRequest) (*jobv1.ListJobRequestsResponse, error) {
	f := request.Filter{OrgID: access.From(ctx).Org, JobType: req.GetJobType(), Limit: pageSize(req.GetPageSize()) + 1}
	part := rpc.PartOf(requestList, req.GetJobType(), req.GetParentRequestId(), req.GetStates())
	token, err := rpc.PagePlace(part, req.GetPageToken())
	if err != nil {
		return nil, err
	}
	if token != "" {
		if f.Before, err = uuid.Parse(token); err != nil {
			return nil, rpc.BadPageToken()
		}
	}
	if id := req.GetParentRequestId(); id != "" {
		if f.Parent, err = uuid.Parse(id); err != nil {
			return nil, errs.Invalid("REQUEST_INVALID", "%q is no request id", id)
		}
	}
	if f.States, err = toStates(req.GetStates()); err != nil {
		return nil, err
	}
	list, err := s.manager.List(ctx, f)
	if err != nil {
		return nil, err
	}
	list, last, more := page(list, pageSize(req.GetPageSize()))
	waits, err := s.manager.Waits(ctx, list, false)
	if err != nil {
		return nil, err
	}
	res := &jobv1.ListJobRequestsResponse{}
	for i := range list {
		out, err := fromRecord(&list[i], waits[i])
		if err != nil {
			return nil, err
		}
		res.Requests = append(res.Requests, out)
	}
	if more {
		res.NextPageToken = rpc.PageToken(part, last.ID.String())
	}
	return res, nil
}

func (s *requests) CancelJobRequest(ctx context.Context, req *jobv1.CancelJobRequestRequest) (*jobv1.CancelJobRequestResponse, error) {
	c := access.From(ctx)
	if access.OwnOnly(ctx) {
		rec, err := s.manager.Get(ctx, c.Org, req.GetId())
		if err != nil {
			return nil, err
		}
		if rec.CreatedBy != c.User {
			return nil, errs.Denied("PERMISSION_MISSING", "request %s is not yours: to cancel those of others needs the permission request.cancel", rec.ID)
		}
	}
	rec, err := s.manager.Cancel(ctx, c.Org, req.GetId(), req.GetReason())
	out, err := changed(rec, err)
	return &jobv1.CancelJobRequestResponse{Request: out}, err
}

func (s *requests) PauseJobRequest(ctx context.Context, req *jobv1.PauseJobRequestRequest) (*jobv1.PauseJobRequestResponse, error) {
	rec, err := s.manager.Pause(ctx, access.From(ctx).Org, req.GetId())
	out, err := changed(rec, err)
	return &jobv1.PauseJobRequestResponse{Request: out}, err
}

func (s *requests) ResumeJobRequest(ctx context.Context, req *jobv1.ResumeJobRequestRequest) (*jobv1.ResumeJobRequestResponse, error) {
	rec, err := s.manager.Resume(ctx, access.From(ctx).Org, req.GetId())
	out, err := changed(rec, err)
	return &jobv1.ResumeJobRequestResponse{Request: out}, err
}

func (s *requests) RestartJobRequest(ctx context.Context, req *jobv1.RestartJobRequestRequest) (*jobv1.RestartJobRequestResponse, error) {
	rec, err := s.manager.Restart(ctx, access.From(ctx).Org, req.GetId(), request.Wish{
		Hard: req.GetHard(), FromTask: req.GetFromTask(), JobVersion: req.GetJobVersion(),
	})
	out, err := changed(rec, err)
	return &jobv1.RestartJobRequestResponse{Request: out}, err
}

func changed(rec request.Record, err error) (*jobv1.JobRequest, error) {
	if err != nil {
		return nil, err
	}
	return fromRecord(&rec, nil)
}

const explainedTasks = 100

func (s *requests) ExplainJobRequest(ctx context.Context, req *jobv1.ExplainJobRequestRequest) (*jobv1.ExplainJobRequestResponse, error) {
	out, tasks, err := s.explain(ctx, req.GetId(), explainedTasks,
		executionv1.Execution_READY, executionv1.Execution_EXECUTING, executionv1.Execution_MANUAL_APPROVAL_REQUIRED)
	if err != nil {
		return nil, err
	}
	if len(tasks) > 0 && out.GetState() == jobv1.JobRequest_READY {
		out.Wait = tasks[0].GetWait()
	}
	return &jobv1.ExplainJobRequestResponse{Request: out, Tasks: tasks}, nil
}
