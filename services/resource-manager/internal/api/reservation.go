package api

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/formicary/formicary/libs/errs"
	resourcev1 "github.com/formicary/formicary/proto/gen/formicary/resource/v1"
	"github.com/formicary/formicary/services/resource-manager/internal/reserve"
)

// Reservation implements ReservationService.
type Reservation struct {
	resourcev1.UnsafeReservationServiceServer
	batcher *reserve.Batcher
	ants    Ants
}

// NewReservation returns the service.
func NewReservation(batcher *reserve.Batcher, ants Ants) *Reservation {
	return &Reservation{batcher: batcher, ants: ants}
}

// Reserve frees and places.
func (s *Reservation) Reserve(ctx context.Context, r *resourcev1.ReserveRequest) (*resourcev1.ReserveResponse, error) {
	call, err := toCall(r)
	if err != nil {
		return nil, errs.Invalid("REQUEST_INVALID", "attempt_uid: %v", err)
	}
	out, err := s.batcher.Reserve(ctx, call)
	if err != nil {
		return nil, err
	}
	return &resourcev1.ReserveResponse{Placements: toPlacements(r.GetAsks(), out.Answers), Deadline: timestamppb.New(out.Deadline)}, nil
}

// GetCapacity returns the ants that take work.
func (s *Reservation) GetCapacity(ctx context.Context, _ *resourcev1.GetCapacityRequest) (*resourcev1.GetCapacityResponse, error) {
	able, err := s.ants.Able(ctx)
	if err != nil {
		return nil, err
	}
	res := &resourcev1.GetCapacityResponse{Ants: make([]*resourcev1.AntCapacity, len(able))}
	for i, a := range able {
		res.Ants[i] = toCapacity(a)
	}
	return res, nil
}
