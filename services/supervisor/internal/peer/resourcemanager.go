package peer

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	"github.com/formicary/formicary/libs/placement"
	resourcev1 "github.com/formicary/formicary/proto/gen/formicary/resource/v1"
	"github.com/formicary/formicary/services/supervisor/internal/dispatch"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// ResourceManager hands out slots.
type ResourceManager struct {
	reservations resourcev1.ReservationServiceClient

	mu        sync.Mutex
	unclaimed map[uuid.UUID]bool // freed and not told yet
}

// NewResourceManager uses the connection.
func NewResourceManager(conn grpc.ClientConnInterface) *ResourceManager {
	return &ResourceManager{reservations: resourcev1.NewReservationServiceClient(conn), unclaimed: map[uuid.UUID]bool{}}
}

// Changed notes which slots are freed because their ants did not claim in time: their release says so. It is kept in
// memory alone. What is lost with the process is one of several signs.
func (r *ResourceManager) Changed(c *execution.Changes) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range c.Freed {
		if f.Unclaimed {
			r.unclaimed[f.UID] = true
		}
	}
}

// missed returns those of the releases that were not claimed.
func (r *ResourceManager) missed(releases []uuid.UUID) (uids []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, uid := range releases {
		if r.unclaimed[uid] {
			uids = append(uids, uid.String())
		}
	}
	return uids
}

// forget forgets releases that resource-manager has.
func (r *ResourceManager) forget(releases []uuid.UUID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, uid := range releases {
		delete(r.unclaimed, uid)
	}
}

const reserveTime = 5 * time.Second

// Reserve gives slots back and asks for others, in one call.
func (r *ResourceManager) Reserve(ctx context.Context, releases []uuid.UUID, asks []dispatch.Ask) ([]dispatch.Place, time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, reserveTime)
	defer cancel()
	req := &resourcev1.ReserveRequest{Releases: make([]string, len(releases)), Asks: make([]*resourcev1.Ask, len(asks))}
	for i, uid := range releases {
		req.Releases[i] = uid.String()
	}
	req.Unclaimed = r.missed(releases)
	for i, a := range asks {
		org, text := placement.Split(a.Class)
		class, _ := placement.Parse(text) // one that cannot be read has no tags
		req.Asks[i] = &resourcev1.Ask{AttemptUid: a.UID.String(), OrgId: org, Method: a.Method, Tags: class.Tags, Slots: int32(a.Slots)}
	}
	res, err := r.reservations.Reserve(ctx, req)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("reserve %d places: %w", len(asks), err)
	}
	r.forget(releases)
	if len(res.GetPlacements()) != len(asks) {
		return nil, time.Time{}, fmt.Errorf("reserve %d places: got %d answers", len(asks), len(res.GetPlacements()))
	}
	places := make([]dispatch.Place, len(asks))
	for i, p := range res.GetPlacements() {
		places[i] = dispatch.Place{Ant: p.GetAntId(), Gate: p.GetGate(), Reason: p.GetReason()}
		if p.GetAntId() == "" {
			continue
		}
		if places[i].Session, err = uuid.Parse(p.GetSession()); err != nil {
			return nil, time.Time{}, fmt.Errorf("read session of ant %s: %w", p.GetAntId(), err)
		}
	}
	return places, res.GetDeadline().AsTime(), nil
}
