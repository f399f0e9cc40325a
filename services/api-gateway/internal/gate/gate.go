// Package gate is the one place that decides whether a call from outside may pass: which method it names, who makes
// it, and, for streams, whether one more can be kept open. gRPC, REST and live streams all go through it.
package gate

import (
	"context"
	"strings"
	"sync"
	"unicode"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/rpc"
)

// Gate lets calls in or refuses them.
type Gate struct {
	rules Rules
	max   int

	mu    sync.Mutex
	open  map[int]context.CancelCauseFunc
	next  int
	ended bool
}

// New returns a gate that keeps at most maxStreams streams open at once.
func New(rules Rules, maxStreams int) *Gate {
	return &Gate{rules: rules, max: maxStreams, open: map[int]context.CancelCauseFunc{}}
}

// Authenticate says who makes the call. Until there are users the caller is believed: whoever reaches a loopback
// address may name the user and the roles it acts for, in the one org. The names of the system are not among them.
func (g *Gate) Authenticate(ctx context.Context) (rpc.Caller, error) {
	said := rpc.CallerFrom(ctx)
	c := rpc.Caller{Org: "default", User: "local", Roles: said.Roles}
	if said.User != "" && said.User != systemUser {
		c.User = said.User
	}
	for _, name := range append([]string{c.User}, c.Roles...) {
		if !isName(name) {
			return c, errs.Invalid("USER_INVALID", "%q is no name of a user or role: want at most %d printable characters, not beginning with system", name, longestName)
		}
	}
	if len(c.Roles) > maxRoles {
		return c, errs.Invalid("USER_INVALID", "%d roles are named, at most %d are possible", len(c.Roles), maxRoles)
	}
	return c, nil
}

const (
	systemUser  = "system" // what calls say that no person made
	longestName = 100
	maxRoles    = 50
)

// isName says whether a caller may bear the name.
func isName(name string) bool {
	if len(name) > longestName || name == systemUser || strings.HasPrefix(name, systemUser+":") {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar })
}

// Admit checks a call of the method and returns the context that carries its caller.
func (g *Gate) Admit(ctx context.Context, method string) (context.Context, error) {
	if err := g.rules.check(method); err != nil {
		return nil, err
	}
	caller, err := g.Authenticate(ctx)
	if err != nil {
		return nil, err
	}
	return rpc.WithCaller(ctx, caller), nil
}

// AdmitStream is Admit for a call that stays open: its context ends with the gate, and release must be called at
// its end.
func (g *Gate) AdmitStream(ctx context.Context, method string) (admitted context.Context, release func(), err error) {
	if ctx, err = g.Admit(ctx, method); err != nil {
		return nil, nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		return nil, nil, stopping()
	}
	if len(g.open) >= g.max {
		return nil, nil, errs.Exhausted("TOO_MANY_STREAMS", "%d streams are open, which is all that this gateway keeps", g.max)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	id := g.next
	g.next++
	g.open[id] = cancel
	return ctx, func() {
		g.mu.Lock()
		delete(g.open, id)
		g.mu.Unlock()
		cancel(nil)
	}, nil
}

// Streams returns how many streams are open.
func (g *Gate) Streams() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.open)
}

// EndStreams ends every stream with an error that asks the client to call again, and admits no more.
func (g *Gate) EndStreams() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended = true
	for _, cancel := range g.open {
		cancel(stopping())
	}
}

func stopping() error {
	return errs.Unavailable("GATEWAY_STOPS", "the gateway stops; call again and go on from the last id")
}

// Unary is the gate for calls over gRPC.
func (g *Gate) Unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	ctx, err := g.Admit(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	return next(ctx, req)
}

// Stream is the gate for streams over gRPC.
func (g *Gate) Stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	ctx, release, err := g.AdmitStream(ss.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	defer release()
	return next(srv, &admitted{ss, ctx})
}

type admitted struct {
	grpc.ServerStream
	ctx context.Context
}

func (a *admitted) Context() context.Context { return a.ctx }

// Unknown answers calls of methods that no service here has. The gate has refused those that it knows to be closed.
func Unknown(_ any, ss grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(ss)
	return unknown(method)
}

func unknown(method string) error {
	return status.Errorf(codes.Unimplemented, "there is no method %s", strings.TrimPrefix(method, "/"))
}

// public methods answer to everybody.
func public(method string) bool {
	switch method {
	case grpc_health_v1.Health_Check_FullMethodName, grpc_health_v1.Health_Watch_FullMethodName, grpc_health_v1.Health_List_FullMethodName:
		return true
	}
	return false
}
