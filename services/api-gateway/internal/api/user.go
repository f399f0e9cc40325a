package api

import (
	"context"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/rpc"
	identityv1 "github.com/formicary/formicary/proto/gen/formicary/identity/v1"
	"github.com/formicary/formicary/services/api-gateway/internal/gate"
	"github.com/formicary/formicary/services/api-gateway/internal/identity"
	"github.com/formicary/formicary/services/api-gateway/internal/login"
)

type users struct {
	identityv1.UnsafeUserServiceServer
	ids    *identity.Manager
	logins *login.Manager
}

func (s *users) ListUsers(ctx context.Context, req *identityv1.ListUsersRequest) (*identityv1.ListUsersResponse, error) {
	c := access.From(ctx)
	org := c.Org
	if req.GetAll() && ofPlatform(c) {
		org = ""
	} else if org == "" {
		return nil, identity.NoOrg("")
	}
	found, next, err := list(rpc.PartOf("users", org), req.GetPageToken(), req.GetPageSize(), func(after string, most int) ([]identity.User, error) {
		return s.ids.Store().Users(ctx, org, after, most)
	}, func(u identity.User) string { return u.Name })
	if err != nil {
		return nil, err
	}
	return &identityv1.ListUsersResponse{Users: each(found, shown(c)), NextPageToken: next}, nil
}

func (s *users) GetUser(ctx context.Context, req *identityv1.GetUserRequest) (*identityv1.GetUserResponse, error) {
	c := access.From(ctx)
	if req.GetName() != c.User && !ofPlatform(c) {
		if _, err := s.ids.Store().Member(ctx, c.Org, req.GetName()); err != nil {
			return nil, identity.NoUser(req.GetName())
		}
	}
	u, err := s.ids.Store().User(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	return &identityv1.GetUserResponse{User: shown(c)(u)}, nil
}

func (s *users) GetProfile(ctx context.Context, _ *identityv1.GetProfileRequest) (*identityv1.GetProfileResponse, error) {
	c, err := person(ctx)
	if err != nil {
		return nil, err
	}
	res := &identityv1.GetProfileResponse{User: &identityv1.User{Name: c.User}, Org: c.Org, Roles: c.Roles, Scopes: c.Scopes, Credential: c.Credential}
	if c.Credential == "" {
		return res, nil // the local administrator, who is no user
	}
	u, err := s.ids.Store().User(ctx, c.User)
	if err != nil {
		return nil, err
	}
	res.User = shown(c)(u)
	return res, nil
}

func (s *users) UpdateProfile(ctx context.Context, req *identityv1.UpdateProfileRequest) (*identityv1.UpdateProfileResponse, error) {
	c := access.From(ctx)
	u, err := s.ids.UpdateProfile(ctx, c.User, identity.Profile{Title: req.Title, Email: req.Email, DefaultOrg: req.DefaultOrg})
	if err != nil {
		return nil, err
	}
	return &identityv1.UpdateProfileResponse{User: shown(c)(u)}, nil
}

func (s *users) ChangePassword(ctx context.Context, req *identityv1.ChangePasswordRequest) (*identityv1.ChangePasswordResponse, error) {
	c := access.From(ctx)
	if err := needSession(ctx); err != nil {
		return nil, err
	}
	return &identityv1.ChangePasswordResponse{}, s.logins.SetPassword(ctx, c.User, req.GetCurrent(), req.GetPassword(), true, gate.CredentialOf(ctx).Address)
}

func (s *users) CreateUser(ctx context.Context, req *identityv1.CreateUserRequest) (*identityv1.CreateUserResponse, error) {
	c := access.From(ctx)
	role := req.GetRole()
	if role == "" {
		role = newMember
	}
	u := identity.User{Name: req.GetName(), Title: req.GetTitle(), Email: req.GetEmail()}
	var err error
	if req.GetPassword() != "" {
		if u.Password, err = s.logins.HashOf(ctx, req.GetName(), req.GetPassword()); err != nil {
			return nil, err
		}
	}
	if u, err = s.ids.CreateUser(ctx, u, req.GetOrg(), role, c.User); err != nil {
		return nil, err
	}
	return &identityv1.CreateUserResponse{User: shown(c)(u)}, nil
}

func (s *users) SetPassword(ctx context.Context, req *identityv1.SetPasswordRequest) (*identityv1.SetPasswordResponse, error) {
	return &identityv1.SetPasswordResponse{}, s.logins.SetPassword(ctx, req.GetName(), "", req.GetPassword(), false, "")
}

func (s *users) SetPlatformRole(ctx context.Context, req *identityv1.SetPlatformRoleRequest) (*identityv1.SetPlatformRoleResponse, error) {
	u, err := s.ids.SetPlatformRole(ctx, req.GetName(), req.GetRole())
	if err != nil {
		return nil, err
	}
	return &identityv1.SetPlatformRoleResponse{User: shown(access.From(ctx))(u)}, nil
}

func (s *users) DisableUser(ctx context.Context, req *identityv1.DisableUserRequest) (*identityv1.DisableUserResponse, error) {
	u, err := s.ids.Disable(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	return &identityv1.DisableUserResponse{User: shown(access.From(ctx))(u)}, nil
}

func (s *users) EnableUser(ctx context.Context, req *identityv1.EnableUserRequest) (*identityv1.EnableUserResponse, error) {
	u, err := s.ids.Enable(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	return &identityv1.EnableUserResponse{User: shown(access.From(ctx))(u)}, nil
}

// needSession refuses API tokens where they would become more than they are.
func needSession(ctx context.Context) error {
	if byToken(ctx) {
		return errs.Denied("SESSION_NEEDED", "this needs somebody who logged in: an API token is not enough")
	}
	return nil
}

// byToken says whether an API token makes the call.
func byToken(ctx context.Context) bool {
	return strings.HasPrefix(gate.CredentialOf(ctx).Secret(), identity.TokenPrefix)
}

// shown returns what a caller sees of users.
func shown(c access.Caller) func(identity.User) *identityv1.User {
	return func(u identity.User) *identityv1.User {
		to := &identityv1.User{
			Name: u.Name, Title: u.Title, Email: u.Email, HasPassword: u.Password != "", CreatedAt: timestamppb.New(u.CreatedAt), CreatedBy: u.CreatedBy,
		}
		if u.DisabledAt != nil {
			to.DisabledAt = timestamppb.New(*u.DisabledAt)
		}
		if u.Name == c.User || ofPlatform(c) {
			to.PlatformRole, to.DefaultOrg = u.PlatformRole, u.DefaultOrg
		} else {
			to.HasPassword = false
		}
		return to
	}
}
