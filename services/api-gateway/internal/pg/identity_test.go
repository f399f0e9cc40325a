package pg_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/services/api-gateway/internal/identity"
)

func wants(t *testing.T, err error, reason string) {
	t.Helper()
	if errs.Reason(err) != reason {
		t.Errorf("got %v (%s), want %s", err, errs.Reason(err), reason)
	}
}

func TestOrgs(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.user("ann", identity.OrgAdmin)
	_, err := w.users.CreateOrg(ctx, "acme", "", "ann", "root")
	w.must(err)
	_, err = w.users.CreateOrg(ctx, "acme", "", "", "root")
	wants(t, err, "ORG_EXISTS")
	for _, bad := range []string{"", "-a", "A", "a b", "a/b", "ä"} {
		_, err = w.users.CreateOrg(ctx, bad, "", "", "root")
		wants(t, err, "ORG_INVALID")
	}
	_, err = w.users.CreateOrg(ctx, "other", "", "nobody", "root")
	wants(t, err, "USER_NOT_FOUND")
	if _, err = w.store.Org(ctx, "other"); errs.Reason(err) != "ORG_NOT_FOUND" {
		t.Error("half an org was made:", err)
	}
	mine, err := w.store.Orgs(ctx, "ann", "", 10)
	if err != nil || len(mine) != 2 || mine[0].ID != "acme" || mine[1].ID != "default" {
		t.Error(mine, err)
	}
	wants(t, w.users.CloseOrg(ctx, "default"), "ORG_DEFAULT")
	w.must(w.users.CloseOrg(ctx, "acme"))
	_, err = w.users.CreateOrg(ctx, "acme", "", "", "root")
	wants(t, err, "ORG_EXISTS") // an id is never given again
	_, err = w.people.Find(ctx, w.login("ann"), "acme")
	wants(t, err, "ORG_NOT_FOUND")
}

func TestNamesOfUsers(t *testing.T) {
	w := newWorld(t)
	for _, bad := range []string{"", "system", "system:x", "local", "platform-admin", "org-viewer", "Ann", "a b", "a/b", "ann\x00", "-ann", "ant"} {
		_, err := w.users.CreateUser(t.Context(), identity.User{Name: bad}, "", "", "root")
		wants(t, err, "USER_INVALID")
	}
	w.user("ann", "org-viewer")
	_, err := w.users.CreateUser(t.Context(), identity.User{Name: "ann"}, "", "", "root")
	wants(t, err, "USER_EXISTS")
	_, err = w.users.CreateUser(t.Context(), identity.User{Name: "bob"}, "nowhere", "org-viewer", "root")
	wants(t, err, "ORG_NOT_FOUND")
	_, err = w.users.CreateUser(t.Context(), identity.User{Name: "bob"}, "default", "platform-admin", "root")
	wants(t, err, "ROLE_INVALID")
	if _, err := w.store.User(t.Context(), "bob"); errs.Reason(err) != "USER_NOT_FOUND" {
		t.Error("half a user was made:", err)
	}
}

func TestTheLastAdminsStay(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.user("ann", identity.OrgAdmin)
	w.user("bob", "org-viewer")
	viewer := "org-viewer"
	_, err := w.users.SetMember(ctx, "default", "ann", &viewer, nil)
	wants(t, err, "LAST_ORG_ADMIN")
	wants(t, w.users.RemoveMember(ctx, "default", "ann"), "LAST_ORG_ADMIN")
	admin := identity.OrgAdmin
	_, err = w.users.SetMember(ctx, "default", "bob", &admin, nil)
	w.must(err)
	w.must(w.users.RemoveMember(ctx, "default", "ann"))

	_, err = w.users.SetPlatformRole(ctx, "ann", identity.PlatformAdmin)
	w.must(err)
	_, err = w.users.SetPlatformRole(ctx, "ann", "")
	wants(t, err, "LAST_PLATFORM_ADMIN")
	_, err = w.users.Disable(ctx, "ann")
	wants(t, err, "LAST_PLATFORM_ADMIN")
	_, err = w.users.SetPlatformRole(ctx, "bob", "org-admin")
	wants(t, err, "ROLE_INVALID")
}

// TestTwoAdminsEndEachOther: of all admins that demote each other at the same time one is left.
func TestTwoAdminsEndEachOther(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	viewer := "org-viewer"
	var names []string
	for i := range 6 {
		name := fmt.Sprintf("admin%d", i)
		_, err := w.users.CreateUser(ctx, identity.User{Name: name}, identity.DefaultOrg, identity.OrgAdmin, "test")
		w.must(err)
		_, err = w.users.SetPlatformRole(ctx, name, identity.PlatformAdmin)
		w.must(err)
		names = append(names, name)
	}
	var g errgroup.Group
	for _, name := range names {
		g.Go(func() error {
			_, err := w.users.SetMember(ctx, "default", name, &viewer, nil)
			return other(err, "LAST_ORG_ADMIN")
		})
		g.Go(func() error {
			_, err := w.users.SetPlatformRole(ctx, name, "")
			return other(err, "LAST_PLATFORM_ADMIN")
		})
	}
	w.must(g.Wait())
	var org, platform int
	for _, name := range names {
		m, err := w.store.Member(ctx, "default", name)
		w.must(err)
		u, err := w.store.User(ctx, name)
		w.must(err)
		if m.Role == identity.OrgAdmin {
			org++
		}
		if u.PlatformRole == identity.PlatformAdmin {
			platform++
		}
	}
	if org != 1 || platform != 1 {
		t.Errorf("%d org-admins, %d platform-admins are left", org, platform)
	}
}

// other passes errors on that have another reason.
func other(err error, reason string) error {
	if errs.Reason(err) == reason || errs.CodeOf(err) == errs.CodeAborted {
		return nil
	}
	return err
}

func TestGroups(t *testing.T) {
	w := newWorld(t)
	w.user("ann", identity.OrgAdmin)
	for _, bad := range []string{"org-admin", "platform-admin", "system", "a b", "", "x,y"} {
		_, err := w.users.SetMember(t.Context(), "default", "ann", nil, &[]string{bad})
		wants(t, err, "GROUP_INVALID")
	}
	m, err := w.users.SetMember(t.Context(), "default", "ann", nil, &[]string{"release", "finance", "release"})
	if err != nil || !slices.Equal(m.Groups, []string{"finance", "release"}) || m.Role != identity.OrgAdmin {
		t.Error(m, err)
	}
	c, err := w.people.Find(t.Context(), w.login("ann"), "")
	if err != nil || !slices.Equal(c.Roles, []string{"org-admin", "finance", "release"}) {
		t.Error(c, err)
	}
}

func TestInvitations(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.user("ann", identity.OrgAdmin)
	_, err := w.users.CreateOrg(ctx, "acme", "", "ann", "ann")
	w.must(err)
	invite := func() (string, uuid.UUID) {
		code, i, err := w.users.Invite(ctx, identity.Invitation{Org: "acme", Role: "org-developer", Groups: []string{"qa"}, CreatedBy: "ann"}, 0)
		w.must(err)
		return code, i.ID
	}
	_, _, err = w.users.Invite(ctx, identity.Invitation{Org: "acme", Role: "platform-admin"}, 0)
	wants(t, err, "ROLE_INVALID")
	w.user("bob", "org-viewer")

	code, _ := invite()
	var g errgroup.Group
	var won, lost int
	results := make(chan error, 4)
	for i := range 4 {
		g.Go(func() error {
			_, _, err := w.users.SignUp(ctx, code, identity.User{Name: fmt.Sprintf("new%d", i)})
			results <- err
			return nil
		})
	}
	w.must(g.Wait())
	for range 4 {
		if err := <-results; err == nil {
			won++
		} else if errs.Reason(err) == "INVITATION_INVALID" {
			lost++
		} else {
			t.Error(err)
		}
	}
	if won != 1 || lost != 3 {
		t.Errorf("a code let %d in and refused %d", won, lost)
	}
	code, _ = invite()
	_, err = w.users.Join(ctx, code, "bob")
	w.must(err)
	m, err := w.store.Member(ctx, "acme", "bob")
	if err != nil || m.Role != "org-developer" || m.AddedBy != "ann" || !slices.Equal(m.Groups, []string{"qa"}) {
		t.Error(m, err)
	}
	code, id := invite()
	w.must(w.store.RemoveInvitation(ctx, "acme", id))
	_, err = w.users.Join(ctx, code, "bob")
	wants(t, err, "INVITATION_INVALID")
	wants(t, w.store.RemoveInvitation(ctx, "default", id), "INVITATION_NOT_FOUND")
	code, _ = invite()
	_, err = w.users.Join(ctx, code, "bob")
	wants(t, err, "MEMBER_EXISTS") // and the code still counts for somebody else
	w.clock.pass(identity.InvitationLife)
	_, _, err = w.users.SignUp(ctx, code, identity.User{Name: "late"})
	wants(t, err, "INVITATION_INVALID")
	if _, err := w.store.User(ctx, "late"); errs.Reason(err) != "USER_NOT_FOUND" {
		t.Error("a user was made without an invitation:", err)
	}
}
