package api

import (
	"context"
	"slices"
	"time"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/placement"
	"github.com/formicary/formicary/libs/rpc"
	resourcev1 "github.com/formicary/formicary/proto/gen/formicary/resource/v1"
	"github.com/formicary/formicary/services/resource-manager/internal/ant"
)

// Ants is the table of ants.
type Ants interface {
	Register(ctx context.Context, id string, f func(a *ant.Ant, now time.Time) error) (ant.Ant, error)
	Update(ctx context.Context, id string, f func(a *ant.Ant, now time.Time) error) (ant.Ant, error)
	// Get and List know the ants that are offered to an organisation, All those of anybody.
	Get(ctx context.Context, org, id string) (ant.Ant, error)
	List(ctx context.Context, org, after string, limit int) ([]ant.Ant, error)
	All(ctx context.Context, after string, limit int) ([]ant.Ant, error)
	Able(ctx context.Context) ([]ant.Ant, error)
}

// Hints tells others that an ant changed.
type Hints interface {
	Changed(id string, state ant.State)
}

// Ant implements AntService.
type Ant struct {
	resourcev1.UnsafeAntServiceServer
	ants  Ants
	hints Hints
}

// NewAnt returns the service.
func NewAnt(ants Ants, hints Hints) *Ant { return &Ant{ants: ants, hints: hints} }

const (
	defaultPage = 50
	antList     = "ants"
)

// ListAnts lists them by id.
func (s *Ant) ListAnts(ctx context.Context, r *resourcev1.ListAntsRequest) (*resourcev1.ListAntsResponse, error) {
	size := int(r.GetPageSize())
	if size == 0 {
		size = defaultPage
	}
	after, err := rpc.PagePlace(antList, r.GetPageToken())
	if err != nil {
		return nil, err
	}
	ants, err := s.ants.List(ctx, access.From(ctx).Org, after, size+1)
	if err != nil {
		return nil, err
	}
	res := &resourcev1.ListAntsResponse{}
	if len(ants) > size {
		ants = ants[:size]
		res.NextPageToken = rpc.PageToken(antList, ants[size-1].ID)
	}
	for _, a := range ants {
		res.Ants = append(res.Ants, toProto(a))
	}
	return res, nil
}

// GetAnt returns one.
func (s *Ant) GetAnt(ctx context.Context, r *resourcev1.GetAntRequest) (*resourcev1.GetAntResponse, error) {
	a, err := s.ants.Get(ctx, access.From(ctx).Org, r.GetId())
	if err != nil {
		return nil, err
	}
	return &resourcev1.GetAntResponse{Ant: toProto(a)}, nil
}

// DrainAnt places nothing more on it.
func (s *Ant) DrainAnt(ctx context.Context, r *resourcev1.DrainAntRequest) (*resourcev1.DrainAntResponse, error) {
	a, err := s.steer(ctx, r.GetId(), (*ant.Ant).Drain)
	if err != nil {
		return nil, err
	}
	return &resourcev1.DrainAntResponse{Ant: toProto(a)}, nil
}

// ResumeAnt ends a drain.
func (s *Ant) ResumeAnt(ctx context.Context, r *resourcev1.ResumeAntRequest) (*resourcev1.ResumeAntResponse, error) {
	a, err := s.steer(ctx, r.GetId(), (*ant.Ant).Resume)
	if err != nil {
		return nil, err
	}
	return &resourcev1.ResumeAntResponse{Ant: toProto(a)}, nil
}

func (s *Ant) steer(ctx context.Context, id string, f func(*ant.Ant, time.Time) error) (ant.Ant, error) {
	c := access.From(ctx)
	a, err := s.ants.Update(ctx, id, func(a *ant.Ant, now time.Time) error {
		switch {
		case !placement.Offered(a.Org, c.Org):
			return errs.NotFound("ANT_NOT_FOUND", "ant %s not found", id)
		case a.Org == "" && !slices.Contains(c.Roles, access.PlatformAdmin):
			return errs.Denied("ANT_SHARED", "ant %s works for all organisations: it is drained and resumed by %s only", id, access.PlatformAdmin)
		}
		return f(a, now)
	})
	if err == nil {
		s.hints.Changed(a.ID, a.State)
	}
	return a, err
}

// session turns "no such ant" into what an ant must hear: register again.
func session(err error, id string) error {
	if errs.Reason(err) == "ANT_NOT_FOUND" {
		return errs.NotFound("ANT_UNKNOWN", "ant %s is not known: register again", id)
	}
	return err
}
