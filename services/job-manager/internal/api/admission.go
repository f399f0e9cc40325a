package api

import (
	"context"
	"strings"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/formicary/formicary/libs/errs"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	"github.com/formicary/formicary/services/job-manager/internal/admission"
	"github.com/formicary/formicary/services/job-manager/internal/request"
)

type admissions struct {
	jobv1.UnsafeAdmissionServiceServer
	manager *admission.Manager
}

func (s *admissions) BeginEpoch(ctx context.Context, req *jobv1.BeginEpochRequest) (*jobv1.BeginEpochResponse, error) {
	epoch, err := s.manager.Begin(ctx, admission.Term{LeaderID: req.GetLeaderId(), ClusterID: req.GetClusterId(), Revision: req.GetRevision()})
	if err != nil {
		return nil, err
	}
	return &jobv1.BeginEpochResponse{Epoch: epoch}, nil
}

func (s *admissions) ReadQueue(ctx context.Context, req *jobv1.ReadQueueRequest) (*jobv1.ReadQueueResponse, error) {
	look := admission.Look{HeadLimit: int(req.GetHeadLimit())}
	look.After.OrgID, look.After.JobType, _ = strings.Cut(req.GetPageToken(), "\x1f")
	for _, b := range req.GetBehind() {
		r := b.GetRequest()
		ids, err := toIDs([]string{r.GetRequestId()})
		if err != nil {
			return nil, err
		}
		look.Behind = append(look.Behind, admission.Place{OrgID: b.GetOrgId(), JobType: b.GetJobType(), Head: admission.Head{
			ID: ids[0], Priority: int(r.GetPriority()), AgeAt: r.GetAgeAt().AsTime(),
		}})
	}
	q, err := s.manager.Queue(ctx, look)
	if err != nil {
		return nil, err
	}
	res := &jobv1.ReadQueueResponse{Now: timestamppb.New(q.Now), NextDue: stamp(q.NextDue)}
	if q.Next != nil {
		res.NextPageToken = q.Next.OrgID + "\x1f" + q.Next.JobType
	}
	for _, t := range q.Types {
		res.Types = append(res.Types, fromType(t))
	}
	for of, ready := range q.Loads {
		res.Loads = append(res.Loads, &jobv1.ClassLoad{OrgId: of.OrgID, PlacementClass: of.Class, Ready: int32(ready)})
	}
	for _, o := range q.Orgs {
		res.Orgs = append(res.Orgs, &jobv1.OrgStanding{OrgId: o.ID, MaxRunning: o.Most, Running: o.Running})
	}
	return res, nil
}

func fromType(t admission.Type) *jobv1.QueuedType {
	out := &jobv1.QueuedType{
		OrgId: t.OrgID, JobType: t.JobType, MaxConcurrency: int32(t.MaxConcurrency), Active: int32(t.Active), Holders: t.Holders,
		Disabled: t.Disabled, Pending: int32(t.Pending), Heads: make([]*jobv1.QueuedRequest, len(t.Heads)),
	}
	for i, h := range t.Heads {
		out.Heads[i] = &jobv1.QueuedRequest{
			RequestId: h.ID.String(), Priority: int32(h.Priority), AgeAt: timestamppb.New(h.AgeAt), PlacementClass: h.PlacementClass, Resumed: h.Resumed,
		}
	}
	return out
}

func (s *admissions) Admit(ctx context.Context, req *jobv1.AdmitRequest) (*jobv1.AdmitResponse, error) {
	ids, err := toIDs(req.GetRequestIds())
	if err != nil {
		return nil, err
	}
	d := admission.Decision{Epoch: req.GetEpoch(), LeaderID: req.GetLeaderId(), Admit: ids, Unchanged: !req.GetGatesChanged()}
	for _, g := range req.GetGates() {
		d.Gates = append(d.Gates, request.ClosedGate{
			OrgID: g.GetOrgId(), JobType: g.GetJobType(), PlacementClass: g.GetPlacementClass(), Gate: toGate(g.GetGate()),
			Reason: g.GetReason(), Holders: g.GetHolders(),
		})
	}
	admitted, err := s.manager.Admit(ctx, d)
	if err != nil {
		return nil, err
	}
	res := &jobv1.AdmitResponse{RequestIds: make([]string, len(admitted))}
	for i, id := range admitted {
		res.RequestIds[i] = id.String()
	}
	return res, nil
}

func toIDs(texts []string) ([]uuid.UUID, error) {
	ids := make([]uuid.UUID, len(texts))
	for i, text := range texts {
		id, err := uuid.Parse(text)
		if err != nil {
			return nil, errs.Invalid("REQUEST_INVALID", "%q is no request id", text)
		}
		ids[i] = id
	}
	return ids, nil
}

type launches struct {
	jobv1.UnsafeLaunchServiceServer
	manager *request.Manager
}

func (s *launches) GetLaunches(ctx context.Context, req *jobv1.GetLaunchesRequest) (*jobv1.GetLaunchesResponse, error) {
	runs := make([]request.Run, len(req.GetRuns()))
	for i, r := range req.GetRuns() {
		id, err := uuid.Parse(r.GetRequestId())
		if err != nil {
			return nil, errs.Invalid("REQUEST_INVALID", "%q is no request id", r.GetRequestId())
		}
		runs[i] = request.Run{ID: id, Run: int(r.GetRun())}
	}
	list, err := s.manager.Launches(ctx, runs, req.GetPatient())
	if err != nil {
		return nil, err
	}
	res := &jobv1.GetLaunchesResponse{}
	for i := range list {
		l := fromLaunch(&list[i])
		if list[i].Fault == request.NoFault {
			res.Launches = append(res.Launches, l)
			continue
		}
		res.Faults = append(res.Faults, &jobv1.LaunchFault{Kind: jobv1.LaunchFault_Kind(list[i].Fault), Reason: list[i].Reason, Launch: l})
	}
	return res, nil
}

func fromLaunch(l *request.Launch) *jobv1.Launch {
	return &jobv1.Launch{
		RequestId: l.Record.ID.String(), Run: int32(l.Record.Run), OrgId: l.Record.OrgID, JobType: l.Record.JobType,
		DefinitionId: l.Record.DefinitionID.String(), Plan: l.Plan, Vars: l.Vars, Priority: int32(l.Record.Priority),
		AgeAt: timestamppb.New(l.Record.AgeAt), ReuseRun: int32(l.Record.ReuseRun),
		ErrorCode: l.ErrorCode, ErrorMessage: l.ErrorMessage, Skipped: l.Skipped, Cancelled: l.Cancelled,
		Retries: int32(l.Record.Retries), FromTask: l.Record.FromTask, ErrorRules: l.ErrorRules, SubmittedBy: l.Record.CreatedBy,
		DueAt: stamp(l.Record.DueAt()),
	}
}
