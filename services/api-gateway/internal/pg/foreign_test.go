package pg_test

import (
	"context"
	"fmt"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/services/api-gateway/internal/identity"
	"github.com/formicary/formicary/services/api-gateway/internal/login"
)

const issuer = "https://id.example.com"

// member is somebody of a provider whose people are members of the default org.
func member(subject, name, email string) login.Foreign {
	return login.Foreign{Issuer: issuer, Subject: subject, Name: name, Email: email, Org: identity.DefaultOrg, Role: "org-developer"}
}

// foreign logs somebody in whom a provider knows, and returns the session.
func (w *world) foreign(f login.Foreign) (login.Session, error) {
	_, s, err := w.logins.Foreign(w.t.Context(), "corp", from, func(context.Context) (login.Foreign, error) { return f, nil })
	return s, err
}

// TestSomebodyIsASubject: neither a name nor a mail address says who somebody is.
func TestSomebodyIsASubject(t *testing.T) {
	w := newWorld(t)
	_, err := w.users.CreateUser(t.Context(), identity.User{Name: "ann", Email: "ann@example.com"}, identity.DefaultOrg, identity.OrgAdmin, "root")
	w.must(err)
	s, err := w.foreign(member("s1", "ann", "ann@example.com"))
	w.must(err)
	if s.User != "ann-2" || s.Method != "corp" || s.Kind != login.Browser {
		t.Errorf("%+v", s)
	}
	if m, err := w.store.Member(t.Context(), identity.DefaultOrg, "ann-2"); err != nil || m.Role != "org-developer" {
		t.Error(m, err)
	}
	s, err = w.foreign(member("s1", "root", "root@example.com"))
	w.must(err)
	if s.User != "ann-2" {
		t.Error("another name and address, and another user:", s.User)
	}
	other := member("s1", "ann", "ann@example.com")
	other.Issuer = "https://evil.example.com"
	s, err = w.foreign(other)
	w.must(err)
	if s.User != "ann-3" {
		t.Error("the subject of another issuer is somebody:", s.User)
	}
	// Whoever was taken out of the org is not put back by the next login.
	w.must(w.users.RemoveMember(t.Context(), identity.DefaultOrg, "ann-2"))
	_, err = w.foreign(member("s1", "ann", "ann@example.com"))
	w.must(err)
	_, err = w.store.Member(t.Context(), identity.DefaultOrg, "ann-2")
	wants(t, err, "MEMBER_NOT_FOUND")
}

func TestStrangersComeInByInvitation(t *testing.T) {
	w := newWorld(t)
	stranger := member("s1", "bob", "")
	stranger.Org, stranger.Role = "", ""
	_, err := w.foreign(stranger)
	wants(t, err, "LOGIN_UNKNOWN")
	for _, bad := range []string{"fmc_inv_guess", "x"} {
		stranger.Invitation = bad
		_, err = w.foreign(stranger)
		wants(t, err, "INVITATION_INVALID")
	}
	code, _, err := w.users.Invite(t.Context(), identity.Invitation{Org: identity.DefaultOrg, Role: "org-operator", CreatedBy: "root"}, 0)
	w.must(err)
	stranger.Invitation = code
	s, err := w.foreign(stranger)
	w.must(err)
	if m, err := w.store.Member(t.Context(), identity.DefaultOrg, s.User); err != nil || m.Role != "org-operator" || s.User != "bob" {
		t.Error(m, s, err)
	}
	second := stranger
	second.Subject = "s2"
	_, err = w.foreign(second)
	wants(t, err, "INVITATION_INVALID")
	stranger.Invitation = ""
	_, err = w.foreign(stranger)
	w.must(err)

	// Somebody who is known joins another organisation by one.
	_, err = w.users.CreateOrg(t.Context(), "acme", "", "", "root")
	w.must(err)
	code, _, err = w.users.Invite(t.Context(), identity.Invitation{Org: "acme", Role: "org-viewer", CreatedBy: "root"}, 0)
	w.must(err)
	stranger.Invitation = code
	_, err = w.foreign(stranger)
	w.must(err)
	_, err = w.store.Member(t.Context(), "acme", "bob")
	w.must(err)

	_, err = w.users.Disable(t.Context(), "bob")
	w.must(err)
	stranger.Invitation = ""
	_, err = w.foreign(stranger)
	wants(t, err, "LOGIN_UNKNOWN")
	lost := member("s3", "cleo", "")
	lost.Org = "nowhere"
	_, err = w.foreign(lost)
	wants(t, err, "ORG_NOT_FOUND")
}

// TestOneSubjectManyTimesAtOnce: it becomes one user.
func TestOneSubjectManyTimesAtOnce(t *testing.T) {
	w := newWorld(t)
	var g errgroup.Group
	for range 8 {
		g.Go(func() error {
			s, err := w.foreign(member("s1", "ann", ""))
			if err == nil && s.User != "ann" {
				return fmt.Errorf("a second user %s", s.User)
			}
			return err
		})
	}
	w.must(g.Wait())
	var n int
	w.must(w.pool.QueryRow(t.Context(), "SELECT count(*) FROM person").Scan(&n))
	if n != 1 {
		t.Errorf("%d users", n)
	}
}

// TestWrongLoginsAtProvidersWait: what does not hold counts against the address it comes from, and is not looked at for a while.
func TestWrongLoginsAtProvidersWait(t *testing.T) {
	w := newWorld(t)
	asked := 0
	wrong := func() error {
		_, _, err := w.logins.Foreign(t.Context(), "corp", from, func(context.Context) (login.Foreign, error) {
			asked++
			return login.Foreign{}, errs.Unauthenticated("LOGIN_STALE", "stale")
		})
		return err
	}
	for range 31 {
		wants(t, wrong(), "LOGIN_STALE")
	}
	wants(t, wrong(), "LOGIN_TOO_MANY")
	if asked != 31 {
		t.Errorf("asked %d times", asked)
	}
}

// TestCookieKeyIsOne: all replicas sign with the same.
func TestCookieKeyIsOne(t *testing.T) {
	w := newWorld(t)
	first, err := w.store.CookieKey(t.Context())
	w.must(err)
	second, err := w.store.CookieKey(t.Context())
	w.must(err)
	if len(first) != 32 || string(first) != string(second) {
		t.Error(first, second)
	}
}
