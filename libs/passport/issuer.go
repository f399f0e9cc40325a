// Package passport is how a call proves who makes it: a short JWT, signed with the key of a certificate that the colony's
// authority issued and that travels with it. Services and ants sign for themselves; api-gateway alone signs for people,
// and the services behind it pass a person's token on as it came.
package passport

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/grpc/credentials"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/pki"
)

const (
	// Header is the metadata in which the token travels.
	Header   = "x-formicary-token"
	audience = "formicary"
	// Gateway is the one service that signs for people.
	Gateway = "api-gateway"

	life  = 2 * time.Minute
	fresh = life / 2 // a token with less left is not begun to be used
	most  = 4096     // tokens that are kept
)

// claims of a token beside the registered ones. Subject is the caller's name.
type claims struct {
	jwt.RegisteredClaims
	Kind       access.Kind `json:"kind"`
	Org        string      `json:"org,omitempty"`
	Roles      []string    `json:"roles,omitempty"`
	Scopes     *[]string   `json:"scopes,omitempty"`
	Credential string      `json:"cred,omitempty"`
}

// Issuer signs tokens for the calls that a part of the colony makes. It is the credentials of its connections.
type Issuer struct {
	source pki.Source
	rules  access.Rules
	now    func() time.Time

	mu   sync.Mutex
	made map[string]made
}

type made struct {
	token string
	until time.Time
	by    *pki.Identity
}

// NewIssuer returns an issuer for the part that source names.
func NewIssuer(source pki.Source, rules access.Rules) *Issuer {
	return &Issuer{source: source, rules: rules, now: time.Now, made: map[string]made{}}
}

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (i *Issuer) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	method := ""
	if info, ok := credentials.RequestInfoFromContext(ctx); ok {
		method = info.Method
	}
	token, err := i.Token(ctx, method)
	if err != nil {
		return nil, err
	}
	return map[string]string{Header: token}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials. Inside one process there is none.
func (i *Issuer) RequireTransportSecurity() bool { return false }

// Token returns the token for a call of the method that is made in ctx. A person's goes on as it came, unless the call is
// the service's own work, or the person's token ended while the work for it goes on: then the service acts itself, in the
// person's organisation.
func (i *Issuer) Token(ctx context.Context, method string) (string, error) {
	id := i.source()
	c := access.From(ctx)
	if c.Kind == access.Person && !i.rules.OwnWork(method) {
		if t, ok := ctx.Value(tokenKey{}).(held); ok && t.caller.Equal(c) {
			if i.now().Before(t.until) {
				return t.token, nil
			}
		} else if id.Name == (pki.Name{Kind: pki.Service, ID: Gateway}) {
			return i.sign(id, c)
		}
	}
	return i.sign(id, access.Caller{Kind: access.Kind(id.Name.Kind), Org: c.Org, User: id.Name.ID})
}

// sign makes a token, or takes the one that it made for the same caller a moment ago.
func (i *Issuer) sign(id *pki.Identity, c access.Caller) (string, error) {
	scopes := "*"
	if c.Scopes != nil {
		scopes = " " + strings.Join(c.Scopes, " ")
	}
	key := strings.Join([]string{string(c.Kind), c.Org, c.User, strings.Join(c.Roles, ","), scopes, c.Credential}, "\x00")
	now := i.now()
	i.mu.Lock()
	defer i.mu.Unlock()
	if m, ok := i.made[key]; ok && m.by == id && now.Before(m.until.Add(-fresh)) {
		return m.token, nil
	}
	body := claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: id.Name.String(), Audience: jwt.ClaimStrings{audience}, Subject: c.User,
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(life)),
		},
		Kind: c.Kind, Org: c.Org, Roles: c.Roles, Credential: c.Credential,
	}
	if c.Scopes != nil {
		body.Scopes = &c.Scopes
	}
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, body)
	t.Header["x5c"] = []string{base64.StdEncoding.EncodeToString(id.Cert.Raw)}
	token, err := t.SignedString(id.Key)
	if err != nil {
		return "", fmt.Errorf("sign for a call: %w", err)
	}
	if len(i.made) >= most {
		clear(i.made) // they are made again in microseconds
	}
	i.made[key] = made{token: token, until: now.Add(life), by: id}
	return token, nil
}

type tokenKey struct{}

// held is the token that a call came with.
type held struct {
	token  string
	caller access.Caller
	until  time.Time
}
