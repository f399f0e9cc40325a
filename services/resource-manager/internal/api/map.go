// Package api answers the calls to resource-manager.
package api

import (
	"slices"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/formicary/formicary/libs/placement"
	resourcev1 "github.com/formicary/formicary/proto/gen/formicary/resource/v1"
	"github.com/formicary/formicary/services/resource-manager/internal/ant"
	"github.com/formicary/formicary/services/resource-manager/internal/events"
	"github.com/formicary/formicary/services/resource-manager/internal/reserve"
)

func toProto(a ant.Ant) *resourcev1.Ant {
	out := &resourcev1.Ant{
		Id: a.ID, OrgId: a.Org, Pool: a.Pool, State: events.State(a.State), Methods: a.Methods, Tags: a.Tags, Slots: int32(a.Offered), Used: int32(a.Used),
		Version: a.Version, Labels: a.Labels, Generation: a.Generation, RegisteredAt: timestamppb.New(a.RegisteredAt),
		HeartbeatAt: timestamppb.New(a.HeartbeatAt), UnhealthyMethods: a.Unhealthy,
		Unreachable: a.Unreachable, Unclaimed: int32(a.Doubt.Unclaimed),
	}
	if a.Doubt.Until != nil {
		out.AvoidedUntil = timestamppb.New(*a.Doubt.Until)
	}
	return out
}

func toCapacity(a ant.Ant) *resourcev1.AntCapacity {
	healthy := slices.DeleteFunc(slices.Clone(a.Methods), func(m string) bool { return slices.Contains(a.Unhealthy, m) })
	return &resourcev1.AntCapacity{AntId: a.ID, OrgId: a.Org, Methods: healthy, Tags: a.Tags, Slots: int32(a.Offered), Used: int32(a.Used)}
}

func toCall(r *resourcev1.ReserveRequest) (reserve.Call, error) {
	var c reserve.Call
	c.Releases, c.Unclaimed = toUIDs(r.GetReleases()), toUIDs(r.GetUnclaimed())
	c.Asks = make([]reserve.Ask, len(r.GetAsks()))
	for i, k := range r.GetAsks() {
		uid, err := uuid.Parse(k.GetAttemptUid())
		if err != nil {
			return c, err
		}
		c.Asks[i] = reserve.Ask{UID: uid, Need: placement.Need{
			Org: k.GetOrgId(), Class: placement.Class{Method: k.GetMethod(), Tags: k.GetTags(), Slots: max(int(k.GetSlots()), 1)},
		}}
	}
	return c, nil
}

func toUIDs(in []string) []uuid.UUID {
	var out []uuid.UUID
	for _, u := range in {
		if uid, err := uuid.Parse(u); err == nil { // what is no uid holds nothing
			out = append(out, uid)
		}
	}
	return out
}

func toPlacements(asks []*resourcev1.Ask, answers []reserve.Answer) []*resourcev1.Placement {
	out := make([]*resourcev1.Placement, len(answers))
	for i, a := range answers {
		p := &resourcev1.Placement{AttemptUid: asks[i].GetAttemptUid(), AntId: a.Ant, Gate: string(a.Gate), Reason: a.Reason}
		if a.Ant != "" {
			p.Session = a.Session.String()
		}
		out[i] = p
	}
	return out
}
