// Package ssotest is a provider of OpenID Connect for tests, the example of zitadel/oidc on this machine, and a browser without
// scripts. The provider can be made to lie: tests forge the tokens that it gives out.
package ssotest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
)

// User is somebody at the provider. The password is Password.
type User = storage.User

// Password of every user there.
const Password = "verysecure"

// Provider is a running one.
type Provider struct {
	Issuer string
	t      testing.TB
	own    *rsa.PrivateKey
	other  *rsa.PrivateKey // of nobody

	mu      sync.Mutex
	users   []User
	clients map[string]*storage.Client
	forge   func(claims map[string]any) string
	away    bool
}

const keyID = "forger"

// New starts one with the users.
func New(t testing.TB, users ...User) *Provider {
	t.Helper()
	p := &Provider{t: t, users: users, clients: map[string]*storage.Client{}, own: newKey(t), other: newKey(t)}
	var op http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.serve(op, w, r) }))
	t.Cleanup(server.Close)
	p.Issuer = strings.Replace(server.URL, "127.0.0.1", "localhost", 1) + "/"
	before := slog.Default()
	op = exampleop.SetupServer(p.Issuer, storage.NewStorageWithClients(p, p.clients), slog.New(slog.DiscardHandler), false)
	slog.SetDefault(before)
	return p
}

func newKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Client lets one log people in here, before the first login.
func (p *Provider) Client(id, secret string, redirects ...string) {
	p.clients[id] = storage.WebClient(id, secret, redirects...)
}

// Change changes a user.
func (p *Provider) Change(id string, f func(*User)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.users {
		if p.users[i].ID == id {
			f(&p.users[i])
		}
	}
}

// Forge has the id tokens of the provider replaced; nil stops it.
func (p *Provider) Forge(f func(claims map[string]any) string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forge = f
}

// Away has the provider answer nothing of use.
func (p *Provider) Away(away bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.away = away
}

// GetUserByID implements storage.UserStore.
func (p *Provider) GetUserByID(id string) *User {
	return p.find(func(u User) bool { return u.ID == id })
}

// GetUserByUsername implements storage.UserStore.
func (p *Provider) GetUserByUsername(name string) *User {
	return p.find(func(u User) bool { return u.Username == name })
}

// ExampleClientID implements storage.UserStore.
func (p *Provider) ExampleClientID() string { return "service" }

func (p *Provider) find(is func(User) bool) *User {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, u := range p.users {
		if is(u) {
			u.Password = Password
			return &u
		}
	}
	return nil
}

func (p *Provider) serve(op http.Handler, w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	forge, away := p.forge, p.away
	p.mu.Unlock()
	switch {
	case away:
		w.WriteHeader(http.StatusServiceUnavailable)
	case r.URL.Path == "/keys":
		p.keys(op, w, r)
	case forge != nil && r.URL.Path == "/oauth/token":
		rec := httptest.NewRecorder()
		op.ServeHTTP(rec, r)
		var answer map[string]any
		if err := json.Unmarshal(rec.Body.Bytes(), &answer); err != nil {
			p.t.Errorf("answer of the provider: %v", err)
		}
		if raw, ok := answer["id_token"].(string); ok {
			answer["id_token"] = forge(p.claims(raw))
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(rec.Code)
		_ = json.NewEncoder(w).Encode(answer)
	default:
		op.ServeHTTP(w, r)
	}
}

// keys adds the key of forgeries, which would be an honest one's.
func (p *Provider) keys(op http.Handler, w http.ResponseWriter, r *http.Request) {
	rec := httptest.NewRecorder()
	op.ServeHTTP(rec, r)
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(rec.Body.Bytes(), &set); err != nil {
		p.t.Errorf("keys of the provider: %v", err)
	}
	set.Keys = append(set.Keys, jose.JSONWebKey{Key: &p.own.PublicKey, KeyID: keyID, Use: "sig", Algorithm: string(jose.RS256)})
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(set)
}

func (p *Provider) claims(token string) map[string]any {
	part := strings.Split(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(part[1])
	var claims map[string]any
	if err == nil {
		err = json.Unmarshal(raw, &claims)
	}
	if err != nil {
		p.t.Errorf("id token of the provider: %v", err)
	}
	return claims
}

// Signed returns the claims as the provider itself would sign them.
func (p *Provider) Signed(claims map[string]any) string { return p.sign(jose.RS256, p.own, claims) }

// SignedByNobody is signed with a key that is not the provider's.
func (p *Provider) SignedByNobody(claims map[string]any) string {
	return p.sign(jose.RS256, p.other, claims)
}

// SignedByPublicKey takes the public key of the provider for a shared one.
func (p *Provider) SignedByPublicKey(claims map[string]any) string {
	return p.sign(jose.HS256, x509.MarshalPKCS1PublicKey(&p.own.PublicKey), claims)
}

// Unsigned has the algorithm none.
func (p *Provider) Unsigned(claims map[string]any) string {
	raw, err := json.Marshal(claims)
	if err != nil {
		p.t.Error(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	return b64([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + b64(raw) + "."
}

func (p *Provider) sign(alg jose.SignatureAlgorithm, key any, claims map[string]any) string {
	raw, err := json.Marshal(claims)
	if err != nil {
		p.t.Error(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: keyID}}, nil)
	if err != nil {
		p.t.Error(err)
		return ""
	}
	signed, err := signer.Sign(raw)
	if err != nil {
		p.t.Error(err)
		return ""
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		p.t.Error(err)
	}
	return text
}
