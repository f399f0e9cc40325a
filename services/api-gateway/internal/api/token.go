package api

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/rpc"
	identityv1 "github.com/formicary/formicary/proto/gen/formicary/identity/v1"
	"github.com/formicary/formicary/services/api-gateway/internal/identity"
	"github.com/formicary/formicary/services/api-gateway/internal/login"
)

type tokens struct {
	identityv1.UnsafeTokenServiceServer
	ids    *identity.Manager
	logins *login.Manager
}

func (s *tokens) CreateToken(ctx context.Context, req *identityv1.CreateTokenRequest) (*identityv1.CreateTokenResponse, error) {
	c := access.From(ctx)
	t := login.Token{Owner: c.User, Org: c.Org, Name: req.GetName(), Scopes: req.GetScopes()}
	if req.GetAllOrgs() {
		t.Org = ""
	}
	if len(t.Scopes) == 0 {
		t.Scopes = nil
	}
	if c.Credential == "" {
		return nil, errs.Precondition("USER_LOCAL", "%s is no user: this colony needs no login, so there is nobody for a token to act for; make a user, or start it with --auth", c.User)
	}
	var by login.Bounds
	if byToken(ctx) {
		id, err := uuid.Parse(c.Credential)
		if err != nil {
			return nil, fmt.Errorf("read the id of the token of a call: %w", err)
		}
		by.Token = id
	}
	secret, t, err := s.logins.CreateToken(ctx, t, req.GetLife().AsDuration(), by)
	if err != nil {
		return nil, err
	}
	return &identityv1.CreateTokenResponse{Token: fromToken(t), Secret: secret}, nil
}

func (s *tokens) ListTokens(ctx context.Context, req *identityv1.ListTokensRequest) (*identityv1.ListTokensResponse, error) {
	c := access.From(ctx)
	who, err := owner(c, req.GetUser(), rules(c))
	if err != nil {
		return nil, err
	}
	found, next, err := list(rpc.PartOf("tokens", who), req.GetPageToken(), req.GetPageSize(), func(after string, most int) ([]login.Token, error) {
		id, err := placeID(after)
		if err != nil {
			return nil, err
		}
		return s.logins.Tokens(ctx, who, id, most)
	}, func(t login.Token) string { return t.ID.String() })
	if err != nil {
		return nil, err
	}
	return &identityv1.ListTokensResponse{Tokens: each(found, fromToken), NextPageToken: next}, nil
}

func (s *tokens) RevokeToken(ctx context.Context, req *identityv1.RevokeTokenRequest) (*identityv1.RevokeTokenResponse, error) {
	c := access.From(ctx)
	id, err := uuid.Parse(req.GetId())
	if err != nil {
		return nil, err // the proto's rule has checked it
	}
	t, err := s.logins.Token(ctx, id)
	if err != nil {
		return nil, err
	}
	if t.Owner != c.User && !rules(c) || req.GetUser() != "" && req.GetUser() != t.Owner {
		return nil, login.NoToken(req.GetId())
	}
	return &identityv1.RevokeTokenResponse{}, s.logins.Revoke(ctx, id)
}

func fromToken(t login.Token) *identityv1.Token {
	to := &identityv1.Token{
		Id: t.ID.String(), User: t.Owner, Org: t.Org, Name: t.Name, Scopes: t.Scopes, AllScopes: t.Scopes == nil,
		CreatedAt: timestamppb.New(t.CreatedAt), ExpiresAt: timestamppb.New(t.ExpiresAt),
	}
	if t.LastUsedAt != nil {
		to.LastUsedAt = timestamppb.New(*t.LastUsedAt)
	}
	return to
}
