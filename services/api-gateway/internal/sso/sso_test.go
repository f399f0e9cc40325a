package sso_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/formicary/formicary/libs/egress"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/services/api-gateway/internal/login"
	"github.com/formicary/formicary/services/api-gateway/internal/sso"
	"github.com/formicary/formicary/services/api-gateway/internal/ssotest"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const base = "http://localhost:7777"

// world is logins at a provider, all on this machine.
type world struct {
	t        *testing.T
	provider *ssotest.Provider
	logins   *sso.Logins
	now      time.Time
}

func newWorld(t *testing.T, policy egress.Policy) *world {
	t.Helper()
	w := &world{t: t, now: time.Now(), provider: ssotest.New(t, ssotest.User{
		ID: "id2", Username: "ann", FirstName: "Ann", LastName: "Ant", Email: "ann@example.com", EmailVerified: true,
	})}
	w.provider.Client("formicary", "secret", base+"/auth/callback/corp", base+"/auth/callback/twin")
	corp := sso.Provider{Name: "corp", Issuer: w.provider.Issuer, ClientID: "formicary", Secret: "secret", Org: "default", Role: "org-viewer"}
	twin := corp
	twin.Name = "twin"
	w.logins = sso.New(sso.Options{
		Providers: []sso.Provider{corp, twin}, Egress: policy, Now: func() time.Time { return w.now }, Log: slog.New(slog.DiscardHandler),
		Key: func(context.Context) ([]byte, error) { return []byte("a key of this test, of 32 bytes.."), nil },
	})
	t.Cleanup(w.logins.Close)
	return w
}

var here = egress.Policy{Private: true, AnyPort: true} //nolint:gochecknoglobals // a constant

func (w *world) begin() (at, flight string) {
	w.t.Helper()
	at, flight, err := w.logins.Begin(w.t.Context(), "corp", sso.Start{Base: base, To: "/x?y=1", Invitation: "fmc_inv_x"})
	if err != nil {
		w.t.Fatal(err)
	}
	return at, flight
}

// visit logs ann in at the provider and returns what it sends the browser back with.
func (w *world) visit(at string) url.Values {
	w.t.Helper()
	b := ssotest.NewBrowser(w.t)
	back := url.Values{}
	b.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.Path, "/auth/callback/") {
			back = r.URL.Query()
			return http.ErrUseLastResponse
		}
		return nil
	}
	b.LogIn(b.Get(at), "ann")
	return back
}

func (w *world) finish(provider, flight string, back url.Values) (login.Foreign, string, error) {
	return w.logins.Finish(w.t.Context(), provider, sso.Return{Code: back.Get("code"), State: back.Get("state"), Error: back.Get("error"), Flight: flight})
}

func (w *world) refused(what, reason, provider, flight string, back url.Values) {
	w.t.Helper()
	if who, _, err := w.finish(provider, flight, back); errs.Reason(err) != reason || who != (login.Foreign{}) {
		w.t.Errorf("%s: %v %v, want %s", what, who, err, reason)
	}
}

func TestWhoSomebodyIs(t *testing.T) {
	w := newWorld(t, here)
	at, flight := w.begin()
	q, err := url.Parse(at)
	if err != nil || q.Query().Get("code_challenge_method") != "S256" || q.Query().Get("nonce") == "" || q.Query().Get("response_type") != "code" {
		t.Error(at, err)
	}
	back := w.visit(at)
	who, to, err := w.finish("corp", flight, back)
	want := login.Foreign{
		Issuer: w.provider.Issuer, Subject: "id2", Name: "ann", Title: "Ann Ant", Email: "ann@example.com", Org: "default", Role: "org-viewer", Invitation: "fmc_inv_x",
	}
	if err != nil || to != "/x?y=1" || who != want {
		t.Errorf("%+v %s %v", who, to, err)
	}
	w.refused("a code counts once", "LOGIN_WRONG", "corp", flight, back)
}

// TestLoginsThatOthersBegan: what comes back counts with what the browser kept that began it, in its time, for its provider.
func TestLoginsThatOthersBegan(t *testing.T) {
	w := newWorld(t, here)
	at, flight := w.begin()
	back := w.visit(at)
	_, other := w.begin()
	w.refused("another browser", "LOGIN_STALE", "corp", other, back)
	w.refused("no cookie", "LOGIN_STALE", "corp", "", back)
	w.refused("another provider", "LOGIN_STALE", "twin", flight, back)
	w.refused("a changed cookie", "LOGIN_STALE", "corp", "e30"+flight, back)
	w.refused("a cookie of nobody", "LOGIN_STALE", "corp", strings.Split(flight, ".")[0]+".AAAA", back)
	for _, state := range []string{"", "x", back.Get("state") + "x"} {
		changed := maps.Clone(back)
		changed.Set("state", state)
		w.refused("wrong state", "LOGIN_STALE", "corp", flight, changed)
	}
	refusal := maps.Clone(back)
	refusal.Set("error", "access_denied")
	w.refused("an error of the provider", "LOGIN_REFUSED", "corp", flight, refusal)
	w.now = w.now.Add(sso.FlightTime)
	w.refused("too late", "LOGIN_STALE", "corp", flight, back)
	w.now = w.now.Add(-sso.FlightTime)
	if _, _, err := w.finish("corp", flight, back); err != nil {
		t.Error("the code was spent by what was refused before:", err)
	}
}

// TestForgedTokens: only what the provider signed for this client and this login says who somebody is.
func TestForgedTokens(t *testing.T) {
	w := newWorld(t, here)
	set := func(key string, value any) func(map[string]any) string {
		return func(claims map[string]any) string {
			claims[key] = value
			return w.provider.Signed(claims)
		}
	}
	w.provider.Forge(w.provider.Signed)
	at, flight := w.begin()
	if _, _, err := w.finish("corp", flight, w.visit(at)); err != nil {
		t.Fatal("what is not changed is refused:", err)
	}
	for what, forge := range map[string]func(map[string]any) string{
		"nonce of another login": set("nonce", "another"), "no nonce": set("nonce", ""),
		"another audience": set("aud", []string{"another"}), "another issuer": set("iss", "https://evil.example/"),
		"expired": set("exp", w.now.Add(-time.Hour).Unix()), "no subject": set("sub", ""), "a long subject": set("sub", strings.Repeat("x", 256)),
		"a subject that cannot be stored": set("sub", "id2\x00"),
		"alg none":                        w.provider.Unsigned, "a key of nobody": w.provider.SignedByNobody, "HS256 with the public key": w.provider.SignedByPublicKey,
		"no token": func(map[string]any) string { return "" }, "no JWT": func(map[string]any) string { return "x.y.z" },
	} {
		w.provider.Forge(forge)
		at, flight := w.begin()
		w.refused(what, "LOGIN_WRONG", "corp", flight, w.visit(at))
	}
	w.provider.Forge(nil)
	at, flight = w.begin()
	tampered := strings.Replace(at, "nonce=", "nonce=x", 1) // by the browser, at the real provider
	w.refused("a nonce that the browser changed", "LOGIN_WRONG", "corp", flight, w.visit(tampered))
	at, flight = w.begin()
	_, second := w.begin()
	back := w.visit(at)
	w.refused("the code of one login in another", "LOGIN_STALE", "corp", second, back)
	at = withQuery(t, at, "code_challenge", "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU")
	w.refused("a code whose verifier is another's", "LOGIN_WRONG", "corp", flight, w.visit(at))
}

func withQuery(t *testing.T, at, key, value string) string {
	t.Helper()
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set(key, value)
	u.RawQuery = q.Encode()
	return u.String()
}

// TestProviderAway: a provider that does not answer is left alone for a while, and asked again.
func TestProviderAway(t *testing.T) {
	w := newWorld(t, here)
	begin := func() error {
		_, _, err := w.logins.Begin(t.Context(), "corp", sso.Start{Base: base, To: "/"})
		return err
	}
	w.provider.Away(true)
	if err := begin(); errs.Reason(err) != "PROVIDER_AWAY" || strings.Contains(err.Error(), "localhost") {
		t.Error(err)
	}
	w.provider.Away(false)
	if err := begin(); errs.Reason(err) != "PROVIDER_AWAY" {
		t.Error("it is asked at once again:", err)
	}
	w.now = w.now.Add(time.Minute)
	if err := begin(); err != nil {
		t.Error(err)
	}
	at, flight := w.begin()
	back := w.visit(at)
	w.provider.Away(true)
	w.refused("away at the end", "LOGIN_WRONG", "corp", flight, back)
	if _, _, err := w.logins.Begin(t.Context(), "nobody", sso.Start{Base: base, To: "/"}); errs.Reason(err) != "PROVIDER_UNKNOWN" {
		t.Error(err)
	}
	w.refused("an unknown provider", "PROVIDER_UNKNOWN", "nobody", flight, back)
}

// TestDiscoveryGoesWhereItMay: a provider on this machine is reached only where the policy says so.
func TestDiscoveryGoesWhereItMay(t *testing.T) {
	w := newWorld(t, egress.Policy{})
	if _, _, err := w.logins.Begin(t.Context(), "corp", sso.Start{Base: base, To: "/"}); errs.Reason(err) != "PROVIDER_AWAY" {
		t.Error(err)
	}
}

func TestOnlyBackToThisServer(t *testing.T) {
	w := newWorld(t, here)
	for _, to := range []string{
		"", "https://evil.example", "//evil.example", `/\evil.example`, `\\evil.example`, "javascript:alert(1)", "/x\r\nX: y", "evil", "http:/x", "///evil.example",
		"/\t/evil.example", "/ /x", "/" + strings.Repeat("x", 1500),
	} {
		if _, _, err := w.logins.Begin(t.Context(), "corp", sso.Start{Base: base, To: to}); errs.Reason(err) != "REQUEST_INVALID" {
			t.Errorf("%q: %v", to, err)
		}
	}
	for _, to := range []string{"/", "/login?to=%2Fx", "/auth/authorize?a=b&c=http%3A%2F%2F127.0.0.1%2F"} {
		if !sso.Local(to) {
			t.Error(to)
		}
	}
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	file, secret := filepath.Join(dir, "oidc.json"), filepath.Join(dir, "secret")
	write := func(path, text string, mode os.FileMode) {
		t.Helper()
		if err := errors.Join(os.WriteFile(path, []byte(text), mode), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
	}
	write(secret, "s1\n", 0o600)
	write(file, `{"providers":[{"name":"corp","issuer":"https://id.example.com","client_id":"x","org":"default","role":"org-viewer"}]}`, 0o644)
	env := map[string]string{
		"FORMICARY_OIDC_PROVIDERS": "corp, my-id", "FORMICARY_OIDC_CORP_CLIENT_SECRET_FILE": secret, "FORMICARY_OIDC_MY_ID_ISSUER": "https://my.example",
		"FORMICARY_OIDC_MY_ID_CLIENT_ID": "y", "FORMICARY_OIDC_MY_ID_SCOPES": "profile,groups",
	}
	all, err := sso.Read(file, func(k string) string { return env[k] })
	if err = errors.Join(err, sso.Validate(all)); err != nil {
		t.Fatal(err)
	}
	if len(all) != 2 || all[0].Secret != "s1" || all[0].Role != "org-viewer" || all[1].Name != "my-id" || all[1].ClientID != "y" || len(all[1].Scopes) != 2 {
		t.Errorf("%+v", all)
	}
	write(file, `{"providers":[{"name":"corp","client_secret":"x"}]}`, 0o644)
	if _, err := sso.Read(file, nil); err == nil || !strings.Contains(err.Error(), "others may read it") {
		t.Error(err)
	}
	write(file, `{"providers":[{"name":"corp","secret":"x"}]}`, 0o600)
	if _, err := sso.Read(file, nil); err == nil || !strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}

func TestValidate(t *testing.T) {
	good := sso.Provider{Name: "corp", Issuer: "https://id.example.com", ClientID: "x"}
	for want, change := range map[string]func(*sso.Provider){
		"name": func(p *sso.Provider) { p.Name = "password" }, "beginning": func(p *sso.Provider) { p.Name = "../x" },
		"issuer": func(p *sso.Provider) { p.Issuer = "id.example.com" }, "https": func(p *sso.Provider) { p.Issuer = "http://id.example.com" },
		"client_id": func(p *sso.Provider) { p.ClientID = "" }, "org and role": func(p *sso.Provider) { p.Org = "acme" },
		"role:": func(p *sso.Provider) { p.Org, p.Role = "acme", "platform-admin" }, "org:": func(p *sso.Provider) { p.Org, p.Role = "A c", "org-viewer" },
	} {
		p := good
		change(&p)
		if err := sso.Validate([]sso.Provider{p}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if err := sso.Validate([]sso.Provider{good, good}); err == nil {
		t.Error("two of one name")
	}
	if err := sso.Validate([]sso.Provider{good, {Name: "dev", Issuer: "http://localhost:9998/", ClientID: "x"}}); err != nil {
		t.Error(err)
	}
}
