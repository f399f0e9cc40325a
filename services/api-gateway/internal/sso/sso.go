// Package sso says who somebody is at a provider of OpenID Connect, by the authorization code flow with PKCE.
//
//	Begin ──► browser keeps the flight, goes to the provider ──► comes back with code and state ──► Finish ──► login.Foreign
//
// What a login needs when it comes back (state, nonce, verifier, where to go) is kept by the browser that began it, signed, so
// that any replica may take it up and no other browser can. Who comes back is known by issuer and subject, never by a name or
// mail address.
package sso

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/formicary/formicary/libs/egress"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/services/api-gateway/internal/identity"
	"github.com/formicary/formicary/services/api-gateway/internal/login"
)

// Options of logins at providers.
type Options struct {
	Providers []Provider
	// Egress says where providers may be.
	Egress egress.Policy
	// Key signs flights; all replicas have the same.
	Key func(context.Context) ([]byte, error)
	Now func() time.Time
	Log *slog.Logger
}

// Logins at providers.
type Logins struct {
	o         Options
	client    *http.Client
	providers map[string]*provider
}

type provider struct {
	Provider
	mu     sync.Mutex
	found  *oidc.Provider
	failed time.Time
}

// What a provider gets and may send.
const (
	answerTime = 10 * time.Second
	maxAnswer  = 1 << 20
	// restTime is how long a provider that does not answer is left alone: browsers must not make the gateway ask again and again.
	restTime = 5 * time.Second
)

// New returns logins at providers that are not asked before the first one.
func New(o Options) *Logins {
	l := &Logins{o: o, client: egress.Client(egress.Options{Policy: o.Egress, Time: answerTime, MaxBody: maxAnswer}), providers: map[string]*provider{}}
	for _, p := range o.Providers {
		if p.Scopes == nil {
			p.Scopes = []string{"profile", "email"}
		}
		l.providers[p.Name] = &provider{Provider: p}
	}
	return l
}

// Names and titles of the providers, in their order.
func (l *Logins) Names() (names, titles []string) {
	for _, p := range l.o.Providers {
		names, titles = append(names, p.Name), append(titles, cmp.Or(p.Title, p.Name))
	}
	return names, titles
}

// Close ends connections that are kept for later.
func (l *Logins) Close() { l.client.CloseIdleConnections() }

// Start is what a login begins with.
type Start struct {
	// Base is the address of this gateway as browsers know it, without a path.
	Base string
	// To is the path where it ends. Invitation, if not empty, makes a user of somebody new.
	To, Invitation string
}

// Begin returns where to send the browser, and the flight that it must keep.
func (l *Logins) Begin(ctx context.Context, name string, s Start) (at, kept string, err error) {
	p, err := l.provider(name)
	if err != nil {
		return "", "", err
	}
	if !Local(s.To) || len(s.Invitation) > longest {
		return "", "", errs.Invalid("REQUEST_INVALID", "to: want a path of this server")
	}
	found, err := l.discover(ctx, p)
	if err != nil {
		return "", "", err
	}
	f := flight{
		Provider: p.Name, State: random(), Nonce: random(), Verifier: oauth2.GenerateVerifier(), Back: s.Base + "/auth/callback/" + p.Name,
		To: s.To, Invitation: s.Invitation, Until: l.o.Now().Add(FlightTime).Unix(),
	}
	if kept, err = l.sign(ctx, f); err != nil {
		return "", "", err
	}
	return p.oauth(found, f).AuthCodeURL(f.State, oidc.Nonce(f.Nonce), oauth2.S256ChallengeOption(f.Verifier)), kept, nil
}

// Return is what a browser brings back. None of it is checked yet.
type Return struct{ Code, State, Error, Flight string }

// Finish says who came back, and to which path the login leads.
func (l *Logins) Finish(ctx context.Context, name string, r Return) (who login.Foreign, to string, err error) {
	p, err := l.provider(name)
	if err != nil {
		return who, "", err
	}
	f, err := l.read(ctx, r.Flight)
	if err != nil {
		return who, "", err
	}
	if f.Provider != p.Name || subtle.ConstantTimeCompare([]byte(f.State), []byte(r.State)) != 1 {
		return who, "", stale()
	}
	if r.Error != "" {
		return who, "", errs.Denied("LOGIN_REFUSED", "%s refused the login", p.Name)
	}
	if who, err = l.identify(ctx, p, f, r.Code); err != nil {
		return who, "", err
	}
	return who, f.To, nil
}

func stale() error {
	return errs.Unauthenticated("LOGIN_STALE", "this login was not begun in this browser, or too long ago: begin again")
}

func (l *Logins) provider(name string) (*provider, error) {
	p, ok := l.providers[name]
	if !ok {
		return nil, errs.NotFound("PROVIDER_UNKNOWN", "there is no provider of logins with this name")
	}
	return p, nil
}

// discover asks a provider once for its addresses and keys.
func (l *Logins) discover(ctx context.Context, p *provider) (*oidc.Provider, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.found != nil {
		return p.found, nil
	}
	away := errs.Unavailable("PROVIDER_AWAY", "%s does not answer just now; try again", p.Name)
	if l.o.Now().Sub(p.failed) < restTime {
		return nil, away
	}
	// What is found outlives this request: its keys are read again later.
	found, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), l.client), p.Issuer)
	if err == nil {
		err = p.check(found)
	}
	if err != nil {
		p.failed = l.o.Now()
		l.o.Log.WarnContext(ctx, "a provider of logins is of no use", "provider", p.Name, "error", err)
		return nil, away
	}
	p.found = found
	return found, nil
}

// check refuses a provider that is spoken to over TLS and names addresses that are not.
func (p *provider) check(found *oidc.Provider) error {
	var more struct {
		Keys string `json:"jwks_uri"`
	}
	if err := found.Claims(&more); err != nil {
		return fmt.Errorf("read what the provider says of itself: %w", err)
	}
	for _, at := range []string{found.Endpoint().AuthURL, found.Endpoint().TokenURL, more.Keys} {
		u, err := egress.URL(at)
		if err != nil {
			return err
		}
		if u.Scheme != "https" && strings.HasPrefix(p.Issuer, "https:") {
			return errors.New("one of the provider's addresses is not https")
		}
	}
	return nil
}

func (p *provider) oauth(found *oidc.Provider, f flight) *oauth2.Config {
	return &oauth2.Config{
		ClientID: p.ClientID, ClientSecret: p.Secret, Endpoint: found.Endpoint(), RedirectURL: f.Back,
		Scopes: append([]string{oidc.ScopeOpenID}, p.Scopes...),
	}
}

// identify gives the code for what the provider says of the person, and checks it.
func (l *Logins) identify(ctx context.Context, p *provider, f flight, code string) (who login.Foreign, err error) {
	ctx = oidc.ClientContext(ctx, l.client)
	found, err := l.discover(ctx, p)
	if err != nil {
		return who, err
	}
	token, err := p.oauth(found, f).Exchange(ctx, code, oauth2.VerifierOption(f.Verifier))
	if err != nil {
		return who, l.wrong(ctx, p, "exchange the code", err)
	}
	raw, _ := token.Extra("id_token").(string)
	// Signature by a key of the provider, issuer, audience and expiry. Only asymmetric algorithms are possible.
	id, err := found.Verifier(&oidc.Config{ClientID: p.ClientID, Now: l.o.Now, SupportedSigningAlgs: algorithms()}).Verify(ctx, raw)
	if err != nil {
		return who, l.wrong(ctx, p, "verify the id token", err)
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(f.Nonce)) != 1 {
		return who, l.wrong(ctx, p, "verify the id token", errors.New("it has the nonce of another login"))
	}
	if id.Subject == "" || len(id.Subject) > maxSubject || strings.ContainsFunc(id.Subject, func(r rune) bool { return r < ' ' || r > '~' }) {
		return who, l.wrong(ctx, p, "verify the id token", errors.New("its subject is not 1 to 255 characters of ASCII"))
	}
	who = login.Foreign{Issuer: id.Issuer, Subject: id.Subject, Org: p.Org, Role: p.Role, Invitation: f.Invitation}
	who.Name, who.Title, who.Email = called(ctx, found, token, id)
	return who, nil
}

const maxSubject = 255

// algorithms are those of signatures that only the holder of a private key can make.
func algorithms() []string {
	return []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA}
}

// wrong writes down what is wrong, and tells the browser no more than that.
func (l *Logins) wrong(ctx context.Context, p *provider, doing string, err error) error {
	text := err.Error()
	if answer, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		text = cmp.Or(answer.ErrorCode, answer.Error()) // never the body: it may hold tokens
	}
	l.o.Log.WarnContext(ctx, "a login at a provider is refused", "provider", p.Name, "doing", doing, "error", text[:min(len(text), maxSubject)])
	return errs.Unauthenticated("LOGIN_WRONG", "what %s says of this login does not hold: begin again", p.Name)
}

// called is what a person is called, by the id token or else by what the provider says beside it. It only names people.
func called(ctx context.Context, found *oidc.Provider, token *oauth2.Token, id *oidc.IDToken) (name, title, email string) {
	var claims struct {
		Username string `json:"preferred_username"`
		Name     string `json:"name"`
		Email    string `json:"email"`
	}
	_ = id.Claims(&claims)
	if claims.Username == "" && claims.Email == "" {
		if info, err := found.UserInfo(ctx, oauth2.StaticTokenSource(token)); err == nil && info.Subject == id.Subject {
			_ = info.Claims(&claims)
		}
	}
	mailbox, _, _ := strings.Cut(claims.Email, "@")
	title, email = identity.CleanProfile(claims.Name, claims.Email)
	candidates := []string{claims.Username, mailbox, claims.Name}
	i := slices.IndexFunc(candidates, func(c string) bool { return c != "" })
	return identity.NameFrom(candidates[max(i, 0)]), title, email
}

func random() string {
	var raw [24]byte
	_, _ = rand.Read(raw[:]) // it never fails
	return base64.RawURLEncoding.EncodeToString(raw[:])
}
