// Package api answers the RPCs about identity, which the gateway serves itself: it decodes, calls the domain and encodes.
//
// The gate has decided already that the caller may call the method in the org that it acts in. What is decided here is
// whose object it is: an object of another org or user is answered as one that does not exist.
package api

import (
	"context"
	"slices"

	"google.golang.org/grpc"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/rpc"
	identityv1 "github.com/formicary/formicary/proto/gen/formicary/identity/v1"
	"github.com/formicary/formicary/services/api-gateway/internal/gate"
	"github.com/formicary/formicary/services/api-gateway/internal/identity"
	"github.com/formicary/formicary/services/api-gateway/internal/login"
	"github.com/formicary/formicary/services/api-gateway/internal/sso"
)

// Ways are what people are told about how to log in.
type Ways struct {
	// Providers are those of OpenID Connect.
	Providers *sso.Logins
	// URL is where browsers find the gateway; empty where only they know.
	URL string
	// Needed is false where callers without a credential are the local administrator.
	Needed bool
}

// Server has one part for each group of RPCs.
type Server struct {
	orgs     *orgs
	users    *users
	tokens   *tokens
	sessions *sessions
}

// New returns a server.
func New(ids *identity.Manager, logins *login.Manager, ways Ways) *Server {
	return &Server{
		orgs:     &orgs{ids: ids},
		users:    &users{ids: ids, logins: logins},
		tokens:   &tokens{ids: ids, logins: logins},
		sessions: &sessions{logins: logins, ways: ways},
	}
}

// Register adds all services to r.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	identityv1.RegisterOrgServiceServer(r, s.orgs)
	identityv1.RegisterUserServiceServer(r, s.users)
	identityv1.RegisterTokenServiceServer(r, s.tokens)
	identityv1.RegisterSessionServiceServer(r, s.sessions)
}

// within refuses an org that is not the one in which the gate let the caller in.
func within(ctx context.Context, org string) (access.Caller, error) {
	c := access.From(ctx)
	if c.Org == "" || c.Org != org {
		return c, errs.NotFound("ORG_NOT_FOUND", "this call does not act in an organisation %q: choose one of yours by %s", org, gate.OrgHeader)
	}
	return c, nil
}

// person returns the caller of a method that is open to everybody, if it is somebody.
func person(ctx context.Context) (access.Caller, error) {
	c := access.From(ctx)
	if c.Kind != access.Person || c.User == "" {
		return c, errs.Unauthenticated("CALLER_MISSING", "this needs a caller: log in, or send a token")
	}
	return c, nil
}

// ofPlatform says whether the caller has a role of the platform and, with a token, may also use it.
func ofPlatform(c access.Caller) bool {
	return slices.ContainsFunc(c.Roles, access.OfPlatform) && c.Grant("org.list") == access.Full
}

// rules says whether the caller may change users.
func rules(c access.Caller) bool { return c.Grant("org.admin") == access.Full }

// owner is the user whose objects a call is about: the caller, or somebody else for those who may.
func owner(c access.Caller, asked string, may bool) (string, error) {
	if asked == "" || asked == c.User || may {
		if asked != "" {
			return asked, nil
		}
		return c.User, nil
	}
	return "", identity.NoUser(asked)
}

const defaultPage = 100

// list reads a page of a list: fetch takes the place behind which it begins and how many at most, and place names that of an item.
func list[T any](name, token string, size int32, fetch func(after string, most int) ([]T, error), place func(T) string) (items []T, next string, err error) {
	after, err := rpc.PagePlace(name, token)
	if err != nil {
		return nil, "", err
	}
	n := int(size)
	if n == 0 {
		n = defaultPage
	}
	items, err = fetch(after, n+1)
	if err != nil || len(items) <= n {
		return items, "", err
	}
	items = items[:n]
	return items, rpc.PageToken(name, place(items[n-1])), nil
}

func each[A, B any](in []A, to func(A) B) []B {
	out := make([]B, len(in))
	for i := range in {
		out[i] = to(in[i])
	}
	return out
}
