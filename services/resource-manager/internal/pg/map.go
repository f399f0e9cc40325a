package pg

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/formicary/formicary/services/resource-manager/internal/ant"
	"github.com/formicary/formicary/services/resource-manager/internal/pg/db"
)

func fromRow(r db.Ant) (ant.Ant, error) {
	a := ant.Ant{
		ID: r.ID, Org: r.OrgID, Pool: r.Pool, Session: r.Session, Generation: r.Generation, State: ant.State(r.State), DrainWanted: r.DrainWanted, DrainReported: r.DrainReported,
		Methods: r.Methods, Tags: r.Tags, Unhealthy: r.Unhealthy, Offered: int(r.Offered), Slots: int(r.Slots), Used: int(r.Used),
		Version: r.Version, RegisteredAt: r.RegisteredAt, HeartbeatAt: r.HeartbeatAt, LeaseUntil: r.LeaseUntil, Braked: r.Braked, OfflineAt: r.OfflineAt,
		Unreachable: r.Unreachable, Heard: r.Heard,
		Doubt: ant.Doubt{Unclaimed: int(r.Unclaimed), UnclaimedAt: r.UnclaimedAt, Avoid: time.Duration(r.AvoidMs) * time.Millisecond, Until: r.AvoidedUntil},
	}
	if err := json.Unmarshal(r.Labels, &a.Labels); err != nil {
		return a, fmt.Errorf("read labels of ant %s: %w", r.ID, err)
	}
	return a, nil
}

func toRow(a ant.Ant) (db.SaveAntParams, error) {
	if a.Labels == nil {
		a.Labels = map[string]string{}
	}
	labels, err := json.Marshal(a.Labels)
	if err != nil {
		return db.SaveAntParams{}, fmt.Errorf("encode labels of ant %s: %w", a.ID, err)
	}
	return db.SaveAntParams{
		ID: a.ID, OrgID: a.Org, Pool: a.Pool, Session: a.Session, Generation: a.Generation, State: string(a.State), DrainWanted: a.DrainWanted, DrainReported: a.DrainReported,
		Methods: a.Methods, Tags: a.Tags, Unhealthy: a.Unhealthy, Offered: int32(a.Offered), Slots: int32(a.Slots),
		Version: a.Version, Labels: labels, RegisteredAt: a.RegisteredAt, HeartbeatAt: a.HeartbeatAt, LeaseUntil: a.LeaseUntil, Braked: a.Braked, OfflineAt: a.OfflineAt,
		Unreachable: a.Unreachable, Heard: a.Heard,
		Unclaimed: int32(a.Doubt.Unclaimed), UnclaimedAt: a.Doubt.UnclaimedAt, AvoidMs: a.Doubt.Avoid.Milliseconds(), AvoidedUntil: a.Doubt.Until,
	}, nil
}
