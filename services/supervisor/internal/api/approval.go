package api

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/rpc"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	"github.com/formicary/formicary/services/supervisor/internal/approval"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// Approvals lets people decide about tasks that wait for it.
type Approvals struct {
	executionv1.UnimplementedApprovalServiceServer
	Store approval.Store
}

// VoteOnApproval records the caller's vote.
func (s *Approvals) VoteOnApproval(ctx context.Context, req *executionv1.VoteOnApprovalRequest) (*executionv1.VoteOnApprovalResponse, error) {
	id, err := uuid.Parse(req.GetRequestId())
	if err != nil {
		return nil, badID("request_id", err)
	}
	who := access.From(ctx)
	a, err := s.Store.Vote(ctx, approval.Ballot{
		Key: execution.Key{Request: id}, Org: who.Org, Task: req.GetTask(), User: who.User, Roles: who.Roles,
		Approve: req.GetDecision() == plan.OutcomeApproved, Comment: req.GetComments(), Values: req.GetValues(), Digest: req.GetDigest(),
	})
	if err != nil {
		return nil, err
	}
	return &executionv1.VoteOnApprovalResponse{Approval: approvalOf(a)}, nil
}

// GetApproval returns the newest approval of a task.
func (s *Approvals) GetApproval(ctx context.Context, req *executionv1.GetApprovalRequest) (*executionv1.GetApprovalResponse, error) {
	id, err := uuid.Parse(req.GetRequestId())
	if err != nil {
		return nil, badID("request_id", err)
	}
	a, err := s.Store.Approval(ctx, access.From(ctx).Org, execution.Key{Request: id}, req.GetTask())
	if err != nil {
		return nil, err
	}
	return &executionv1.GetApprovalResponse{Approval: approvalOf(a)}, nil
}

const (
	approvalPage = 100
	approvalList = "approvals"
)

// ListPendingApprovals lists what waits for a vote.
func (s *Approvals) ListPendingApprovals(ctx context.Context, req *executionv1.ListPendingApprovalsRequest) (*executionv1.ListPendingApprovalsResponse, error) {
	size := int(req.GetPageSize())
	if size <= 0 {
		size = approvalPage
	}
	size = min(size, maxPage)
	after, err := parseCursor(req.GetPageToken())
	if err != nil {
		return nil, err
	}
	all, err := s.Store.Pending(ctx, approval.Page{Org: access.From(ctx).Org, After: after, Size: size + 1})
	if err != nil {
		return nil, err
	}
	res := &executionv1.ListPendingApprovalsResponse{}
	if len(all) > size {
		all = all[:size]
		last := all[size-1]
		res.NextPageToken = rpc.PageToken(approvalList, fmt.Sprintf("%d.%d.%s", last.RequestedAt.UnixMicro(), last.Idx, last.ID))
	}
	for _, a := range all {
		res.Approvals = append(res.Approvals, approvalOf(a))
	}
	return res, nil
}

func parseCursor(token string) (approval.Cursor, error) {
	var c approval.Cursor
	place, err := rpc.PagePlace(approvalList, token)
	if err != nil || place == "" {
		return c, err
	}
	var at int64
	var id string
	_, err = fmt.Sscanf(place, "%d.%d.%s", &at, &c.Idx, &id)
	if err == nil {
		c.Execution, err = uuid.Parse(id)
	}
	if err != nil {
		return c, rpc.BadPageToken()
	}
	c.RequestedAt = time.UnixMicro(at)
	return c, nil
}

func approvalOf(a *approval.Approval) *executionv1.Approval {
	out := &executionv1.Approval{
		RequestId: a.Request.String(), Run: int32(a.Run.Run), JobType: a.JobType, Task: a.Task, Description: a.Description, State: approvalState(a.State),
		MinApprovals: int32(max(a.Policy.MinApprovals, 1)), RequireUnanimous: a.Policy.RequireUnanimous,
		AllowedUsers: a.Policy.AllowedUsers, AllowedRoles: a.Policy.AllowedRoles,
		RequestedAt: timestamppb.New(a.RequestedAt), DueAt: stamp(a.DueAt), TimeoutAction: a.Policy.TimeoutAction, Escalated: a.EscalatedAt != nil,
		DecidedAt: stamp(a.DecidedAt), SubmittedBy: a.SubmittedBy, AllowSelfApproval: a.Policy.AllowSelfApproval,
		Digest: a.Digest(),
	}
	for _, v := range a.Votes {
		out.Votes = append(out.Votes, &executionv1.Vote{Voter: v.Voter, Approve: v.Approve, Comment: v.Comment, Values: v.Values, Time: timestamppb.New(v.At)})
	}
	return out
}

func approvalState(s approval.State) executionv1.Approval_State {
	switch s {
	case approval.Pending:
		return executionv1.Approval_PENDING
	case approval.Approved:
		return executionv1.Approval_APPROVED
	case approval.Rejected:
		return executionv1.Approval_REJECTED
	case approval.Cancelled:
		return executionv1.Approval_WITHDRAWN
	}
	return executionv1.Approval_STATE_UNSPECIFIED
}
