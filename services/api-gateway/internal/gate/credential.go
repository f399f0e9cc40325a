package gate

import (
	"context"
	"net"
	"net/http"
	"strings"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

// Credential is what a call brings to say who makes it. None of it is checked yet.
type Credential struct {
	// Bearer is the token of the header Authorization.
	Bearer string
	// Session is the value of the session's cookie.
	Session string
	// Org is the organisation that the call is about; empty for the caller's own choice.
	Org string
	// User and Roles are whom a caller without a credential says to be. A colony that needs no login believes them.
	User  string
	Roles []string
	// Agent is the program that calls, as it says itself.
	Agent string
	// Address of the caller, without a port; empty when it is not known.
	Address string
}

// Empty says that nothing proves who makes the call.
func (c Credential) Empty() bool { return c.Bearer == "" && c.Session == "" }

// Secret is what counts of a call that brings both a token and the cookie of a session: the token.
func (c Credential) Secret() string {
	if c.Bearer != "" {
		return c.Bearer
	}
	return c.Session
}

// The headers, and keys of metadata, in which callers say who they are.
const (
	Authorization = "Authorization"
	OrgHeader     = "X-Formicary-Org"
	UserHeader    = "X-Formicary-User"
	RolesHeader   = "X-Formicary-Roles"
	// SecureCookie and PlainCookie hold a session: one over TLS, the other over plain HTTP on a loopback address.
	SecureCookie = "__Host-formicary"
	PlainCookie  = "formicary"
)

type credentialKey struct{}

// CredentialOf returns what the call of ctx brings.
func CredentialOf(ctx context.Context) Credential {
	c, _ := ctx.Value(credentialKey{}).(Credential)
	return c
}

// WithCredential returns a context whose calls are made with c.
func WithCredential(ctx context.Context, c Credential) context.Context {
	return context.WithValue(ctx, credentialKey{}, c)
}

// FromRequest reads what an HTTP request brings.
func FromRequest(r *http.Request) Credential {
	c := Credential{
		Bearer: bearer(r.Header.Get(Authorization)), Org: r.Header.Get(OrgHeader), User: r.Header.Get(UserHeader),
		Roles: roles(r.Header.Values(RolesHeader)), Address: host(r.RemoteAddr), Agent: r.UserAgent(),
	}
	for _, name := range cookieNames(r) {
		if cookie, err := r.Cookie(name); err == nil && c.Session == "" {
			c.Session = cookie.Value
		}
	}
	return c
}

// fromMetadata reads what a call over gRPC brings.
func fromMetadata(ctx context.Context) context.Context {
	md, _ := metadata.FromIncomingContext(ctx)
	first := func(key string) string {
		if v := md.Get(key + binary); len(v) > 0 {
			return v[0]
		}
		if v := md.Get(key); len(v) > 0 {
			return v[0]
		}
		return ""
	}
	c := Credential{
		Bearer: bearer(first(Authorization)), Org: first(OrgHeader), User: first(UserHeader), Agent: first("User-Agent"),
		Roles: roles(append(md.Get(RolesHeader), md.Get(RolesHeader+binary)...)),
	}
	if from, ok := peer.FromContext(ctx); ok && from.Addr != nil {
		c.Address = host(from.Addr.String())
	}
	return WithCredential(ctx, c)
}

// binary ends the keys of metadata whose values are not printable ASCII.
const binary = "-bin"

func bearer(header string) string {
	scheme, token, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// roles reads lists of roles that are separated by commas. A name cannot hold one.
func roles(lists []string) []string {
	var out []string
	for _, list := range lists {
		for role := range strings.SplitSeq(list, ",") {
			if role = strings.TrimSpace(role); role != "" {
				out = append(out, role)
			}
		}
	}
	return out
}

func host(addr string) string {
	if h, _, err := net.SplitHostPort(addr); err == nil {
		return h
	}
	return addr
}
