package pg

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/services/api-gateway/internal/identity"
	"github.com/formicary/formicary/services/api-gateway/internal/pg/db"
)

// AddMember implements identity.Members.
func (s *Store) AddMember(ctx context.Context, m identity.Member) error {
	return s.tx(ctx, "add a member", func(q *db.Queries) error { return insertMember(ctx, q, m) })
}

func insertMember(ctx context.Context, q *db.Queries, m identity.Member) error {
	if _, err := q.GetOrg(ctx, m.Org); err != nil {
		return found(err, identity.NoOrg(m.Org))
	}
	id, err := person(ctx, q, m.User)
	if err != nil {
		return err
	}
	n, err := q.InsertMember(ctx, db.InsertMemberParams{OrgID: m.Org, PersonID: id, Role: m.Role, Groups: m.Groups, AddedAt: m.AddedAt, AddedBy: m.AddedBy})
	if err == nil && n == 0 {
		return errs.Conflict("MEMBER_EXISTS", "%s is a member of %s already", m.User, m.Org)
	}
	return err
}

// Member implements identity.Members. A user may ask what it is in any organisation, whichever it acts in.
func (s *Store) Member(ctx context.Context, org, user string) (identity.Member, error) {
	row, err := s.q.GetMember(pgdb.OwnWork(ctx), db.GetMemberParams{OrgID: org, Name: user})
	return toMember(db.MembersRow(row)), said("read a member", found(err, identity.NoMember(org, user)))
}

// Members implements identity.Members.
func (s *Store) Members(ctx context.Context, org, after string, most int) ([]identity.Member, error) {
	rows, err := s.q.Members(ctx, db.MembersParams{OrgID: org, After: after, Most: int32(most)})
	return each(rows, toMember), said("list members", err)
}

// ChangeMember implements identity.Members.
func (s *Store) ChangeMember(ctx context.Context, org, user string, f func(*identity.Member, int) (bool, error)) (identity.Member, error) {
	var m identity.Member
	err := s.tx(ctx, "change a member", func(q *db.Queries) error {
		admins, err := q.LockOrgAdmins(ctx, org)
		if err != nil {
			return err
		}
		row, err := q.GetMember(ctx, db.GetMemberParams{OrgID: org, Name: user})
		if err != nil {
			return found(err, identity.NoMember(org, user))
		}
		if row.Role == identity.OrgAdmin && !slices.Contains(admins, row.PersonID) {
			return errs.Aborted("MEMBER_CHANGED", "%s was changed at this moment; try again", user)
		}
		m = toMember(db.MembersRow(row))
		remove, err := f(&m, len(admins))
		switch {
		case err != nil:
			return err
		case remove:
			return q.DeleteMember(ctx, db.DeleteMemberParams{OrgID: org, PersonID: row.PersonID})
		}
		return q.UpdateMember(ctx, db.UpdateMemberParams{OrgID: org, PersonID: row.PersonID, Role: m.Role, Groups: m.Groups})
	})
	return m, err
}

func toMember(r db.MembersRow) identity.Member {
	return identity.Member{
		Org: r.OrgID, User: r.Name, Title: r.Title, Email: r.Email, Role: r.Role, Groups: r.Groups, AddedAt: r.AddedAt, AddedBy: r.AddedBy, Disabled: r.DisabledAt != nil,
	}
}

// AddInvitation implements identity.Invitations.
func (s *Store) AddInvitation(ctx context.Context, i identity.Invitation, hash []byte) error {
	return s.tx(ctx, "store an invitation", func(q *db.Queries) error {
		if _, err := q.GetOrg(ctx, i.Org); err != nil {
			return found(err, identity.NoOrg(i.Org))
		}
		return q.InsertInvitation(ctx, db.InsertInvitationParams{
			ID: i.ID, OrgID: i.Org, CodeHash: hash, Note: i.Note, Role: i.Role, Groups: i.Groups, CreatedAt: i.CreatedAt, CreatedBy: i.CreatedBy, ExpiresAt: i.ExpiresAt,
		})
	})
}

// Invitations implements identity.Invitations.
func (s *Store) Invitations(ctx context.Context, org string, after uuid.UUID, most int) ([]identity.Invitation, error) {
	rows, err := s.q.Invitations(ctx, db.InvitationsParams{OrgID: org, After: after, Most: int32(most)})
	return each(rows, toInvitation), said("list invitations", err)
}

// RemoveInvitation implements identity.Invitations.
func (s *Store) RemoveInvitation(ctx context.Context, org string, id uuid.UUID) error {
	n, err := s.q.DeleteInvitation(ctx, db.DeleteInvitationParams{OrgID: org, ID: id})
	if err == nil && n == 0 {
		return errs.NotFound("INVITATION_NOT_FOUND", "there is no invitation %s that was not used", id)
	}
	return said("remove an invitation", err)
}

// Accept implements identity.Invitations. Who accepts is no member of the organisation yet.
func (s *Store) Accept(ctx context.Context, hash []byte, now time.Time, u identity.User, isNew bool) (identity.Invitation, error) {
	var i identity.Invitation
	err := s.tx(pgdb.OwnWork(ctx), "accept an invitation", func(q *db.Queries) error {
		return accept(ctx, q, hash, now, u, isNew, &i)
	})
	return i, err
}

func accept(ctx context.Context, q *db.Queries, hash []byte, now time.Time, u identity.User, isNew bool, i *identity.Invitation) error {
	row, err := q.LockInvitation(ctx, db.LockInvitationParams{CodeHash: hash, Now: now})
	if err != nil {
		return found(err, identity.BadInvitation())
	}
	*i = toInvitation(row)
	if isNew {
		u.DefaultOrg = i.Org
		if err := insertPerson(ctx, q, u); err != nil {
			return err
		}
	}
	err = insertMember(ctx, q, identity.Member{Org: i.Org, User: u.Name, Role: i.Role, Groups: i.Groups, AddedAt: now, AddedBy: i.CreatedBy})
	if err != nil {
		return err
	}
	return q.UseInvitation(ctx, db.UseInvitationParams{ID: i.ID, UsedAt: &now, UsedBy: u.Name})
}

func toInvitation(r db.Invitation) identity.Invitation {
	return identity.Invitation{
		ID: r.ID, Org: r.OrgID, Note: r.Note, Role: r.Role, Groups: r.Groups, CreatedAt: r.CreatedAt, CreatedBy: r.CreatedBy,
		ExpiresAt: r.ExpiresAt, UsedAt: r.UsedAt, UsedBy: r.UsedBy,
	}
}
