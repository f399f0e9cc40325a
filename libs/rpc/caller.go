package rpc

import (
	"context"
	"strings"

	"google.golang.org/grpc/metadata"
)

// Caller is on whose behalf a call is made.
type Caller struct {
	// Org owns what the call touches.
	Org string
	// User is who asked.
	User string
	// Roles of the user in the org.
	Roles []string
}

// system is the caller of work that no person asked for.
var system = Caller{Org: "default", User: "system"}

const (
	orgKey   = "x-formicary-org"
	userKey  = "x-formicary-user"
	rolesKey = "x-formicary-roles"
)

type callerKey struct{}

// WithCaller returns a context whose calls are made for c.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerFrom returns the caller of ctx; without one it is the system itself.
func CallerFrom(ctx context.Context) Caller {
	if c, ok := ctx.Value(callerKey{}).(Caller); ok {
		return c
	}
	return system
}

// incoming takes the caller from the metadata of a call, and whether that is made again when it fails.
func incoming(ctx context.Context) context.Context {
	md, ok := metadata.FromIncomingContext(ctx)
	if !ok {
		return ctx
	}
	c := system
	if v := get(md, orgKey); len(v) > 0 {
		c.Org = v[0]
	}
	if v := get(md, userKey); len(v) > 0 {
		c.User = v[0]
	}
	c.Roles = ParseRoles(get(md, rolesKey)...)
	if len(md.Get(retriedKey)) > 0 {
		ctx = context.WithValue(ctx, retriedCall{}, true)
	}
	return WithCaller(ctx, c)
}

// Metadata is printable ASCII; what is more travels under the same name with this ending.
const binary = "-bin"

func get(md metadata.MD, key string) []string {
	if v := md.Get(key + binary); len(v) > 0 {
		return v
	}
	return md.Get(key)
}

func put(pairs []string, key, value string) []string {
	if strings.ContainsFunc(value, func(c rune) bool { return c < ' ' || c > '~' }) {
		key += binary
	}
	return append(pairs, key, value)
}

// outgoing puts the caller into the metadata of a call.
func outgoing(ctx context.Context) context.Context {
	c := CallerFrom(ctx)
	pairs := put(put(nil, orgKey, c.Org), userKey, c.User)
	if len(c.Roles) > 0 {
		pairs = put(pairs, rolesKey, strings.Join(c.Roles, ","))
	}
	return metadata.AppendToOutgoingContext(ctx, pairs...)
}

// ParseRoles reads lists of roles that are separated by commas. A name cannot hold one.
func ParseRoles(lists ...string) []string {
	var roles []string
	for _, list := range lists {
		for role := range strings.SplitSeq(list, ",") {
			if role = strings.TrimSpace(role); role != "" {
				roles = append(roles, role)
			}
		}
	}
	return roles
}
