package api

import (
	"context"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/rpc"
	identityv1 "github.com/formicary/formicary/proto/gen/formicary/identity/v1"
	"github.com/formicary/formicary/services/api-gateway/internal/identity"
)

type orgs struct {
	identityv1.UnsafeOrgServiceServer
	ids *identity.Manager
}

const newMember = access.OrgDeveloper // the role of who is added without one

func (s *orgs) ListOrgs(ctx context.Context, req *identityv1.ListOrgsRequest) (*identityv1.ListOrgsResponse, error) {
	c := access.From(ctx)
	who := c.User
	if req.GetAll() && ofPlatform(c) {
		who = ""
	}
	found, next, err := list(rpc.PartOf("orgs", who), req.GetPageToken(), req.GetPageSize(), func(after string, most int) ([]identity.Org, error) {
		return s.ids.Store().Orgs(ctx, who, after, most)
	}, func(o identity.Org) string { return o.ID })
	if err != nil {
		return nil, err
	}
	return &identityv1.ListOrgsResponse{Orgs: each(found, fromOrg), NextPageToken: next}, nil
}

func (s *orgs) GetOrg(ctx context.Context, req *identityv1.GetOrgRequest) (*identityv1.GetOrgResponse, error) {
	c := access.From(ctx)
	if c.Org != req.GetId() && !ofPlatform(c) {
		if _, err := s.ids.Store().Member(ctx, req.GetId(), c.User); err != nil {
			return nil, identity.NoOrg(req.GetId())
		}
	}
	o, err := s.ids.Store().Org(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	return &identityv1.GetOrgResponse{Org: fromOrg(o)}, nil
}

func (s *orgs) CreateOrg(ctx context.Context, req *identityv1.CreateOrgRequest) (*identityv1.CreateOrgResponse, error) {
	o, err := s.ids.CreateOrg(ctx, req.GetId(), req.GetTitle(), req.GetAdmin(), access.From(ctx).User)
	if err != nil {
		return nil, err
	}
	return &identityv1.CreateOrgResponse{Org: fromOrg(o)}, nil
}

func (s *orgs) UpdateOrg(ctx context.Context, req *identityv1.UpdateOrgRequest) (*identityv1.UpdateOrgResponse, error) {
	if _, err := within(ctx, req.GetId()); err != nil {
		return nil, err
	}
	o, err := s.ids.UpdateOrg(ctx, req.GetId(), req.GetTitle())
	if err != nil {
		return nil, err
	}
	return &identityv1.UpdateOrgResponse{Org: fromOrg(o)}, nil
}

func (s *orgs) CloseOrg(ctx context.Context, req *identityv1.CloseOrgRequest) (*identityv1.CloseOrgResponse, error) {
	return &identityv1.CloseOrgResponse{}, s.ids.CloseOrg(ctx, req.GetId())
}

func (s *orgs) ListMembers(ctx context.Context, req *identityv1.ListMembersRequest) (*identityv1.ListMembersResponse, error) {
	c, err := within(ctx, req.GetOrg())
	if err != nil {
		return nil, err
	}
	found, next, err := list(rpc.PartOf("members", c.Org), req.GetPageToken(), req.GetPageSize(), func(after string, most int) ([]identity.Member, error) {
		return s.ids.Store().Members(ctx, c.Org, after, most)
	}, func(m identity.Member) string { return m.User })
	if err != nil {
		return nil, err
	}
	return &identityv1.ListMembersResponse{Members: each(found, fromMember), NextPageToken: next}, nil
}

func (s *orgs) AddMember(ctx context.Context, req *identityv1.AddMemberRequest) (*identityv1.AddMemberResponse, error) {
	c, err := within(ctx, req.GetOrg())
	if err != nil {
		return nil, err
	}
	m, err := s.ids.AddMember(ctx, identity.Member{Org: c.Org, User: req.GetUser(), Role: req.GetRole(), Groups: req.GetGroups(), AddedBy: c.User})
	if err != nil {
		return nil, err
	}
	return &identityv1.AddMemberResponse{Member: fromMember(m)}, nil
}

func (s *orgs) SetMember(ctx context.Context, req *identityv1.SetMemberRequest) (*identityv1.SetMemberResponse, error) {
	c, err := within(ctx, req.GetOrg())
	if err != nil {
		return nil, err
	}
	var role *string
	if req.GetRole() != "" {
		role = &req.Role
	}
	var groups *[]string
	if req.GetGroups() != nil {
		to := req.GetGroups().GetGroups()
		groups = &to
	}
	m, err := s.ids.SetMember(ctx, c.Org, req.GetUser(), role, groups)
	if err != nil {
		return nil, err
	}
	return &identityv1.SetMemberResponse{Member: fromMember(m)}, nil
}

func (s *orgs) RemoveMember(ctx context.Context, req *identityv1.RemoveMemberRequest) (*identityv1.RemoveMemberResponse, error) {
	c, err := within(ctx, req.GetOrg())
	if err != nil {
		return nil, err
	}
	return &identityv1.RemoveMemberResponse{}, s.ids.RemoveMember(ctx, c.Org, req.GetUser())
}

func (s *orgs) CreateInvitation(ctx context.Context, req *identityv1.CreateInvitationRequest) (*identityv1.CreateInvitationResponse, error) {
	c, err := within(ctx, req.GetOrg())
	if err != nil {
		return nil, err
	}
	role := req.GetRole()
	if role == "" {
		role = newMember
	}
	code, i, err := s.ids.Invite(ctx, identity.Invitation{Org: c.Org, Role: role, Groups: req.GetGroups(), Note: req.GetNote(), CreatedBy: c.User}, req.GetLife().AsDuration())
	if err != nil {
		return nil, err
	}
	return &identityv1.CreateInvitationResponse{Invitation: fromInvitation(i), Code: code}, nil
}

func (s *orgs) ListInvitations(ctx context.Context, req *identityv1.ListInvitationsRequest) (*identityv1.ListInvitationsResponse, error) {
	c, err := within(ctx, req.GetOrg())
	if err != nil {
		return nil, err
	}
	found, next, err := list(rpc.PartOf("invitations", c.Org), req.GetPageToken(), req.GetPageSize(), func(after string, most int) ([]identity.Invitation, error) {
		id, err := placeID(after)
		if err != nil {
			return nil, err
		}
		return s.ids.Store().Invitations(ctx, c.Org, id, most)
	}, func(i identity.Invitation) string { return i.ID.String() })
	if err != nil {
		return nil, err
	}
	return &identityv1.ListInvitationsResponse{Invitations: each(found, fromInvitation), NextPageToken: next}, nil
}

func (s *orgs) DeleteInvitation(ctx context.Context, req *identityv1.DeleteInvitationRequest) (*identityv1.DeleteInvitationResponse, error) {
	c, err := within(ctx, req.GetOrg())
	if err != nil {
		return nil, err
	}
	id, err := uuid.Parse(req.GetId())
	if err != nil {
		return nil, err // the proto's rule has checked it
	}
	return &identityv1.DeleteInvitationResponse{}, s.ids.Store().RemoveInvitation(ctx, c.Org, id)
}

// placeID reads the place of a list that is ordered by id.
func placeID(place string) (uuid.UUID, error) {
	if place == "" {
		return uuid.Nil, nil
	}
	id, err := uuid.Parse(place)
	if err != nil {
		return id, rpc.BadPageToken()
	}
	return id, nil
}

func fromOrg(o identity.Org) *identityv1.Org {
	return &identityv1.Org{Id: o.ID, Title: o.Title, CreatedAt: timestamppb.New(o.CreatedAt), CreatedBy: o.CreatedBy}
}

func fromMember(m identity.Member) *identityv1.Member {
	return &identityv1.Member{
		Org: m.Org, User: m.User, Title: m.Title, Email: m.Email, Role: m.Role, Groups: m.Groups, AddedAt: timestamppb.New(m.AddedAt), AddedBy: m.AddedBy, Disabled: m.Disabled,
	}
}

func fromInvitation(i identity.Invitation) *identityv1.Invitation {
	to := &identityv1.Invitation{
		Id: i.ID.String(), Org: i.Org, Note: i.Note, Role: i.Role, Groups: i.Groups, CreatedAt: timestamppb.New(i.CreatedAt), CreatedBy: i.CreatedBy,
		ExpiresAt: timestamppb.New(i.ExpiresAt), UsedBy: i.UsedBy,
	}
	if i.UsedAt != nil {
		to.UsedAt = timestamppb.New(*i.UsedAt)
	}
	return to
}
