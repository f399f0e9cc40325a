package passport_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/passport"
	"github.com/formicary/formicary/libs/passport/passporttest"
	"github.com/formicary/formicary/libs/pki"
)

var rules = access.Rules{ //nolint:gochecknoglobals // a constant table
	"/s/Read": {Permission: "request.read"}, "/s/Internal": {Internal: true, Services: []string{"scheduler"}}, "/s/Ant": {Ant: true}, "/s/Public": {Public: true},
	"/s/Shared": {Permission: "request.read", Services: []string{"job-manager"}}, "/s/Cancel": {Permission: "request.cancel", Owned: true},
}

func identity(t testing.TB, a *pki.Authority, kind pki.Kind, id string) *pki.Identity {
	t.Helper()
	out, err := a.Issue(pki.Name{Kind: kind, ID: id}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func authority(t testing.TB) *pki.Authority {
	t.Helper()
	a, err := pki.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// with is the context of a call that arrives with a token.
func with(t testing.TB, token string) context.Context {
	return metadata.NewIncomingContext(t.Context(), metadata.Pairs(passport.Header, token))
}

func issue(t testing.TB, id *pki.Identity, c access.Caller, method string) string {
	t.Helper()
	token, err := passport.NewIssuer(pki.Fixed(id), rules).Token(access.With(t.Context(), c), method)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestWhoMayCallWhat(t *testing.T) {
	a := authority(t)
	checker := passport.NewChecker(a.Roots, rules, nil)
	gateway, scheduler, jobs, ant := identity(t, a, pki.Service, "api-gateway"), identity(t, a, pki.Service, "scheduler"), identity(t, a, pki.Service, "job-manager"), identity(t, a, pki.Ant, "ant-1")
	ann := passporttest.Person("acme", "ann", access.OrgDeveloper)
	for _, c := range []struct {
		by     *pki.Identity
		caller access.Caller
		method string
		want   access.Caller
		reason string
	}{
		{gateway, ann, "/s/Read", ann, ""},
		{gateway, ann, "/s/Internal", access.Caller{}, "METHOD_CLOSED"},
		{gateway, access.Caller{}, "/s/Read", access.Caller{}, "METHOD_CLOSED"},
		{jobs, ann, "/s/Read", access.Caller{}, "METHOD_CLOSED"}, // it does not sign for people
		{jobs, ann, "/s/Shared", access.Caller{Kind: access.Service, Org: "acme", User: "job-manager"}, ""},
		{scheduler, access.Caller{}, "/s/Internal", access.Caller{Kind: access.Service, User: "scheduler"}, ""},
		{ant, access.Caller{}, "/s/Ant", access.Caller{Kind: access.Ant, User: "ant-1"}, ""},
		{ant, ann, "/s/Read", access.Caller{}, "METHOD_CLOSED"},
		{ant, access.Caller{}, "/s/Internal", access.Caller{}, "METHOD_CLOSED"},
		{scheduler, access.Caller{}, "/s/Ant", access.Caller{}, "METHOD_CLOSED"},
	} {
		ctx, err := checker.Admit(with(t, issue(t, c.by, c.caller, c.method)), c.method)
		if errs.Reason(err) != c.reason {
			t.Errorf("%s for %v by %s: %v, want %q", c.method, c.caller, c.by.Name, err, c.reason)
		} else if err == nil && !access.From(ctx).Equal(c.want) {
			t.Errorf("%s by %s: caller %v, want %v", c.method, c.by.Name, access.From(ctx), c.want)
		}
	}
	if ctx, err := checker.Admit(with(t, issue(t, gateway, ann, "/s/Cancel")), "/s/Cancel"); err != nil || !access.OwnOnly(ctx) {
		t.Errorf("a permission for one's own: %v", err)
	}
	if _, err := checker.Admit(t.Context(), "/s/Read"); errs.Reason(err) != "CALLER_MISSING" {
		t.Errorf("without a token: %v", err)
	}
	if _, err := checker.Admit(t.Context(), "/s/Public"); err != nil {
		t.Errorf("public: %v", err)
	}
}

// TestTokensGoOn: a service behind the first passes a person's token on as it came, and acts itself when that has ended.
func TestTokensGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := authority(t)
		checker := passport.NewChecker(a.Roots, rules, nil)
		ann := passporttest.Person("acme", "ann", access.OrgViewer)
		first := issue(t, identity(t, a, pki.Service, "api-gateway"), ann, "/s/Shared")
		ctx, err := checker.Admit(with(t, first), "/s/Shared")
		if err != nil {
			t.Fatal(err)
		}
		next := passport.NewIssuer(pki.Fixed(identity(t, a, pki.Service, "job-manager")), rules)
		if token, err := next.Token(ctx, "/s/Shared"); err != nil || token != first {
			t.Errorf("another token goes on: %v", err)
		}
		if token, err := next.Token(ctx, "/s/Internal"); err != nil || token == first {
			t.Errorf("the service's own work is done with the person's token: %v", err)
		}
		if token, err := next.Token(access.With(ctx, passporttest.Person("other", "bob")), "/s/Shared"); err != nil || token == first {
			t.Errorf("the token of one is used for another: %v", err)
		}
		time.Sleep(3 * time.Minute)
		token, err := next.Token(ctx, "/s/Shared")
		if err != nil {
			t.Fatal(err)
		}
		later, err := checker.Admit(with(t, token), "/s/Shared")
		if want := (access.Caller{Kind: access.Service, Org: "acme", User: "job-manager"}); err != nil || !access.From(later).Equal(want) {
			t.Errorf("after the token has ended: %v %v", access.From(later), err)
		}
		if _, err := checker.Admit(with(t, first), "/s/Shared"); errs.Reason(err) != "TOKEN_INVALID" {
			t.Errorf("a token that was good and has ended: %v", err)
		}
	})
}

// forge makes a token by hand.
func forge(t testing.TB, method jwt.SigningMethod, key any, header map[string]any, claims jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(method, claims)
	maps.Copy(token.Header, header)
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestForgedTokens(t *testing.T) {
	a, other := authority(t), authority(t)
	gateway, jobs, ant := identity(t, a, pki.Service, "api-gateway"), identity(t, a, pki.Service, "job-manager"), identity(t, a, pki.Ant, "ant-1")
	strange := identity(t, other, pki.Service, "api-gateway")
	expired, err := a.Issue(gateway.Name, -time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	_, selfKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	chain := func(certs ...*x509.Certificate) map[string]any {
		var list []string
		for _, c := range certs {
			list = append(list, base64.StdEncoding.EncodeToString(c.Raw))
		}
		return map[string]any{"x5c": list}
	}
	claims := func(change func(jwt.MapClaims)) jwt.MapClaims {
		c := jwt.MapClaims{
			"iss": gateway.Name.String(), "aud": "formicary", "sub": "ann", "kind": "person", "org": "acme", "roles": []string{access.PlatformAdmin},
			"iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
		}
		if change != nil {
			change(c)
		}
		return c
	}
	set := func(key string, value any) jwt.MapClaims { return claims(func(c jwt.MapClaims) { c[key] = value }) }
	without := func(key string) jwt.MapClaims { return claims(func(c jwt.MapClaims) { delete(c, key) }) }
	good := forge(t, jwt.SigningMethodEdDSA, gateway.Key, chain(gateway.Cert), claims(nil))
	parts := strings.Split(good, ".")
	checker := passport.NewChecker(a.Roots, rules, nil)
	if _, err := checker.Admit(with(t, good), "/s/Read"); err != nil {
		t.Fatalf("the token by which all others are judged: %v", err)
	}
	for name, token := range map[string]string{
		"alg none":                      forge(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, chain(gateway.Cert), claims(nil)),
		"HS256 with the public key":     forge(t, jwt.SigningMethodHS256, []byte(gateway.Cert.PublicKey.(ed25519.PublicKey)), chain(gateway.Cert), claims(nil)),
		"HS256 with the certificate":    forge(t, jwt.SigningMethodHS256, gateway.Cert.Raw, chain(gateway.Cert), claims(nil)),
		"another key":                   forge(t, jwt.SigningMethodEdDSA, selfKey, chain(gateway.Cert), claims(nil)),
		"another authority":             forge(t, jwt.SigningMethodEdDSA, strange.Key, chain(strange.Cert), claims(nil)),
		"a chain":                       forge(t, jwt.SigningMethodEdDSA, strange.Key, chain(strange.Cert, gateway.Cert), claims(nil)),
		"the authority itself":          forge(t, jwt.SigningMethodEdDSA, gateway.Key, chain(a.Certificate()), claims(nil)),
		"no certificate":                forge(t, jwt.SigningMethodEdDSA, gateway.Key, nil, claims(nil)),
		"a kid that is a path":          forge(t, jwt.SigningMethodEdDSA, gateway.Key, map[string]any{"kid": "../../ca.crt"}, claims(nil)),
		"a certificate that is none":    forge(t, jwt.SigningMethodEdDSA, gateway.Key, map[string]any{"x5c": []string{"AAAA"}}, claims(nil)),
		"a certificate that expired":    forge(t, jwt.SigningMethodEdDSA, expired.Key, chain(expired.Cert), claims(nil)),
		"no signature":                  parts[0] + "." + parts[1] + ".",
		"a changed signature":           parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2])),
		"no token":                      "x",
		"expired":                       forge(t, jwt.SigningMethodEdDSA, gateway.Key, chain(gateway.Cert), claims(func(c jwt.MapClaims) { c["iat"], c["exp"] = time.Now().Unix()-200, time.Now().Unix()-100 })),
		"no expiry":                     forge(t, jwt.SigningMethodEdDSA, gateway.Key, chain(gateway.Cert), without("exp")),
		"no time of issue":              forge(t, jwt.SigningMethodEdDSA, gateway.Key, chain(gateway.Cert), without("iat")),
		"good for a day":                forge(t, jwt.SigningMethodEdDSA, gateway.Key, chain(gateway.Cert), set("exp", time.Now().Unix()+86400)),
		"issued tomorrow":               forge(t, jwt.SigningMethodEdDSA, gateway.Key, chain(gateway.Cert), claims(func(c jwt.MapClaims) { c["iat"], c["exp"] = time.Now().Unix()+86400, time.Now().Unix()+86460 })),
		"another audience":              forge(t, jwt.SigningMethodEdDSA, gateway.Key, chain(gateway.Cert), set("aud", "elsewhere")),
		"no audience":                   forge(t, jwt.SigningMethodEdDSA, gateway.Key, chain(gateway.Cert), without("aud")),
		"another issuer":                forge(t, jwt.SigningMethodEdDSA, gateway.Key, chain(gateway.Cert), set("iss", jobs.Name.String())),
		"a service that signs for ann":  forge(t, jwt.SigningMethodEdDSA, jobs.Key, chain(jobs.Cert), set("iss", jobs.Name.String())),
		"an ant that signs for ann":     forge(t, jwt.SigningMethodEdDSA, ant.Key, chain(ant.Cert), set("iss", ant.Name.String())),
		"an ant that signs for another": forge(t, jwt.SigningMethodEdDSA, ant.Key, chain(ant.Cert), jwt.MapClaims{"iss": ant.Name.String(), "aud": "formicary", "sub": "ant-2", "kind": "ant", "iat": time.Now().Unix(), "exp": time.Now().Unix() + 60}),
		"an ant that says service":      forge(t, jwt.SigningMethodEdDSA, ant.Key, chain(ant.Cert), jwt.MapClaims{"iss": ant.Name.String(), "aud": "formicary", "sub": "scheduler", "kind": "service", "iat": time.Now().Unix(), "exp": time.Now().Unix() + 60}),
		"a service with roles":          forge(t, jwt.SigningMethodEdDSA, jobs.Key, chain(jobs.Cert), jwt.MapClaims{"iss": jobs.Name.String(), "aud": "formicary", "sub": "job-manager", "kind": "service", "roles": []string{"platform-admin"}, "iat": time.Now().Unix(), "exp": time.Now().Unix() + 60}),
		"longer than any":               strings.Repeat("A", 1<<20),
	} {
		for _, method := range []string{"/s/Read", "/s/Internal", "/s/Ant"} {
			if _, err := checker.Admit(with(t, token), method); errs.Reason(err) != "TOKEN_INVALID" {
				t.Errorf("%s: %s: %v", name, method, err)
			}
		}
	}
	two := metadata.NewIncomingContext(t.Context(), metadata.Pairs(passport.Header, good, passport.Header, good))
	if _, err := checker.Admit(two, "/s/Read"); errs.Reason(err) != "TOKEN_INVALID" {
		t.Errorf("two tokens: %v", err)
	}
}

// TestTokensOfOthersAreNotCarried: over mTLS a service or ant brings its own token only, and an ant no person's.
func TestTokensOfOthersAreNotCarried(t *testing.T) {
	a := authority(t)
	checker := passport.NewChecker(a.Roots, rules, nil)
	gateway, scheduler, jobs, ant := identity(t, a, pki.Service, "api-gateway"), identity(t, a, pki.Service, "scheduler"), identity(t, a, pki.Service, "job-manager"), identity(t, a, pki.Ant, "ant-1")
	over := func(id *pki.Identity, token string) context.Context {
		return peer.NewContext(with(t, token), &peer.Peer{AuthInfo: credentials.TLSInfo{State: tls.ConnectionState{PeerCertificates: []*x509.Certificate{id.Cert}}}})
	}
	ann := issue(t, gateway, passporttest.Person("acme", "ann", access.OrgViewer), "/s/Read")
	own := issue(t, scheduler, access.Caller{}, "/s/Internal")
	for _, c := range []struct {
		by     *pki.Identity
		token  string
		method string
		reason string
	}{
		{gateway, ann, "/s/Read", ""},
		{jobs, ann, "/s/Read", ""},
		{ant, ann, "/s/Read", "TOKEN_INVALID"},
		{scheduler, own, "/s/Internal", ""},
		{jobs, own, "/s/Internal", "TOKEN_INVALID"},
		{ant, own, "/s/Internal", "TOKEN_INVALID"},
	} {
		if _, err := checker.Admit(over(c.by, c.token), c.method); errs.Reason(err) != c.reason {
			t.Errorf("%s over %s: %v, want %q", c.method, c.by.Name, err, c.reason)
		}
	}
}

// TestRevokedCertificate: what does not count any more is refused at the next call, also with a token that was seen.
func TestRevokedCertificate(t *testing.T) {
	a := authority(t)
	gone := false
	checker := passport.NewChecker(a.Roots, rules, func(n pki.Name, _ *x509.Certificate) error {
		if gone && n.ID == "ant-1" {
			return errs.Unauthenticated(passport.RevokedReason, "gone")
		}
		return nil
	})
	token := issue(t, identity(t, a, pki.Ant, "ant-1"), access.Caller{}, "/s/Ant")
	for _, want := range []string{"", "CERTIFICATE_REVOKED"} {
		if _, err := checker.Admit(with(t, token), "/s/Ant"); errs.Reason(err) != want {
			t.Errorf("%v, want %q", err, want)
		}
		gone = true
	}
}

func BenchmarkAdmit(b *testing.B) {
	a := authority(b)
	checker := passport.NewChecker(a.Roots, rules, nil)
	i := passport.NewIssuer(pki.Fixed(identity(b, a, pki.Service, "api-gateway")), rules)
	ctx := access.With(b.Context(), passporttest.Person("acme", "ann", access.OrgViewer))
	for b.Loop() {
		token, err := i.Token(ctx, "/s/Read")
		if err != nil {
			b.Fatal(err)
		}
		if _, err := checker.Admit(with(b, token), "/s/Read"); err != nil {
			b.Fatal(err)
		}
	}
}
