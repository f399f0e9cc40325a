package api

import (
	"context"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/exact"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	"github.com/formicary/formicary/services/job-manager/internal/events"
	"github.com/formicary/formicary/services/job-manager/internal/request"
)

type children struct {
	jobv1.UnsafeChildServiceServer
	manager *request.Manager
}

func (s *children) SubmitChildren(ctx context.Context, req *jobv1.SubmitChildrenRequest) (*jobv1.SubmitChildrenResponse, error) {
	forks := make([]request.Fork, len(req.GetChildren()))
	for i, c := range req.GetChildren() {
		parent, err := uuid.Parse(c.GetParentRequestId())
		if err != nil {
			return nil, errs.Invalid("REQUEST_INVALID", "%q is no request id", c.GetParentRequestId())
		}
		forks[i] = request.Fork{
			Key: c.GetKey(), ParentID: parent, Task: c.GetParentTask(), JobType: c.GetJobType(), JobVersion: c.GetJobVersion(),
			User: c.GetSubmittedBy(),
		}
		if forks[i].Params, err = exact.Map(c.GetParams(), c.GetParamsJson()); err != nil {
			forks[i].Fault = badParams(err) // of this child: it must not hold up the others
		}
		if c.Priority != nil {
			p := int(c.GetPriority())
			forks[i].Priority = &p
		}
	}
	answers, err := s.manager.SubmitChildren(ctx, forks)
	if err != nil {
		return nil, err
	}
	res := &jobv1.SubmitChildrenResponse{Answers: make([]*jobv1.ChildAnswer, len(answers))}
	for i, a := range answers {
		res.Answers[i] = &jobv1.ChildAnswer{Key: forks[i].Key, Refused: a.Refused, Reason: a.Reason, Retry: a.Retry}
		if a.RequestID != uuid.Nil {
			res.Answers[i].RequestId = a.RequestID.String()
		}
	}
	return res, nil
}

func (s *children) GetChildren(ctx context.Context, req *jobv1.GetChildrenRequest) (*jobv1.GetChildrenResponse, error) {
	recs, err := s.manager.Children(ctx, req.GetKeys())
	if err != nil {
		return nil, err
	}
	res := &jobv1.GetChildrenResponse{}
	for i := range recs {
		res.Children = append(res.Children, events.Child(&recs[i]))
	}
	return res, nil
}

func (s *children) CancelChildren(ctx context.Context, req *jobv1.CancelChildrenRequest) (*jobv1.CancelChildrenResponse, error) {
	if err := s.manager.CancelChildren(ctx, req.GetKeys(), req.GetReason()); err != nil {
		return nil, err
	}
	return &jobv1.CancelChildrenResponse{}, nil
}
