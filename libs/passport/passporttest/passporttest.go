// Package passporttest gives tests an authority of their own process: servers that admit its calls, and the connections
// of services, ants and people.
package passporttest

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/passport"
	"github.com/formicary/formicary/libs/pki"
)

// Authority of the test process.
var Authority = sync.OnceValue(func() *pki.Authority { //nolint:gochecknoglobals // one per process
	a, err := pki.NewAuthority()
	if err != nil {
		panic(err)
	}
	return a
})

func rules() access.Rules { return access.ReadRules(protoregistry.GlobalFiles) }

// Checker admits calls whose tokens are of the authority.
func Checker() *passport.Checker {
	return passport.NewChecker(Authority().Roots, rules(), nil)
}

// Service returns the credentials of a service's connections. Those of api-gateway sign for the person in the context.
func Service(name string) grpc.DialOption { return as(pki.Name{Kind: pki.Service, ID: name}) }

// Ant returns the credentials of an ant's connections.
func Ant(id string) grpc.DialOption { return as(pki.Name{Kind: pki.Ant, ID: id}) }

// People returns the credentials of connections whose calls are made by the person in the context.
func People() grpc.DialOption { return Service(passport.Gateway) }

// Everybody returns the options of connections each of whose calls is made by whom the method is for: the first of its
// services where a service acts, the ant that the request names, or the person in the context, who is a platform-admin of the org default without
// one.
func Everybody(more ...grpc.DialOption) []grpc.DialOption {
	return append(more, grpc.WithPerRPCCredentials(everybody{rules()}), grpc.WithChainUnaryInterceptor(named))
}

// named makes a request that names an ant one of that ant.
func named(ctx context.Context, method string, req, res any, conn *grpc.ClientConn, next grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if m, ok := req.(interface{ GetAntId() string }); ok {
		ctx = context.WithValue(ctx, antKey{}, m.GetAntId())
	}
	return next(ctx, method, req, res, conn, opts...)
}

type antKey struct{}

type everybody struct{ rules access.Rules }

func (e everybody) GetRequestMetadata(ctx context.Context, uri ...string) (map[string]string, error) {
	info, _ := credentials.RequestInfoFromContext(ctx)
	rule := e.rules[info.Method]
	c := access.From(ctx)
	name := pki.Name{Kind: pki.Service, ID: passport.Gateway}
	switch {
	case rule.Ant:
		name = pki.Name{Kind: pki.Ant, ID: "ant-1"}
		if id, ok := ctx.Value(antKey{}).(string); ok {
			if said, err := pki.ParseName(pki.Name{Kind: pki.Ant, ID: id}.String()); err == nil && said.ID == id { // what names no ant is refused otherwise
				name = said
			}
		}
		if c.Kind == access.Ant {
			name.ID = c.User
		}
	case len(rule.Services) > 0 && (rule.Internal || c.Kind == access.Service):
		name.ID = rule.Services[0]
	case c.Kind == "":
		ctx = access.With(ctx, Person("default", "local"))
	}
	return issuer(name).GetRequestMetadata(ctx, uri...)
}

func (everybody) RequireTransportSecurity() bool { return false }

// issuers of the process, by name.
var issuers sync.Map //nolint:gochecknoglobals // making one costs a key

func issuer(name pki.Name) *passport.Issuer {
	if i, ok := issuers.Load(name); ok {
		return i.(*passport.Issuer) //nolint:forcetypeassert // nothing else is stored
	}
	id, err := Authority().Issue(name, time.Hour)
	if err != nil {
		panic(err)
	}
	i, _ := issuers.LoadOrStore(name, passport.NewIssuer(pki.Fixed(id), rules()))
	return i.(*passport.Issuer) //nolint:forcetypeassert // the same
}

func as(name pki.Name) grpc.DialOption { return grpc.WithPerRPCCredentials(issuer(name)) }

// Person returns a caller of an organisation with the roles; without a built-in one it is a platform-admin, too.
func Person(org, user string, roles ...string) access.Caller {
	if !slices.ContainsFunc(roles, access.BuiltIn) {
		roles = append(slices.Clone(roles), access.PlatformAdmin)
	}
	return access.Caller{Kind: access.Person, Org: org, User: user, Roles: roles}
}

// Token returns what a service sends with a call of the method for c.
func Token(t testing.TB, service string, c access.Caller, method string) string {
	t.Helper()
	token, err := issuer(pki.Name{Kind: pki.Service, ID: service}).Token(access.With(t.Context(), c), method)
	if err != nil {
		t.Fatal(err)
	}
	return token
}
