package api

import (
	"context"
	"slices"

	"github.com/google/uuid"
	"golang.org/x/time/rate"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/errs"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	resourcev1 "github.com/formicary/formicary/proto/gen/formicary/resource/v1"
	"github.com/formicary/formicary/services/resource-manager/internal/ant"
	"github.com/formicary/formicary/services/resource-manager/internal/join"
)

// Join implements JoinService.
type Join struct {
	antv1.UnsafeJoinServiceServer
	desk  *join.Desk
	limit *rate.Limiter
}

const (
	joinRate  = 20 // a second, of all together: nobody without a certificate keeps the database busy
	joinBurst = 50
)

// NewJoin returns the service.
func NewJoin(desk *join.Desk) *Join {
	return &Join{desk: desk, limit: rate.NewLimiter(joinRate, joinBurst)}
}

// Join lets an ant in.
func (s *Join) Join(ctx context.Context, r *antv1.JoinRequest) (*antv1.JoinResponse, error) {
	if !s.limit.Allow() {
		return nil, errs.Exhausted("JOIN_BUSY", "too many ants want to join at once: try again in a second")
	}
	got, err := s.desk.Join(ctx, r.GetAntId(), r.GetToken(), r.GetPool(), r.GetCsr())
	if err != nil {
		return nil, err
	}
	return &antv1.JoinResponse{Certificate: got.Certificate, Authorities: [][]byte{got.Authority}}, nil
}

// Renew gives an ant its next certificate.
func (s *Join) Renew(ctx context.Context, r *antv1.RenewRequest) (*antv1.RenewResponse, error) {
	got, err := s.desk.Renew(ctx, r.GetAntId(), r.GetCsr())
	if err != nil {
		return nil, err
	}
	return &antv1.RenewResponse{Certificate: got.Certificate, Authorities: [][]byte{got.Authority}}, nil
}

// Identity implements AntIdentityService.
type Identity struct {
	resourcev1.UnsafeAntIdentityServiceServer
	desk    *join.Desk
	hints   Hints
	changed func(context.Context) error // makes what this replica knows of revoked ants fresh
}

// NewIdentity returns the service.
func NewIdentity(desk *join.Desk, hints Hints, changed func(context.Context) error) *Identity {
	return &Identity{desk: desk, hints: hints, changed: changed}
}

// platform says whether the caller speaks for all organisations.
func platform(ctx context.Context) (org string, every bool) {
	c := access.From(ctx)
	return c.Org, slices.Contains(c.Roles, access.PlatformAdmin)
}

// CreateJoinToken makes a token.
func (s *Identity) CreateJoinToken(ctx context.Context, r *resourcev1.CreateJoinTokenRequest) (*resourcev1.CreateJoinTokenResponse, error) {
	own, every := platform(ctx)
	org := own
	if r.GetOrgId() != "" {
		org = r.GetOrgId()
	}
	if r.GetShared() {
		org = ""
	}
	if org != own && !every {
		return nil, errs.Denied("ORG_OTHER", "only a platform-admin lets in ants of other organisations, or ants that serve all")
	}
	text, t, err := s.desk.Create(ctx, org, r.GetPool(), access.From(ctx).User)
	if err != nil {
		return nil, err
	}
	return &resourcev1.CreateJoinTokenResponse{Token: text, Info: tokenProto(t)}, nil
}

func tokenProto(t join.Token) *resourcev1.JoinToken {
	return &resourcev1.JoinToken{
		Id: t.ID.String(), OrgId: t.Org, Pool: t.Pool, CreatedBy: t.CreatedBy, CreatedAt: timestamppb.New(t.CreatedAt), ExpiresAt: timestamppb.New(t.ExpiresAt), UsedBy: t.UsedBy,
	}
}

// ListJoinTokens lists them.
func (s *Identity) ListJoinTokens(ctx context.Context, _ *resourcev1.ListJoinTokensRequest) (*resourcev1.ListJoinTokensResponse, error) {
	org, every := platform(ctx)
	tokens, err := s.desk.Tokens(ctx, org, every)
	if err != nil {
		return nil, err
	}
	res := &resourcev1.ListJoinTokensResponse{}
	for _, t := range tokens {
		res.Tokens = append(res.Tokens, tokenProto(t))
	}
	return res, nil
}

// RevokeJoinToken ends one.
func (s *Identity) RevokeJoinToken(ctx context.Context, r *resourcev1.RevokeJoinTokenRequest) (*resourcev1.RevokeJoinTokenResponse, error) {
	id, err := uuid.Parse(r.GetId())
	if err != nil {
		return nil, errs.Invalid("REQUEST_INVALID", "id is not a UUID: %v", err)
	}
	org, every := platform(ctx)
	return &resourcev1.RevokeJoinTokenResponse{}, s.desk.Remove(ctx, id, org, every)
}

// RevokeAnt shuts an ant out.
func (s *Identity) RevokeAnt(ctx context.Context, r *resourcev1.RevokeAntRequest) (*resourcev1.RevokeAntResponse, error) {
	org, every := platform(ctx)
	if err := s.desk.Revoke(ctx, r.GetId(), org, every); err != nil {
		return nil, err
	}
	s.hints.Changed(r.GetId(), ant.Offline)
	return &resourcev1.RevokeAntResponse{}, s.changed(ctx)
}

// ListRevokedAnts tells services.
func (s *Identity) ListRevokedAnts(ctx context.Context, _ *resourcev1.ListRevokedAntsRequest) (*resourcev1.ListRevokedAntsResponse, error) {
	all, err := s.desk.Revoked(ctx)
	if err != nil {
		return nil, err
	}
	res := &resourcev1.ListRevokedAntsResponse{}
	for id, before := range all {
		res.Ants = append(res.Ants, &resourcev1.RevokedAnt{AntId: id, Before: timestamppb.New(before)})
	}
	return res, nil
}
