package api

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/durationpb"

	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	"github.com/formicary/formicary/services/resource-manager/internal/ant"
)

// Doorbells are the consumers of the ants.
type Doorbells interface {
	Ensure(ctx context.Context, antID string) error
}

// Registration implements RegistrationService.
type Registration struct {
	antv1.UnsafeRegistrationServiceServer
	ants      Ants
	doorbells Doorbells
	hints     Hints
	lease     time.Duration
	beat      time.Duration
}

// NewRegistration returns the service; lease and beat are told to the ants.
func NewRegistration(ants Ants, doorbells Doorbells, hints Hints, lease, beat time.Duration) *Registration {
	return &Registration{ants: ants, doorbells: doorbells, hints: hints, lease: lease, beat: beat}
}

// Register opens a session. The doorbell comes first: an ant that has a session can hear of its work.
func (s *Registration) Register(ctx context.Context, r *antv1.RegisterRequest) (*antv1.RegisterResponse, error) {
	if err := s.doorbells.Ensure(ctx, r.GetAntId()); err != nil {
		return nil, err
	}
	id, err := uuid.NewRandom()
	if err != nil {
		return nil, fmt.Errorf("make session: %w", err)
	}
	offer := ant.Offer{Methods: r.GetMethods(), Tags: r.GetTags(), Slots: int(r.GetSlots()), Version: r.GetVersion(), Labels: r.GetLabels()}
	a, err := s.ants.Register(ctx, r.GetAntId(), func(a *ant.Ant, now time.Time) error {
		return a.Register(offer, id, s.lease, now)
	})
	if err != nil {
		return nil, err
	}
	s.hints.Changed(a.ID, a.State)
	return &antv1.RegisterResponse{
		Session: id.String(), Generation: a.Generation, Lease: durationpb.New(s.lease), HeartbeatEvery: durationpb.New(s.beat),
	}, nil
}

// Heartbeat keeps the lease.
func (s *Registration) Heartbeat(ctx context.Context, r *antv1.HeartbeatRequest) (*antv1.HeartbeatResponse, error) {
	var before ant.Ant
	a, err := s.change(ctx, r, func(a *ant.Ant, own uuid.UUID, now time.Time) error {
		before = *a
		return a.Beat(own, r.GetUnhealthyMethods(), r.GetDraining(), s.lease, now)
	})
	if err != nil {
		return nil, err
	}
	if before.State != a.State || !slices.Equal(before.Unhealthy, a.Unhealthy) {
		s.hints.Changed(a.ID, a.State)
	}
	return &antv1.HeartbeatResponse{Draining: a.DrainWanted}, nil
}

// Leave ends the session.
func (s *Registration) Leave(ctx context.Context, r *antv1.LeaveRequest) (*antv1.LeaveResponse, error) {
	a, err := s.change(ctx, r, (*ant.Ant).Leave)
	if err != nil {
		return nil, err
	}
	s.hints.Changed(a.ID, a.State)
	return &antv1.LeaveResponse{}, nil
}

// fromAnt is what every call of a session carries.
type fromAnt interface {
	GetAntId() string
	GetSession() string
}

func (s *Registration) change(ctx context.Context, r fromAnt, f func(*ant.Ant, uuid.UUID, time.Time) error) (ant.Ant, error) {
	own, err := uuid.Parse(r.GetSession())
	if err != nil {
		return ant.Ant{}, fmt.Errorf("read session: %w", err)
	}
	a, err := s.ants.Update(ctx, r.GetAntId(), func(a *ant.Ant, now time.Time) error { return f(a, own, now) })
	return a, session(err, r.GetAntId())
}
