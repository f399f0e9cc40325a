package lead

import (
	"google.golang.org/protobuf/types/known/timestamppb"

	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	resourcev1 "github.com/formicary/formicary/proto/gen/formicary/resource/v1"
	"github.com/formicary/formicary/services/scheduler/internal/plan"
)

func snapshot(res *jobv1.ReadQueueResponse, fleet *plan.Fleet) plan.Snapshot {
	s := plan.Snapshot{Types: make([]plan.Type, len(res.GetTypes())), Loads: make(map[plan.Load]int, len(res.GetLoads())), Fleet: fleet}
	for i, t := range res.GetTypes() {
		s.Types[i] = plan.Type{
			Org: t.GetOrgId(), Name: t.GetJobType(), MaxConcurrency: int(t.GetMaxConcurrency()), Active: int(t.GetActive()),
			Holders: t.GetHolders(), Disabled: t.GetDisabled(), Pending: int(t.GetPending()), Heads: heads(t.GetHeads()),
		}
	}
	for _, l := range res.GetLoads() {
		s.Loads[plan.Load{Org: l.GetOrgId(), Class: l.GetPlacementClass()}] += int(l.GetReady())
	}
	if len(res.GetOrgs()) > 0 {
		s.Quotas = make(map[string]plan.Quota, len(res.GetOrgs()))
	}
	for _, o := range res.GetOrgs() {
		s.Quotas[o.GetOrgId()] = plan.Quota{Most: int(o.GetMaxRunning()), Running: int(o.GetRunning())}
	}
	if due := res.GetNextDue(); due != nil {
		s.NextDue = due.AsTime()
	}
	return s
}

func heads(in []*jobv1.QueuedRequest) []plan.Head {
	out := make([]plan.Head, len(in))
	for i, h := range in {
		out[i] = plan.Head{
			ID: h.GetRequestId(), Priority: int(h.GetPriority()), Age: h.GetAgeAt().AsTime(), Class: h.GetPlacementClass(), Resumed: h.GetResumed(),
		}
	}
	return out
}

func fleet(res *resourcev1.GetCapacityResponse) *plan.Fleet {
	ants := make([]plan.Ant, len(res.GetAnts()))
	for i, a := range res.GetAnts() {
		ants[i] = plan.Ant{ID: a.GetAntId(), Org: a.GetOrgId(), Methods: a.GetMethods(), Tags: a.GetTags(), Slots: int(a.GetSlots()), Used: int(a.GetUsed())}
	}
	return plan.NewFleet(ants)
}

func place(p plan.Place) *jobv1.QueuePlace {
	return &jobv1.QueuePlace{OrgId: p.Org, JobType: p.Type, Request: &jobv1.QueuedRequest{
		RequestId: p.Head.ID, Priority: int32(p.Head.Priority), AgeAt: timestamppb.New(p.Head.Age),
	}}
}

// gateBytes keeps a decision below what a message may have: a class, which a reason says again, has up to 4 KiB. The
// requests behind a gate that is left out wait all the same, without that reason.
const gateBytes = 8 << 20

func gates(in []plan.Gate) []*jobv1.ClosedGate {
	out := make([]*jobv1.ClosedGate, 0, len(in))
	size := 0
	for _, g := range in {
		if size += len(g.Class) + len(g.Reason) + 400; size > gateBytes {
			break
		}
		out = append(out, &jobv1.ClosedGate{
			OrgId: g.Org, JobType: g.JobType, PlacementClass: g.Class, Gate: kind(g.Kind), Reason: g.Reason, Holders: g.Holders,
		})
	}
	return out
}

func kind(k plan.Kind) jobv1.Gate {
	switch k {
	case plan.Disabled:
		return jobv1.Gate_GATE_DISABLED
	case plan.Concurrency:
		return jobv1.Gate_GATE_CONCURRENCY
	case plan.Capacity:
		return jobv1.Gate_GATE_CAPACITY
	case plan.NoAnt:
		return jobv1.Gate_GATE_NO_ANT
	case plan.OrgQuota:
		return jobv1.Gate_GATE_QUOTA
	default:
		return jobv1.Gate_GATE_UNSPECIFIED
	}
}
