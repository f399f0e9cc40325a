// Package access says who makes a call and what that caller may do: kinds of callers, roles and their permissions, and
// the rules that methods carry in their protos. It decides; it does not find out who somebody is.
package access

import (
	"context"
	"slices"
)

// Kind of a caller. A caller without one may do nothing.
type Kind string

// The kinds.
const (
	Person  Kind = "person"
	Service Kind = "service"
	Ant     Kind = "ant"
)

// Caller is who makes a call.
type Caller struct {
	Kind Kind
	// Org that the call is about. A service that acts for no organisation has none.
	Org string
	// User is the name of the person, the service or the ant.
	User string
	// Roles of a person in the organisation, and the groups that approvals name.
	Roles []string
	// Scopes are the permissions that an API token was made for: of what the roles allow, no more than these. Nil means all.
	Scopes []string
	// Credential is the id of the session or token with which a person came in; empty where there was none.
	Credential string
}

// Equal says whether two callers are the same in every respect.
func (c Caller) Equal(o Caller) bool {
	return c.Kind == o.Kind && c.Org == o.Org && c.User == o.User && c.Credential == o.Credential &&
		slices.Equal(c.Roles, o.Roles) && slices.Equal(c.Scopes, o.Scopes) && (c.Scopes == nil) == (o.Scopes == nil)
}

type callerKey struct{}

// With returns a context whose calls are made by c.
func With(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// From returns the caller of ctx; without one it is nobody.
func From(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

// Acting returns a context in which the service itself acts in an organisation.
func Acting(ctx context.Context, org string) context.Context {
	return With(ctx, Caller{Kind: Service, Org: org})
}

// Tenant returns the organisation whose rows may be touched by what is done in ctx: that of a person who calls, and "*", all,
// for what services and ants do. It is the Org of the services' pools.
func Tenant(ctx context.Context) string {
	if c := From(ctx); c.Kind == Person {
		return c.Org
	}
	return "*"
}

type ownKey struct{}

// WithOwnOnly returns a context in which the caller may touch its own objects only.
func WithOwnOnly(ctx context.Context) context.Context { return context.WithValue(ctx, ownKey{}, true) }

// OwnOnly says whether the caller may touch its own objects only: what others own is to be refused to it.
func OwnOnly(ctx context.Context) bool {
	own, _ := ctx.Value(ownKey{}).(bool)
	return own
}
