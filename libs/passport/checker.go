package passport

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	lru "github.com/hashicorp/golang-lru/v2"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/pki"
)

const (
	leeway   = 30 * time.Second // by which clocks may differ
	longest  = 16 << 10         // of a token, bytes
	mostSeen = 8192
)

// Checker admits the calls to a service of the colony.
type Checker struct {
	roots  func() *x509.CertPool
	rules  access.Rules
	gone   func(pki.Name, *x509.Certificate) error
	parser *jwt.Parser
	now    func() time.Time
	seen   *lru.Cache[string, passport]
}

// passport is a token that was checked.
type passport struct {
	caller access.Caller
	by     pki.Name
	cert   *x509.Certificate
	until  time.Time
}

// NewChecker returns a checker that trusts certificates of the roots, except those of which gone says why they count no
// more; nil means all do.
func NewChecker(roots func() *x509.CertPool, rules access.Rules, gone func(pki.Name, *x509.Certificate) error) *Checker {
	seen, err := lru.New[string, passport](mostSeen)
	if err != nil {
		panic(err) // the size is a constant
	}
	c := &Checker{roots: roots, rules: rules, gone: gone, now: time.Now, seen: seen}
	c.parser = jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}), jwt.WithAudience(audience), jwt.WithExpirationRequired(), jwt.WithIssuedAt(),
		jwt.WithLeeway(leeway), jwt.WithTimeFunc(func() time.Time { return c.now() }),
	)
	return c
}

// Admit decides about a call: it returns the context that carries the caller, or why the call is refused.
func (c *Checker) Admit(ctx context.Context, method string) (context.Context, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	tokens := md.Get(Header)
	if len(tokens) == 0 {
		if _, err := c.rules.Check(method, access.Caller{}); err != nil {
			return nil, err
		}
		return ctx, nil
	}
	p, err := c.read(tokens)
	if err != nil {
		return nil, err
	}
	if err := bound(ctx, p); err != nil {
		return nil, err
	}
	own, err := c.rules.Check(method, p.caller)
	if err != nil {
		return nil, err
	}
	ctx = context.WithValue(access.With(ctx, p.caller), tokenKey{}, held{token: tokens[0], caller: p.caller, until: p.until})
	if own {
		ctx = access.WithOwnOnly(ctx)
	}
	if c.rules[method].Ant {
		ctx = access.WithAntOnly(ctx)
	}
	return ctx, nil
}

// antPackage holds the methods that are served to ants, at a listener of their own.
const antPackage = "/formicary.ant."

func (c *Checker) ofAnts(method string) bool {
	return c.rules[method].Ant || strings.HasPrefix(method, antPackage)
}

// AdmitServices is Admit for a listener at which services call: what ants call is not served there.
func (c *Checker) AdmitServices(ctx context.Context, method string) (context.Context, error) {
	if c.ofAnts(method) {
		return nil, errs.Denied("METHOD_ANT", "%s is served to ants only, at the address for ants", strings.TrimPrefix(method, "/"))
	}
	return c.Admit(ctx, method)
}

// AdmitAnts is Admit for a listener at which ants call: nothing else is served there. Where it speaks TLS only what is
// public is answered to those without a certificate.
func (c *Checker) AdmitAnts(ctx context.Context, method string) (context.Context, error) {
	if !c.ofAnts(method) && !access.Health(method) {
		return nil, errs.Denied("METHOD_CLOSED", "%s is not for ants", strings.TrimPrefix(method, "/"))
	}
	if tls, at := certified(ctx); tls && at == nil && !c.rules.Public(method) {
		return nil, errs.Unauthenticated("CERTIFICATE_MISSING", "%s needs the certificate of an ant: join with a token first", strings.TrimPrefix(method, "/"))
	}
	return c.Admit(ctx, method)
}

// certified says whether a call came over TLS, and with which certificate.
func certified(ctx context.Context) (bool, *x509.Certificate) {
	from, ok := peer.FromContext(ctx)
	if !ok {
		return false, nil
	}
	info, ok := from.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.PeerCertificates) == 0 {
		return ok, nil
	}
	return true, info.State.PeerCertificates[0]
}

// read checks a token. All that it can be refused for is told apart in logs by the text, never by the reason.
func (c *Checker) read(tokens []string) (passport, error) {
	if len(tokens) > 1 || len(tokens[0]) > longest {
		return passport{}, invalid(errors.New("more than one token, or one that is too long"))
	}
	p, ok := c.seen.Get(tokens[0])
	if !ok {
		var err error
		if p, err = c.verify(tokens[0]); err != nil {
			return passport{}, invalid(err)
		}
		c.seen.Add(tokens[0], p)
	}
	switch now := c.now(); {
	case now.After(p.until.Add(leeway)):
		return passport{}, invalid(errors.New("it has expired"))
	case now.After(p.cert.NotAfter):
		return passport{}, invalid(errors.New("its certificate has expired"))
	case c.gone != nil:
		return p, c.gone(p.by, p.cert)
	}
	return p, nil
}

func invalid(err error) error {
	return errs.Unauthenticated("TOKEN_INVALID", "the token of the call is not valid: %s", err)
}

func (c *Checker) verify(token string) (passport, error) {
	var p passport
	body := claims{}
	_, err := c.parser.ParseWithClaims(token, &body, func(t *jwt.Token) (any, error) {
		var err error
		if p.cert, err = c.certificate(t.Header["x5c"]); err != nil {
			return nil, err
		}
		if p.by, err = pki.NameOf(p.cert); err != nil {
			return nil, err
		}
		key, ok := p.cert.PublicKey.(ed25519.PublicKey)
		if !ok {
			return nil, errors.New("its certificate has a key of another kind")
		}
		return key, nil
	})
	if err != nil {
		return p, err
	}
	p.until = body.ExpiresAt.Time
	p.caller = access.Caller{Kind: body.Kind, Org: body.Org, User: body.Subject, Roles: body.Roles, Credential: body.Credential}
	if body.Scopes != nil {
		p.caller.Scopes = append([]string{}, *body.Scopes...)
	}
	switch {
	case body.Issuer != p.by.String():
		return p, fmt.Errorf("it says to be of %q, its certificate is of %s", body.Issuer, p.by)
	case body.IssuedAt == nil || p.until.Sub(body.IssuedAt.Time) > life:
		return p, errors.New("it is good for longer than a token may be")
	case body.Kind == access.Person && p.by != (pki.Name{Kind: pki.Service, ID: Gateway}):
		return p, fmt.Errorf("%s may not sign for people", p.by)
	case body.Kind != access.Person && (string(body.Kind) != string(p.by.Kind) || body.Subject != p.by.ID):
		return p, fmt.Errorf("%s may sign for itself only", p.by)
	case len(p.caller.Roles) > 0 && body.Kind != access.Person:
		return p, errors.New("only people have roles")
	}
	return p, nil
}

// certificate reads what stands in the header x5c: one certificate, which the authority issued.
func (c *Checker) certificate(header any) (*x509.Certificate, error) {
	list, ok := header.([]any)
	if !ok || len(list) != 1 {
		return nil, errors.New("want one certificate in it")
	}
	text, _ := list[0].(string)
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, errors.New("its certificate is no base64")
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		return nil, errors.New("its certificate cannot be read")
	}
	_, err = cert.Verify(x509.VerifyOptions{Roots: c.roots(), CurrentTime: c.now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return nil, fmt.Errorf("its certificate: %w", err)
	}
	return cert, nil
}

// bound refuses a token of a service or an ant that comes over the connection of another part.
func bound(ctx context.Context, p passport) error {
	_, cert := certified(ctx)
	if cert == nil {
		return nil
	}
	at, err := pki.NameOf(cert)
	if err != nil || p.caller.Kind != access.Person && at != p.by || p.caller.Kind == access.Person && at.Kind != pki.Service {
		return errs.Unauthenticated("TOKEN_INVALID", "the token of the call is not valid: it came over the connection of another")
	}
	return nil
}
