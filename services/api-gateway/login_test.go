package apigateway_test

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/formicary/formicary/libs/egress"
	"github.com/formicary/formicary/libs/testkit"
	identityv1 "github.com/formicary/formicary/proto/gen/formicary/identity/v1"
	apigateway "github.com/formicary/formicary/services/api-gateway"
	"github.com/formicary/formicary/services/api-gateway/internal/ssotest"
)

// withProviders is a colony where people log in at corp, whose people are members, and at partner, whose people are not.
func withProviders(t *testing.T, users ...ssotest.User) (*colony, *ssotest.Provider) {
	t.Helper()
	p := ssotest.New(t, users...)
	providers, err := apigateway.ReadProviders("", func(key string) string {
		return map[string]string{
			"FORMICARY_OIDC_PROVIDERS":   "corp,partner",
			"FORMICARY_OIDC_CORP_ISSUER": p.Issuer, "FORMICARY_OIDC_CORP_CLIENT_ID": "formicary", "FORMICARY_OIDC_CORP_CLIENT_SECRET": "secret",
			"FORMICARY_OIDC_CORP_ORG": "default", "FORMICARY_OIDC_CORP_ROLE": "org-developer", "FORMICARY_OIDC_CORP_TITLE": "Corp <b>Ltd</b>",
			"FORMICARY_OIDC_PARTNER_ISSUER": p.Issuer, "FORMICARY_OIDC_PARTNER_CLIENT_ID": "partner", "FORMICARY_OIDC_PARTNER_CLIENT_SECRET": "secret",
		}[key]
	})
	if err != nil {
		t.Fatal(err)
	}
	c := secured(t, func(s *setting) {
		s.conf.Providers, s.conf.Egress = providers, egress.Policy{Private: true, AnyPort: true}
	})
	p.Client("formicary", "secret", c.base+"/auth/callback/corp")
	p.Client("partner", "secret", c.base+"/auth/callback/partner")
	return c, p
}

// at logs somebody in at a provider, from the page of logins on, and returns where the browser ends.
func (c *colony) at(b *ssotest.Browser, provider, user string, fields ...string) ssotest.Page {
	c.t.Helper()
	page := b.Post(c.base+"/auth/login/"+provider, fields...)
	return b.LogIn(b.Get(b.Onward(page)), user)
}

// cookies are those that the browser keeps for the gateway.
func (c *colony) cookies(b *ssotest.Browser) map[string]string {
	at, _ := url.Parse(c.base)
	all := map[string]string{}
	for _, k := range b.Jar.Cookies(at) {
		all[k.Name] = k.Value
	}
	return all
}

const whoAmI = "/api/v1/users/profile"

func TestLoginAtAProvider(t *testing.T) {
	c, p := withProviders(t, ssotest.User{ID: "id1", Username: "ann", Email: "ann@example.com", EmailVerified: true}, ssotest.User{ID: "id2", Username: "bob", Email: "bob@example.com"})
	b := ssotest.NewBrowser(t)
	page := b.Get(c.base + "/login?to=" + url.QueryEscape(whoAmI))
	if !strings.Contains(page.Body, "Corp &lt;b&gt;Ltd&lt;/b&gt;") || !strings.Contains(page.Body, `formaction="/auth/login/partner"`) || page.Hidden().Get("to") != whoAmI {
		t.Error(page.Body)
	}
	end := c.at(b, "corp", "ann", "to", whoAmI)
	if end.Code != http.StatusOK || end.URL.Path != whoAmI || !strings.Contains(end.Body, `"name":"ann"`) || !strings.Contains(end.Body, "org-developer") {
		t.Fatal(end)
	}
	if have := c.cookies(b); len(have) != 1 || !strings.HasPrefix(have["formicary"], "fmc_ses_") {
		t.Error(have)
	}
	if page := b.Get(c.base + "/login"); !strings.Contains(page.Body, "logged in as <strong>ann</strong>") {
		t.Error(page.Body)
	}
	if out := b.Post(c.base + "/logout"); out.URL.Path != "/login" || len(c.cookies(b)) != 0 {
		t.Error(out, c.cookies(b))
	}

	// Another address and name, and the same user; a plain link begins a login too.
	p.Change("id1", func(u *ssotest.User) { u.Email, u.Username = "root@example.com", "root" })
	again := ssotest.NewBrowser(t)
	end = again.LogIn(again.Get(c.base+"/auth/login/corp?to="+url.QueryEscape(whoAmI)), "root")
	if !strings.Contains(end.Body, `"name":"ann"`) || strings.Contains(end.Body, "platform-admin") {
		t.Error(end.Body)
	}

	// Somebody who is not invited, and who then is.
	stranger := ssotest.NewBrowser(t)
	if end := c.at(stranger, "partner", "bob"); end.Code != http.StatusForbidden || !strings.Contains(end.Body, "ask for an invitation") || len(c.cookies(stranger)) != 0 {
		t.Error(end, c.cookies(stranger))
	}
	code := field(t, c.do("POST", "/api/v1/orgs/default/invitations", `{"role":"org-viewer"}`, bearer(c.root)), "code")
	if end := c.at(stranger, "partner", "bob", "to", whoAmI, "invitation", code); !strings.Contains(end.Body, `"name":"bob"`) || !strings.Contains(end.Body, "org-viewer") {
		t.Error(end.Body)
	}

	// A user who was disabled.
	if r := c.do("POST", "/api/v1/users/ann/disable", "{}", bearer(c.root)); r.code != http.StatusOK {
		t.Fatal(r)
	}
	if end := c.at(ssotest.NewBrowser(t), "corp", "root"); end.Code != http.StatusForbidden {
		t.Error(end)
	}
	p.Away(true)
	if end := ssotest.NewBrowser(t).Get(c.base + "/auth/callback/corp?code=x&state=y"); end.Code != http.StatusUnauthorized || !strings.Contains(end.Body, "begin again") {
		t.Error(end)
	}
	if end := b.Get(c.base + "/auth/login/nobody"); end.Code != http.StatusNotFound {
		t.Error(end)
	}

	// Who logged in, and who was refused, is in the audit log; codes and secrets are not.
	c.audited("FinishProviderLogin", "ann OK ", "bob OK ", " REFUSED LOGIN_UNKNOWN", " REFUSED LOGIN_STALE")
}

// audited waits for events of a method, each as actor, outcome, reason, and returns all that there are.
func (c *colony) audited(method string, wants ...string) (events string) {
	c.t.Helper()
	testkit.Eventually(c.t, time.Minute, fmt.Sprint("events ", wants), func() bool {
		page, err := c.audit().ListAuditEvents(bearing(c.t.Context(), c.root), &identityv1.ListAuditEventsRequest{Action: method, PageSize: 100})
		if err != nil {
			c.t.Fatal(err)
		}
		events = ""
		for _, e := range page.GetEvents() {
			events += fmt.Sprintf("%s %s %s %s\n", e.GetActor(), strings.TrimPrefix(e.GetOutcome().String(), "OUTCOME_"), e.GetReason(), e.GetObjectId())
		}
		return !slices.ContainsFunc(wants, func(w string) bool { return !strings.Contains(events, w) })
	})
	return events
}

// TestCallbacksThatOthersBegan: neither another browser nor the same one a second time gets in by an address.
func TestCallbacksThatOthersBegan(t *testing.T) {
	c, _ := withProviders(t, ssotest.User{ID: "id1", Username: "ann"})
	victim, attacker := ssotest.NewBrowser(t), ssotest.NewBrowser(t)
	callback := ""
	attacker.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.Path, "/auth/callback/") {
			callback = r.URL.String()
			return http.ErrUseLastResponse
		}
		return nil
	}
	c.at(attacker, "corp", "ann")
	kept := c.cookies(attacker)["formicary-login"]
	if callback == "" || kept == "" {
		t.Fatal(callback, kept)
	}
	if end := victim.Get(callback); end.Code != http.StatusUnauthorized || len(c.cookies(victim)) != 0 {
		t.Error("a browser is logged in as somebody else:", end)
	}
	if end := attacker.Get(callback); end.URL.Path != "/login" || c.cookies(attacker)["formicary"] == "" {
		t.Fatal(end)
	}
	if end := attacker.Get(callback); end.Code != http.StatusUnauthorized {
		t.Error("a callback counts twice:", end)
	}
	// Who kept the cookie finds the code spent.
	if r := c.do("GET", strings.TrimPrefix(callback, c.base), "", "Cookie: formicary-login="+kept); r.code != http.StatusUnauthorized || len(r.header.Values("Set-Cookie")) != 1 {
		t.Error(r)
	}
	for _, to := range []string{"https://evil.example/", "//evil.example", `/\evil.example`} {
		if end := victim.Get(c.base + "/auth/login/corp?to=" + url.QueryEscape(to)); end.Code != http.StatusBadRequest {
			t.Error(to, end)
		}
	}
}

func TestLoginPage(t *testing.T) {
	c := secured(t)
	c.user("vera", "org-viewer")
	b := ssotest.NewBrowser(t)
	page := b.Get(c.base + "/login?to=" + url.QueryEscape(whoAmI))
	policy := page.Header.Get("Content-Security-Policy")
	_, nonce, _ := strings.Cut(page.Body, `<style nonce="`)
	nonce, _, _ = strings.Cut(nonce, `"`)
	if len(nonce) < 20 || policy != "default-src 'none'; style-src 'nonce-"+nonce+"'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'" ||
		strings.Contains(page.Body, "<script") || strings.Contains(page.Body, "ZgotmplZ") || page.Header.Get("Cache-Control") != "no-store" {
		t.Error(policy, page.Body)
	}
	if other := b.Get(c.base + "/login"); strings.Contains(other.Body, nonce) {
		t.Error("a nonce comes again")
	}
	const evil = `"><script>alert(1)</script>`
	wrong := b.Post(c.base+"/login", "user", evil, "password", "not the password", "to", whoAmI)
	if wrong.Code != http.StatusUnauthorized || !strings.Contains(wrong.Body, "the name or the password is wrong") || strings.Contains(wrong.Body, "<script") || wrong.Hidden().Get("to") != whoAmI {
		t.Error(wrong)
	}
	for _, to := range []string{"https://evil.example/", "//evil.example", `/\evil.example`, "javascript:alert(1)"} {
		for _, end := range []ssotest.Page{
			b.Get(c.base + "/login?to=" + url.QueryEscape(to)), b.Post(c.base+"/login", "user", "vera", "password", password, "to", to),
		} {
			if end.Code != http.StatusBadRequest || len(c.cookies(b)) != 0 {
				t.Error(to, end)
			}
		}
	}
	form := url.Values{"user": {"vera"}, "password": {password}}
	if end := b.PostFrom("https://evil.example", c.base+"/login", form); end.Code != http.StatusForbidden || len(c.cookies(b)) != 0 {
		t.Error("a page of another origin logs its own user in:", end)
	}
	end := b.Post(c.base+"/login", "user", "vera", "password", password, "to", whoAmI)
	if end.URL.Path != whoAmI || !strings.Contains(end.Body, `"name":"vera"`) {
		t.Error(end)
	}
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	r := c.do("POST", "/login", form.Encode(), "Content-Type: application/x-www-form-urlencoded", "Host: ci.example.com")
	if cookie := r.header.Get("Set-Cookie"); !strings.HasPrefix(cookie, "__Host-formicary=fmc_ses_") || !strings.Contains(cookie, "; HttpOnly; Secure; SameSite=Lax") {
		t.Error(cookie)
	}
	for range 6 {
		b.Post(c.base+"/login", "user", "vera", "password", "not the password")
	}
	if wrong = b.Post(c.base+"/login", "user", "vera", "password", password); wrong.Code != http.StatusTooManyRequests || wrong.Header.Get("Retry-After") == "" {
		t.Error(wrong)
	}
	c.audited("Login", "vera OK ", " REFUSED LOGIN_WRONG")
}

func challengeOf(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// TestCommandLineLogsInByBrowser: what somebody confirms in a browser gives a session to the command line that asks, and to nobody else.
func TestCommandLineLogsInByBrowser(t *testing.T) {
	c := secured(t)
	c.user("vera", "org-viewer")
	const verifier = "a verifier of this test that nobody guesses"
	asks := url.Values{
		"redirect_uri": {"http://127.0.0.1:4567/"}, "code_challenge": {challengeOf(verifier)}, "code_challenge_method": {"S256"}, "state": {"s<1>"}, "machine": {"<b>lab"},
	}
	with := func(key, value string) url.Values {
		q := url.Values{}
		for k := range asks {
			q.Set(k, asks.Get(k))
		}
		q.Set(key, value)
		return q
	}
	b := ssotest.NewBrowser(t)
	page := b.Get(c.base + "/auth/authorize?" + asks.Encode())
	if page.URL.Path != "/login" {
		t.Fatal(page)
	}
	page = b.Post(c.base+"/login", "user", "vera", "password", password, "to", page.Hidden().Get("to"))
	if page.URL.Path != "/auth/authorize" || !strings.Contains(page.Body, "act as <strong>vera</strong>") || !strings.Contains(page.Body, "&lt;b&gt;lab") || strings.Contains(page.Body, "<b>") {
		t.Fatal(page)
	}
	for _, to := range []string{
		"https://evil.example/", "http://evil.example:1/", "http://localhost:4567/", "http://127.0.0.1/", "http://127.0.0.1:0/", "http://127.0.0.1:4567", "http://127.0.0.1:4567/x",
		"http://127.0.0.1:4567/?x", "http://127.0.0.1:4567/#x", "http://127.0.0.1:4567@evil.example/", "http://x@127.0.0.1:4567/", "http://127.0.0.2:4567/", "https://127.0.0.1:4567/",
		"http://127.0.0.1.evil.example:4567/", "http://[::ffff:127.0.0.1]:4567/", "http://[::1%25lo]:4567/", "javascript:alert(1)", "",
	} {
		if got := b.Get(c.base + "/auth/authorize?" + with("redirect_uri", to).Encode()); got.Code != http.StatusBadRequest {
			t.Error(to, got)
		}
	}
	for key, values := range map[string][]string{
		"code_challenge_method": {"plain", ""}, "code_challenge": {""}, "state": {"", strings.Repeat("x", 201)}, "machine": {"a\nb", strings.Repeat("x", 101)},
	} {
		for _, v := range values {
			if got := b.Get(c.base + "/auth/authorize?" + with(key, v).Encode()); got.Code != http.StatusBadRequest {
				t.Error(key, v, got)
			}
		}
	}
	if got := b.Get(c.base + "/auth/authorize?" + with("redirect_uri", "http://[::1]:4567/").Encode()); got.Code != http.StatusOK {
		t.Error(got)
	}

	answer := func(how string) url.Values {
		t.Helper()
		form := page.Hidden()
		end := b.Post(c.base+"/auth/authorize", "redirect_uri", form.Get("redirect_uri"), "code_challenge", form.Get("code_challenge"),
			"code_challenge_method", form.Get("code_challenge_method"), "state", form.Get("state"), "machine", form.Get("machine"), "answer", how)
		at := b.Onward(end)
		u, err := url.Parse(at)
		if err != nil || !strings.HasPrefix(at, "http://127.0.0.1:4567/?") || u.Query().Get("state") != "s<1>" {
			t.Fatal(at, err)
		}
		return u.Query()
	}
	exchange := func(code, verifier string) reply {
		return c.do("POST", "/api/v1/auth/exchange", fmt.Sprintf(`{"code":%q,"verifier":%q}`, code, verifier))
	}
	if q := answer("deny"); q.Get("error") != "access_denied" || q.Has("code") {
		t.Error(q)
	}
	code := answer("confirm").Get("code")
	c.refused("another verifier", exchange(code, "another"), http.StatusNotFound, "LOGIN_CODE_INVALID")
	c.refused("a code that is spent", exchange(code, verifier), http.StatusNotFound, "LOGIN_CODE_INVALID")
	code = answer("confirm").Get("code")
	session := field(t, exchange(code, verifier), "secret")
	c.refused("a second time", exchange(code, verifier), http.StatusNotFound, "LOGIN_CODE_INVALID")
	if r := c.do("GET", "/api/v1/sessions", "", bearer(session)); !strings.Contains(r.body, `"kind":"cli"`) || !strings.Contains(r.body, `"method":"browser"`) {
		t.Error(r)
	}

	// Nobody else gives out codes: no other origin, no token, nobody who is not logged in.
	if end := b.PostFrom("https://evil.example", c.base+"/auth/authorize", with("answer", "confirm")); end.Code != http.StatusForbidden {
		t.Error(end)
	}
	token := field(t, c.do("POST", "/api/v1/tokens", `{"name":"ci","scopes":["*"]}`, bearer(session)), "secret")
	for _, header := range []string{bearer(token), bearer(session), "X-Formicary-User: vera"} {
		if r := c.do("POST", "/auth/authorize", with("answer", "confirm").Encode(), "Content-Type: application/x-www-form-urlencoded", header); strings.Contains(r.header.Get("Refresh"), "code=") {
			t.Error(header, r)
		}
	}
	grant := func(secret string) error {
		_, err := identityv1.NewSessionServiceClient(c.grpc).GrantLogin(bearing(t.Context(), secret), &identityv1.GrantLoginRequest{Challenge: challengeOf(verifier)})
		return err
	}
	if err := grant(token); err == nil || !strings.Contains(err.Error(), "SESSION") && !strings.Contains(err.Error(), "token is not enough") {
		t.Error(err)
	}
	if events := c.audited("GrantLogin", "vera OK ") + c.audited("ExchangeLogin", "vera OK ", " FAILED LOGIN_CODE_INVALID"); strings.Contains(events, code) {
		t.Error(events)
	}
}

// TestDevicePage: the code of another device is confirmed by who is logged in, who sees first what it is.
func TestDevicePage(t *testing.T) {
	c := secured(t)
	c.user("vera", "org-viewer")
	begin := func() (device, code string) {
		r := c.do("POST", "/api/v1/auth/device", "{}", "User-Agent: formicary (<lab>)")
		return field(t, r, "device_code"), field(t, r, "user_code")
	}
	poll := func(device string) reply {
		return c.do("POST", "/api/v1/auth/device/poll", fmt.Sprintf(`{"device_code":%q}`, device))
	}
	device, code := begin()
	b := ssotest.NewBrowser(t)
	page := b.Get(c.base + "/device?code=" + code)
	page = b.Post(c.base+"/login", "user", "vera", "password", password, "to", page.Hidden().Get("to"))
	if page.URL.Path != "/device" || !strings.Contains(page.Body, `value="`+code+`"`) {
		t.Fatal(page)
	}
	page = b.Post(c.base+"/device", "code", strings.ToLower(code))
	if page.Code != http.StatusOK || !strings.Contains(page.Body, "formicary (&lt;lab&gt;)") || !strings.Contains(page.Body, "127.0.0.1") {
		t.Error(page)
	}
	if r := poll(device); !strings.Contains(r.body, `"pending":true`) {
		t.Error("it is confirmed by looking at it:", r)
	}
	if end := b.PostFrom("https://evil.example", c.base+"/device", url.Values{"code": {code}, "answer": {"confirm"}}); end.Code != http.StatusForbidden {
		t.Error(end)
	}
	if end := b.Post(c.base+"/device", "code", page.Hidden().Get("code"), "answer", "confirm"); end.Code != http.StatusOK || !strings.Contains(end.Body, "Confirmed") {
		t.Error(end)
	}
	if session := field(t, poll(device), "secret"); !strings.HasPrefix(session, "fmc_ses_") {
		t.Error(session)
	}
	device, code = begin()
	if end := b.Post(c.base+"/device", "code", code, "answer", "deny"); !strings.Contains(end.Body, "Refused") {
		t.Error(end)
	}
	c.refused("a login that was refused", poll(device), http.StatusForbidden, "LOGIN_DENIED")
	for range 6 {
		page = b.Post(c.base+"/device", "code", "BBBB-BBBB")
	}
	if page.Code != http.StatusNotFound || !strings.Contains(page.Body, "the code is wrong") {
		t.Error(page)
	}
	if page = b.Post(c.base+"/device", "code", "BBBB-BBBB"); page.Code != http.StatusTooManyRequests {
		t.Error("codes can be guessed as often as one likes:", page)
	}
	if r := c.do("POST", "/device", "code="+code+"&answer=confirm", "Content-Type: application/x-www-form-urlencoded"); r.code != http.StatusOK || strings.Contains(r.body, "Confirmed") {
		// the client followed the redirect to the page of logins
		t.Error(r)
	}
}

// TestPagesWithoutLogins: where nobody has to log in the pages say so.
func TestPagesWithoutLogins(t *testing.T) {
	w := start(t)
	if r := w.do("GET", "/login", ""); r.code != http.StatusOK || !strings.Contains(r.body, "needs no login") {
		t.Error(r)
	}
	if r := w.do("GET", "/login", "", "Host: evil.example"); r.code != http.StatusMisdirectedRequest {
		t.Error(r)
	}
}
