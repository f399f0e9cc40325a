package pg_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/services/api-gateway/internal/identity"
	"github.com/formicary/formicary/services/api-gateway/internal/login"
	"github.com/formicary/formicary/services/api-gateway/internal/people"
)

var from = login.From{Address: home, Kind: login.Browser}

func (w *world) try(name, password, address string) error {
	_, _, err := w.logins.Password(w.t.Context(), name, password, login.From{Address: address, Kind: login.Browser})
	return err
}

func TestPasswords(t *testing.T) {
	w := newWorld(t)
	w.user("ann", "org-viewer")
	_, err := w.users.CreateUser(t.Context(), identity.User{Name: "bob"}, "", "", "test") // has no password
	w.must(err)
	w.must(w.try("ann", secret, home))
	var said []string
	for _, c := range [][2]string{{"ann", "wrong horse battery"}, {"ann", ""}, {"bob", ""}, {"bob", secret}, {"nobody", secret}, {"ANN", secret}, {"ann", strings.Repeat("x", 300)}} {
		err := w.try(c[0], c[1], "198.51.100."+c[0][:1])
		wants(t, err, "LOGIN_WRONG")
		said = append(said, err.Error())
	}
	for _, text := range said {
		if text != said[0] {
			t.Errorf("answers differ: %q, %q", text, said[0])
		}
	}
	_, err = w.users.Disable(t.Context(), "ann")
	w.must(err)
	wants(t, w.try("ann", secret, home), "LOGIN_WRONG")
	var stored string
	w.must(w.pool.QueryRow(t.Context(), "SELECT password FROM person WHERE name = 'ann'").Scan(&stored))
	if !strings.HasPrefix(stored, "$argon2id$v=19$m=64,t=2,p=1$") || strings.Contains(stored, secret) {
		t.Error(stored)
	}
	for _, weak := range []string{"", "short", strings.Repeat("a", 20), "password1234567", "my-name-is-bob-and", strings.Repeat("ab", 200)} {
		wants(t, w.logins.SetPassword(t.Context(), "bob", "", weak, false, home), "PASSWORD_WEAK")
	}
}

// TestWrongPasswordsWait: the clock alone says when the next attempt is looked at, also for one that would be right.
func TestWrongPasswordsWait(t *testing.T) {
	w := newWorld(t)
	w.user("ann", "org-viewer")
	other := "198.51.100.1"
	for range 6 {
		wants(t, w.try("ann", "wrong horse battery", home), "LOGIN_WRONG")
	}
	wants(t, w.try("ann", secret, other), "LOGIN_TOO_MANY") // from everywhere
	wants(t, w.try("nobody", secret, other), "LOGIN_WRONG")
	w.clock.pass(time.Second)
	wants(t, w.try("ann", "wrong horse battery", home), "LOGIN_WRONG")
	w.clock.pass(time.Second)
	wants(t, w.try("ann", secret, home), "LOGIN_TOO_MANY") // it doubles
	w.clock.pass(time.Second)
	w.must(w.try("ann", secret, home))
	w.must(w.try("ann", secret, home)) // and is forgotten
	for range 6 {                      // a user that does not exist waits the same way
		wants(t, w.try("ghost", secret, other), "LOGIN_WRONG")
	}
	wants(t, w.try("ghost", secret, other), "LOGIN_TOO_MANY")
}

// TestOneAddressTriesManyAccounts: it waits too, in all of its IPv6 network, and one right password is no way out.
func TestOneAddressTriesManyAccounts(t *testing.T) {
	w := newWorld(t)
	w.user("ann", "org-viewer")
	for i := range 31 {
		wants(t, w.try("guess"+uuid.NewString()[:8], secret, "2001:db8::"+string(rune('a'+i%6))), "LOGIN_WRONG")
	}
	wants(t, w.try("ann", secret, "2001:db8::1234:5678"), "LOGIN_TOO_MANY")
	w.must(w.try("ann", secret, "2001:db8:0:1::1"))
	w.clock.pass(time.Second)
	w.must(w.try("ann", secret, "2001:db8::1"))
	wants(t, w.try("guess", secret, "2001:db8::1"), "LOGIN_WRONG")
	wants(t, w.try("guess2", secret, "2001:db8::1"), "LOGIN_TOO_MANY")
}

// TestManyGuessesAtOnce: attempts are counted before they are looked at.
func TestManyGuessesAtOnce(t *testing.T) {
	w := newWorld(t)
	w.user("ann", "org-viewer")
	var g errgroup.Group
	var mu sync.Mutex
	looked := 0
	for range 20 {
		g.Go(func() error {
			err := w.try("ann", "wrong horse battery", home)
			if errs.Reason(err) == "LOGIN_WRONG" {
				mu.Lock()
				looked++
				mu.Unlock()
				return nil
			}
			if errs.Reason(err) == "LOGIN_TOO_MANY" {
				return nil
			}
			return err
		})
	}
	w.must(g.Wait())
	if looked > 6 {
		t.Errorf("%d of 20 guesses were looked at", looked)
	}
}

func TestChangeOfThePassword(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.user("ann", "org-viewer")
	session := w.login("ann")
	token, _, err := w.logins.CreateToken(ctx, login.Token{Owner: "ann", Name: "ci"}, 0, login.Bounds{})
	w.must(err)
	wants(t, w.logins.SetPassword(ctx, "ann", "wrong horse battery", "another horse battery", true, home), "LOGIN_WRONG")
	w.must(w.logins.SetPassword(ctx, "ann", secret, "another horse battery", true, home))
	_, err = w.people.Find(ctx, session, "")
	wants(t, err, "CREDENTIAL_INVALID")
	_, err = w.people.Find(ctx, token, "")
	w.must(err)
	wants(t, w.try("ann", secret, home), "LOGIN_WRONG")
	w.must(w.logins.SetPassword(ctx, "ann", "", secret, false, home)) // by an admin
	w.clock.pass(people.Keep)
	_, err = w.people.Find(ctx, token, "")
	wants(t, err, "CREDENTIAL_INVALID")
}

func TestSessionsEnd(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.user("ann", "org-viewer")
	life := login.DefaultConfig().Browser
	find := func(s string) error { _, err := w.people.Find(ctx, s, ""); return err }

	idle := w.login("ann")
	w.must(find(idle))
	w.clock.pass(life.Idle)
	wants(t, find(idle), "CREDENTIAL_INVALID")

	used := w.login("ann")
	for range int(life.Most/life.Idle)*2 - 1 {
		w.clock.pass(life.Idle / 2)
		w.must(find(used))
		w.must(w.people.Touch(ctx))
	}
	w.clock.pass(life.Idle / 2)
	wants(t, find(used), "CREDENTIAL_INVALID") // at its age

	a, b := w.login("ann"), w.login("ann")
	c, err := w.people.Find(ctx, a, "")
	w.must(err)
	w.must(w.logins.End(ctx, "ann", uuid.MustParse(c.Credential)))
	wants(t, w.logins.End(ctx, "ann", uuid.MustParse(c.Credential)), "SESSION_NOT_FOUND")
	w.clock.pass(people.Keep)
	wants(t, find(a), "CREDENTIAL_INVALID")
	w.must(find(b))
	w.user("bob", "org-viewer")
	bobs := w.login("bob")
	cb, err := w.people.Find(ctx, bobs, "")
	w.must(err)
	wants(t, w.logins.End(ctx, "ann", uuid.MustParse(cb.Credential)), "SESSION_NOT_FOUND") // of another user
	n, err := w.logins.EndAll(ctx, "ann")
	if err != nil || n < 1 {
		t.Error(n, err)
	}
	w.clock.pass(people.Keep)
	wants(t, find(b), "CREDENTIAL_INVALID")
	w.must(find(bobs))
}

// TestRevokedWithinFiveSeconds: what another replica revokes counts no longer than people keep it, and what this one
// revokes not at all.
func TestRevokedWithinFiveSeconds(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	if people.Keep >= 5*time.Second {
		t.Fatal("credentials are kept for", people.Keep)
	}
	w.user("ann", "org-developer")
	give := func() (string, uuid.UUID) {
		plain, tok, err := w.logins.CreateToken(ctx, login.Token{Owner: "ann", Name: "ci"}, 0, login.Bounds{})
		w.must(err)
		_, err = w.people.Find(ctx, plain, "")
		w.must(err)
		return plain, tok.ID
	}
	gone := func(plain string) {
		t.Helper()
		_, err := w.people.Find(ctx, plain, "")
		wants(t, err, "CREDENTIAL_INVALID")
	}
	plain, id := give()
	w.must(w.logins.Revoke(ctx, id))
	w.clock.pass(people.Keep)
	gone(plain)
	plain, id = give()
	w.must(w.logins.Revoke(ctx, id))
	w.people.Forget()
	gone(plain)

	plain, _ = give()
	session := w.login("ann")
	_, err := w.users.Disable(ctx, "ann")
	w.must(err)
	w.clock.pass(people.Keep)
	gone(plain)
	gone(session)
	_, err = w.users.Enable(ctx, "ann")
	w.must(err)
	w.people.Forget()
	gone(plain) // what has ended stays ended
	gone(session)

	plain, _ = give()
	w.must(w.users.RemoveMember(ctx, "default", "ann"))
	w.clock.pass(people.Keep)
	_, err = w.people.Find(ctx, plain, "default")
	wants(t, err, "ORG_NOT_FOUND")
	plain, _ = give()
	w.clock.pass(login.TokenLife)
	gone(plain)
	for _, junk := range []string{"", "x", "fmc_pat_", "fmc_ses_", "fmc_pat_" + strings.Repeat("A", 43), strings.Repeat("a", 5000), "fmc_pat_\x00"} {
		gone(junk)
	}
}

func TestTokens(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.user("ann", "org-developer")
	_, err := w.users.CreateOrg(ctx, "acme", "", "ann", "ann")
	w.must(err)
	make := func(tok login.Token, by login.Bounds) (string, login.Token, error) {
		tok.Owner = "ann"
		if tok.Name == "" {
			tok.Name = "ci"
		}
		return w.logins.CreateToken(ctx, tok, 0, by)
	}
	for _, scope := range []string{"", "request", "Request.read", "request.read ", "request.read,log.read", "**", "a.b.c"} {
		_, _, err := make(login.Token{Scopes: []string{scope}}, login.Bounds{})
		wants(t, err, "TOKEN_INVALID")
	}
	_, _, err = w.logins.CreateToken(ctx, login.Token{Owner: "ann", Name: "ci"}, login.MaxTokenLife+1, login.Bounds{})
	wants(t, err, "TOKEN_INVALID")

	plain, narrow, err := make(login.Token{Org: "acme", Scopes: []string{"request.read", "token.own"}}, login.Bounds{})
	w.must(err)
	c, err := w.people.Find(ctx, plain, "")
	if err != nil || c.Org != "acme" || len(c.Scopes) != 2 || c.Roles[0] != "org-admin" {
		t.Error(c, err)
	}
	_, err = w.people.Find(ctx, plain, "default") // its user is a member, but it acts in acme only
	wants(t, err, "ORG_NOT_FOUND")

	// A token makes none that can do more, lives longer or acts elsewhere.
	by := login.Bounds{Token: narrow.ID}
	_, _, err = make(login.Token{Org: "acme", Scopes: []string{"*"}}, by)
	wants(t, err, "TOKEN_TOO_WIDE")
	_, _, err = make(login.Token{Org: "", Scopes: []string{"request.read"}}, by)
	wants(t, err, "TOKEN_TOO_WIDE")
	_, _, err = make(login.Token{Org: "default", Scopes: []string{"request.read"}}, by)
	wants(t, err, "TOKEN_TOO_WIDE")
	w.clock.pass(time.Hour)
	_, child, err := make(login.Token{Org: "acme"}, by)
	if err != nil || child.Scopes == nil || !child.ExpiresAt.Equal(narrow.ExpiresAt) {
		t.Error(child, err)
	}
	none, _, err := make(login.Token{Scopes: []string{}}, login.Bounds{})
	w.must(err)
	if c, err := w.people.Find(ctx, none, ""); err != nil || c.Scopes == nil || len(c.Scopes) != 0 {
		t.Error("no scopes are all scopes:", c, err)
	}

	// Its secret is stored nowhere.
	var rows int
	w.must(w.pool.QueryRow(ctx, "SELECT count(*) FROM token t WHERE t::text LIKE '%' || $1 || '%'", plain[8:]).Scan(&rows))
	if rows != 0 {
		t.Error("the secret of a token is stored")
	}
	list, err := w.logins.Tokens(ctx, "ann", uuid.Nil, 10)
	if err != nil || len(list) != 3 {
		t.Error(list, err)
	}
	w.must(w.people.Touch(ctx))
	list, err = w.logins.Tokens(ctx, "ann", uuid.Nil, 10)
	if err != nil || list[0].LastUsedAt == nil || list[1].LastUsedAt != nil {
		t.Error("the last use is not known:", list, err)
	}
	for range 97 {
		_, _, err = make(login.Token{}, login.Bounds{})
		w.must(err)
	}
	_, _, err = make(login.Token{}, login.Bounds{})
	wants(t, err, "TOO_MANY_TOKENS")
}

func TestWhereSomebodyActs(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.user("ann", "org-viewer")
	_, err := w.users.CreateOrg(ctx, "acme", "", "", "root")
	w.must(err)
	s := w.login("ann")
	for org, want := range map[string]string{"": "default", "default": "default", "acme": "", "nowhere": "", "' OR true --": ""} {
		c, err := w.people.Find(ctx, s, org)
		if want == "" {
			wants(t, err, "ORG_NOT_FOUND")
		} else if err != nil || c.Org != want {
			t.Error(org, c, err)
		}
	}
	_, hidden := w.people.Find(ctx, s, "acme")
	_, absent := w.people.Find(ctx, s, "nowhere")
	if strings.ReplaceAll(hidden.Error(), "acme", "nowhere") != absent.Error() {
		t.Errorf("an org that exists is told from one that does not: %v, %v", hidden, absent)
	}
	_, err = w.users.AddMember(ctx, identity.Member{Org: "acme", User: "ann", Role: "org-admin", AddedBy: "root"})
	w.must(err)
	acme := "acme"
	_, err = w.users.UpdateProfile(ctx, "ann", identity.Profile{DefaultOrg: &acme})
	w.must(err)
	w.people.Forget()
	if c, err := w.people.Find(ctx, s, ""); err != nil || c.Org != "acme" || c.Roles[0] != "org-admin" {
		t.Error(c, err)
	}
	_, err = w.users.SetPlatformRole(ctx, "ann", identity.PlatformAuditor)
	w.must(err)
	_, err = w.users.CreateOrg(ctx, "third", "", "", "root")
	w.must(err)
	w.people.Forget()
	if c, err := w.people.Find(ctx, s, "third"); err != nil || len(c.Roles) != 1 || c.Roles[0] != "platform-auditor" {
		t.Error(c, err)
	}
	_, err = w.people.Find(ctx, s, "nowhere")
	wants(t, err, "ORG_NOT_FOUND")
}

func TestBootstrap(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	use := func(code, name string) error {
		_, _, err := w.logins.Bootstrap(ctx, code, name, secret, from)
		return err
	}
	old, err := w.logins.NewBootstrap(ctx)
	w.must(err)
	wants(t, use("fmc_boot_guess", "root"), "BOOTSTRAP_INVALID")
	wants(t, use("", "root"), "BOOTSTRAP_INVALID")
	code, err := w.logins.NewBootstrap(ctx) // the next start
	w.must(err)
	wants(t, use(old, "root"), "BOOTSTRAP_INVALID")
	w.clock.pass(login.BootstrapLife)
	wants(t, use(code, "root"), "BOOTSTRAP_INVALID")
	code, err = w.logins.NewBootstrap(ctx)
	w.must(err)
	var g errgroup.Group
	won := make(chan string, 4)
	for _, name := range []string{"root0", "root1", "root2", "root3"} {
		g.Go(func() error {
			err := use(code, name)
			if err == nil {
				won <- name
			}
			return other(err, "BOOTSTRAP_INVALID")
		})
	}
	w.must(g.Wait())
	if len(won) != 1 {
		t.Fatalf("a code made %d platform-admins", len(won))
	}
	c, err := w.people.Find(ctx, w.login(<-won), "")
	if err != nil || c.Org != "default" || strings.Join(c.Roles, " ") != "org-admin platform-admin" {
		t.Error(c, err)
	}
	if code, err = w.logins.NewBootstrap(ctx); err != nil || code != "" {
		t.Error("a code is made though there is a platform-admin:", err)
	}
	wants(t, use(code, "again"), "BOOTSTRAP_INVALID")
}

func TestDeviceLogin(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.user("ann", "org-viewer")
	begin := func() (string, string) {
		secret, code, _, err := w.logins.BeginDevice(ctx, login.From{Address: home, Agent: "cli"})
		w.must(err)
		return secret, code
	}
	poll := func(secret string) (string, bool, error) {
		s, _, pending, err := w.logins.PollDevice(ctx, secret, login.From{Address: home})
		return s, pending, err
	}
	device, code := begin()
	if _, pending, err := poll(device); err != nil || !pending {
		t.Fatal(pending, err)
	}
	_, err := w.logins.Approve(ctx, "WRNG-CODE", "ann", true, home)
	wants(t, err, "LOGIN_CODE_INVALID")
	p, err := w.logins.Approve(ctx, strings.ToLower(strings.ReplaceAll(code, "-", " ")), "ann", true, home)
	if err != nil || p.Agent != "cli" {
		t.Fatal(p, err)
	}
	_, err = w.logins.Approve(ctx, code, "ann", true, home)
	wants(t, err, "LOGIN_CODE_INVALID") // once
	session, _, err := poll(device)
	w.must(err)
	if c, err := w.people.Find(ctx, session, ""); err != nil || c.User != "ann" {
		t.Error(c, err)
	}
	_, _, err = poll(device)
	wants(t, err, "LOGIN_CODE_INVALID") // once

	device, code = begin()
	_, err = w.logins.Approve(ctx, code, "ann", false, home)
	w.must(err)
	_, _, err = poll(device)
	wants(t, err, "LOGIN_DENIED")

	device, code = begin()
	_, err = w.logins.Approve(ctx, code, "ann", true, home)
	w.must(err)
	_, err = w.users.Disable(ctx, "ann")
	w.must(err)
	_, _, err = poll(device)
	wants(t, err, "LOGIN_CODE_INVALID")

	device, code = begin()
	w.clock.pass(login.DeviceLife)
	_, err = w.logins.Approve(ctx, code, "ann", true, home)
	wants(t, err, "LOGIN_CODE_INVALID")
	_, _, err = poll(device)
	wants(t, err, "LOGIN_CODE_INVALID")
	for range 10 { // guesses are slowed down
		_, err = w.logins.Approve(ctx, "GUES-SING", "ann", true, home)
	}
	wants(t, err, "LOGIN_TOO_MANY")
}

func TestLoginInTheBrowser(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.user("ann", "org-viewer")
	verifier := strings.Repeat("v", 43)
	sum := sha256.Sum256([]byte(verifier))
	challenge := base64.RawURLEncoding.EncodeToString(sum[:])
	grant := func() string {
		code, err := w.logins.Grant(ctx, "ann", challenge, from)
		w.must(err)
		return code
	}
	exchange := func(ctx context.Context, code, verifier string) error {
		_, _, err := w.logins.Exchange(ctx, code, verifier, login.From{Address: home})
		return err
	}
	w.must(exchange(ctx, grant(), verifier))
	code := grant()
	wants(t, exchange(ctx, code, "another"), "LOGIN_CODE_INVALID")
	wants(t, exchange(ctx, code, verifier), "LOGIN_CODE_INVALID") // a wrong verifier spends it
	code = grant()
	if _, _, _, err := w.logins.PollDevice(ctx, code, from); errs.Reason(err) != "LOGIN_CODE_INVALID" {
		t.Error("a code was exchanged without its verifier:", err)
	}
	device, _, _, err := w.logins.BeginDevice(ctx, from)
	w.must(err)
	wants(t, exchange(ctx, device, ""), "LOGIN_CODE_INVALID")
	for _, bad := range []string{"", "plain", verifier + "==", strings.Repeat("A", 42)} {
		_, err := w.logins.Grant(ctx, "ann", bad, from)
		wants(t, err, "LOGIN_INVALID")
	}
	code = grant()
	w.clock.pass(time.Minute - time.Second)
	w.must(exchange(ctx, code, verifier))
	code = grant()
	w.clock.pass(time.Minute)
	wants(t, exchange(ctx, code, verifier), "LOGIN_CODE_INVALID")
	var stored string
	w.must(w.pool.QueryRow(ctx, "SELECT string_agg(p::text, '') FROM pending_login p").Scan(&stored))
	if strings.Contains(stored, strings.TrimPrefix(code, identity.LoginPrefix)) {
		t.Error("a code is stored as it is")
	}
}

func TestSweep(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.user("ann", "org-viewer")
	_ = w.login("ann")
	_, _, _, err := w.logins.BeginDevice(ctx, from)
	w.must(err)
	w.clock.pass(40 * 24 * time.Hour)
	w.must(w.store.Sweep(ctx, w.clock.now()))
	for _, table := range []string{"session", "pending_login", "attempt"} {
		var n int
		w.must(w.pool.QueryRow(ctx, "SELECT count(*) FROM "+table).Scan(&n))
		if n != 0 {
			t.Errorf("%d rows of %s are left", n, table)
		}
	}
}
