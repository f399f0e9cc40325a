package api

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/formicary/formicary/libs/errs"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	"github.com/formicary/formicary/services/resource-manager/internal/ant"
	"github.com/formicary/formicary/services/resource-manager/internal/beat"
	"github.com/formicary/formicary/services/resource-manager/internal/join"
)

// Doorbells are the consumers of the ants.
type Doorbells interface {
	Ensure(ctx context.Context, antID string) error
}

// Identities of ants that joined.
type Identities interface {
	Identity(ctx context.Context, antID string) (*join.Identity, error)
}

// Beats take the beats of ants.
type Beats interface {
	Beat(ctx context.Context, b beat.Beat) (beat.Answer, error)
}

// Registration implements RegistrationService.
type Registration struct {
	antv1.UnsafeRegistrationServiceServer
	ants       Ants
	identities Identities
	beats      Beats
	doorbells  Doorbells
	hints      Hints
	lease      time.Duration
	every      time.Duration
}

// NewRegistration returns the service; lease and every are told to the ants.
func NewRegistration(ants Ants, identities Identities, beats Beats, doorbells Doorbells, hints Hints, lease, every time.Duration) *Registration {
	return &Registration{ants: ants, identities: identities, beats: beats, doorbells: doorbells, hints: hints, lease: lease, every: every}
}

// Register opens a session. The doorbell comes first: an ant that has a session can hear of its work.
func (s *Registration) Register(ctx context.Context, r *antv1.RegisterRequest) (*antv1.RegisterResponse, error) {
	if err := s.doorbells.Ensure(ctx, r.GetAntId()); err != nil {
		return nil, err
	}
	id, err := wished(r.GetSession())
	if err != nil {
		return nil, err
	}
	org, pool, err := s.owner(ctx, r.GetAntId())
	if err != nil {
		return nil, err
	}
	offer := ant.Offer{Org: org, Pool: pool, Methods: r.GetMethods(), Tags: r.GetTags(), Slots: int(r.GetSlots()), Version: r.GetVersion(), Labels: r.GetLabels()}
	a, err := s.ants.Register(ctx, r.GetAntId(), func(a *ant.Ant, now time.Time) error {
		return a.Register(offer, id, s.lease, now)
	})
	if err != nil {
		return nil, err
	}
	s.hints.Changed(a.ID, a.State)
	return &antv1.RegisterResponse{
		Session: id.String(), Generation: a.Generation, Lease: durationpb.New(s.lease), HeartbeatEvery: durationpb.New(s.every),
	}, nil
}

// owner is the organisation and the pool that the calling ant joined for. One that did not join has its certificate from the
// colony's own authority: it is of the platform, and works for all.
func (s *Registration) owner(ctx context.Context, antID string) (org, pool string, err error) {
	id, err := s.identities.Identity(ctx, antID)
	switch {
	case err != nil:
		return "", "", err
	case id == nil:
		return "", join.DefaultPool, nil
	case id.Shut: // not every replica may know yet; who has joined again tries again
		return "", "", errs.Unavailable("ANT_REVOKED", "ant %s was shut out a moment ago", antID)
	}
	return id.Org, id.Pool, nil
}

// wished is the session that an ant wants, or a new one.
func wished(session string) (uuid.UUID, error) {
	if session == "" {
		return uuid.NewRandom()
	}
	return uuid.Parse(session)
}

// Heartbeat keeps the lease.
func (s *Registration) Heartbeat(ctx context.Context, r *antv1.HeartbeatRequest) (*antv1.HeartbeatResponse, error) {
	own, err := uuid.Parse(r.GetSession())
	if err != nil {
		return nil, fmt.Errorf("read session: %w", err)
	}
	a, err := s.beats.Beat(ctx, beat.Beat{Ant: r.GetAntId(), Pulse: ant.Pulse{
		Session: own, Generation: r.GetGeneration(), Unhealthy: r.GetUnhealthyMethods(), Draining: r.GetDraining(), Unreachable: r.GetUnreachable(), Heard: r.GetHeard(),
	}})
	if err != nil {
		return nil, session(err, r.GetAntId())
	}
	if a.Changed {
		s.hints.Changed(r.GetAntId(), a.State)
	}
	return &antv1.HeartbeatResponse{Draining: a.DrainWanted}, nil
}

// Leave ends the session.
func (s *Registration) Leave(ctx context.Context, r *antv1.LeaveRequest) (*antv1.LeaveResponse, error) {
	own, err := uuid.Parse(r.GetSession())
	if err != nil {
		return nil, fmt.Errorf("read session: %w", err)
	}
	a, err := s.ants.Update(ctx, r.GetAntId(), func(a *ant.Ant, now time.Time) error { return a.Leave(own, now) })
	if err != nil {
		return nil, session(err, r.GetAntId())
	}
	s.hints.Changed(a.ID, a.State)
	return &antv1.LeaveResponse{}, nil
}
