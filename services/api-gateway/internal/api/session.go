package api

import (
	"context"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/errs"
	identityv1 "github.com/formicary/formicary/proto/gen/formicary/identity/v1"
	"github.com/formicary/formicary/services/api-gateway/internal/gate"
	"github.com/formicary/formicary/services/api-gateway/internal/identity"
	"github.com/formicary/formicary/services/api-gateway/internal/login"
	"github.com/formicary/formicary/services/api-gateway/internal/sso"
)

type sessions struct {
	identityv1.UnsafeSessionServiceServer
	logins *login.Manager
	ways   Ways
}

// from is where a call comes from.
func from(ctx context.Context, kind login.Kind) login.From {
	c := gate.CredentialOf(ctx)
	return login.From{Address: c.Address, Agent: c.Agent, Kind: kind}
}

func (s *sessions) ListLoginWays(context.Context, *identityv1.ListLoginWaysRequest) (*identityv1.ListLoginWaysResponse, error) {
	names, _ := s.ways.Providers.Names()
	return &identityv1.ListLoginWaysResponse{Passwords: s.logins.Passwords(), Providers: names, Needed: s.ways.Needed, Url: s.ways.URL}, nil
}

func (s *sessions) Login(ctx context.Context, req *identityv1.LoginRequest) (*identityv1.LoginResponse, error) {
	kind := login.CommandLine
	if req.GetCookie() {
		kind = login.Browser
	}
	secret, n, err := s.logins.Password(ctx, req.GetUser(), req.GetPassword(), from(ctx, kind))
	if err != nil {
		return nil, err
	}
	return &identityv1.LoginResponse{Session: fromSession("")(n), Secret: secret}, nil
}

func (s *sessions) Bootstrap(ctx context.Context, req *identityv1.BootstrapRequest) (*identityv1.BootstrapResponse, error) {
	secret, n, err := s.logins.Bootstrap(ctx, req.GetCode(), req.GetUser(), req.GetPassword(), from(ctx, login.CommandLine))
	if err != nil {
		return nil, err
	}
	return &identityv1.BootstrapResponse{Session: fromSession("")(n), Secret: secret}, nil
}

func (s *sessions) SignUp(ctx context.Context, req *identityv1.SignUpRequest) (*identityv1.SignUpResponse, error) {
	u := identity.User{Name: req.GetUser(), Title: req.GetTitle(), Email: req.GetEmail()}
	secret, n, err := s.logins.SignUp(ctx, req.GetCode(), u, req.GetPassword(), from(ctx, login.CommandLine))
	if err != nil {
		return nil, err
	}
	return &identityv1.SignUpResponse{Session: fromSession("")(n), Secret: secret}, nil
}

func (s *sessions) Join(ctx context.Context, req *identityv1.JoinRequest) (*identityv1.JoinResponse, error) {
	c, err := person(ctx)
	if err == nil {
		err = needSession(ctx)
	}
	if err != nil {
		return nil, err
	}
	i, err := s.logins.Join(ctx, req.GetCode(), c.User, gate.CredentialOf(ctx).Address)
	if err != nil {
		return nil, err
	}
	return &identityv1.JoinResponse{Org: i.Org, Role: i.Role}, nil
}

// Logout is open to everybody: who holds a session that has ended, or acts in an org that is no more, wants to be rid of it.
func (s *sessions) Logout(ctx context.Context, req *identityv1.LogoutRequest) (*identityv1.LogoutResponse, error) {
	c := access.From(ctx)
	if c.Kind != access.Person || c.Credential == "" {
		return &identityv1.LogoutResponse{}, nil
	}
	if req.GetEverywhere() {
		if err := needSession(ctx); err != nil {
			return nil, err
		}
		n, err := s.logins.EndAll(ctx, c.User)
		return &identityv1.LogoutResponse{Ended: int32(n)}, err
	}
	id, err := uuid.Parse(c.Credential)
	if err != nil {
		return nil, err
	}
	err = s.logins.End(ctx, c.User, id)
	if errs.CodeOf(err) == errs.CodeNotFound { // a token, or somebody was quicker
		return &identityv1.LogoutResponse{}, nil
	}
	return &identityv1.LogoutResponse{Ended: 1}, err
}

func (s *sessions) ListSessions(ctx context.Context, req *identityv1.ListSessionsRequest) (*identityv1.ListSessionsResponse, error) {
	c := access.From(ctx)
	who, err := owner(c, req.GetUser(), rules(c))
	if err != nil {
		return nil, err
	}
	found, err := s.logins.Sessions(ctx, who)
	if err != nil {
		return nil, err
	}
	return &identityv1.ListSessionsResponse{Sessions: each(found, fromSession(c.Credential))}, nil
}

func (s *sessions) EndSession(ctx context.Context, req *identityv1.EndSessionRequest) (*identityv1.EndSessionResponse, error) {
	c := access.From(ctx)
	who, err := owner(c, req.GetUser(), rules(c))
	if err != nil {
		return nil, err
	}
	id, err := uuid.Parse(req.GetId())
	if err != nil {
		return nil, err // the proto's rule has checked it
	}
	return &identityv1.EndSessionResponse{}, s.logins.End(ctx, who, id)
}

func (s *sessions) BeginDeviceLogin(ctx context.Context, _ *identityv1.BeginDeviceLoginRequest) (*identityv1.BeginDeviceLoginResponse, error) {
	device, code, expires, err := s.logins.BeginDevice(ctx, from(ctx, login.CommandLine))
	if err != nil {
		return nil, err
	}
	return &identityv1.BeginDeviceLoginResponse{DeviceCode: device, UserCode: code, Interval: durationpb.New(login.PollInterval), ExpiresAt: timestamppb.New(expires)}, nil
}

func (s *sessions) PollDeviceLogin(ctx context.Context, req *identityv1.PollDeviceLoginRequest) (*identityv1.PollDeviceLoginResponse, error) {
	secret, n, pending, err := s.logins.PollDevice(ctx, req.GetDeviceCode(), from(ctx, login.CommandLine))
	if err != nil || pending {
		return &identityv1.PollDeviceLoginResponse{Pending: pending}, err
	}
	return &identityv1.PollDeviceLoginResponse{Session: fromSession("")(n), Secret: secret}, nil
}

func (s *sessions) ApproveLogin(ctx context.Context, req *identityv1.ApproveLoginRequest) (*identityv1.ApproveLoginResponse, error) {
	c := access.From(ctx)
	if err := needSession(ctx); err != nil {
		return nil, err
	}
	p, err := s.logins.Approve(ctx, req.GetUserCode(), c.User, !req.GetDeny(), gate.CredentialOf(ctx).Address)
	if err != nil {
		return nil, err
	}
	return &identityv1.ApproveLoginResponse{Address: p.Address, Agent: p.Agent}, nil
}

func (s *sessions) GetDeviceLogin(ctx context.Context, req *identityv1.GetDeviceLoginRequest) (*identityv1.GetDeviceLoginResponse, error) {
	c := access.From(ctx)
	if err := needSession(ctx); err != nil {
		return nil, err
	}
	p, err := s.logins.Device(ctx, req.GetUserCode(), c.User, gate.CredentialOf(ctx).Address)
	if err != nil {
		return nil, err
	}
	return &identityv1.GetDeviceLoginResponse{Address: p.Address, Agent: p.Agent}, nil
}

func (s *sessions) FinishProviderLogin(ctx context.Context, req *identityv1.FinishProviderLoginRequest) (*identityv1.FinishProviderLoginResponse, error) {
	to := ""
	secret, n, err := s.logins.Foreign(ctx, req.GetProvider(), from(ctx, login.Browser), func(ctx context.Context) (who login.Foreign, err error) {
		who, to, err = s.ways.Providers.Finish(ctx, req.GetProvider(), sso.Return{Code: req.GetCode(), State: req.GetState(), Error: req.GetError(), Flight: req.GetFlight()})
		return who, err
	})
	if err != nil {
		return nil, err
	}
	return &identityv1.FinishProviderLoginResponse{Session: fromSession("")(n), Secret: secret, To: to}, nil
}

func (s *sessions) GrantLogin(ctx context.Context, req *identityv1.GrantLoginRequest) (*identityv1.GrantLoginResponse, error) {
	c := access.From(ctx)
	if err := needSession(ctx); err != nil {
		return nil, err
	}
	code, err := s.logins.Grant(ctx, c.User, req.GetChallenge(), from(ctx, login.CommandLine))
	if err != nil {
		return nil, err
	}
	return &identityv1.GrantLoginResponse{Code: code}, nil
}

func (s *sessions) ExchangeLogin(ctx context.Context, req *identityv1.ExchangeLoginRequest) (*identityv1.ExchangeLoginResponse, error) {
	secret, n, err := s.logins.Exchange(ctx, req.GetCode(), req.GetVerifier(), from(ctx, login.CommandLine))
	if err != nil {
		return nil, err
	}
	return &identityv1.ExchangeLoginResponse{Session: fromSession("")(n), Secret: secret}, nil
}

// fromSession encodes sessions; current is the credential of the call.
func fromSession(current string) func(login.Session) *identityv1.Session {
	return func(n login.Session) *identityv1.Session {
		return &identityv1.Session{
			Id: n.ID.String(), User: n.User, Kind: string(n.Kind), Method: n.Method, Address: n.Address, Agent: n.Agent,
			CreatedAt: timestamppb.New(n.CreatedAt), LastSeenAt: timestamppb.New(n.LastSeenAt), ExpiresAt: timestamppb.New(n.ExpiresAt), Current: n.ID.String() == current,
		}
	}
}
