// Package gate is the one place that decides whether a call from outside may pass: which method it names, who makes
// it, and, for streams, whether one more can be kept open. gRPC, REST and live streams all go through it.
package gate

import (
	"context"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/services/api-gateway/internal/limit"
)

// People says who somebody is. What it returns without an error may be nobody: then only public methods are open.
type People interface {
	Authenticate(ctx context.Context, c Credential) (access.Caller, error)
}

// Gate lets calls in or refuses them.
type Gate struct {
	rules  access.Rules
	people People
	limits *limit.Limits
	max    int
	// refused is told of whom is not let in.
	refused func(ctx context.Context, method string, who access.Caller, err error)

	mu    sync.Mutex
	open  map[int]*stream
	next  int
	ended bool
}

// New returns a gate that keeps at most maxStreams streams open at once. How often one caller may call Limit says.
func New(rules access.Rules, people People, maxStreams int) *Gate {
	return &Gate{rules: rules, people: people, limits: limit.New(limit.Config{Buckets: 1}), max: maxStreams, open: map[int]*stream{}}
}

// Limit sets the limits of callers, before the first call.
func (g *Gate) Limit(l *limit.Limits) { g.limits = l }

// From counts a request from an address before anything else is done for it.
func (g *Gate) From(address string) error { return g.limits.From(address) }

// OnRefusal has f told of every call that is not let in, before the first one comes.
func (g *Gate) OnRefusal(f func(ctx context.Context, method string, who access.Caller, err error)) {
	g.refused = f
}

// Admit checks a call of the method and returns the context that carries its caller.
func (g *Gate) Admit(ctx context.Context, method string) (context.Context, error) {
	caller, err := g.caller(ctx, method)
	own := false
	if err == nil {
		if err := g.limits.By(caller.Credential, caller.Org); err != nil {
			return nil, err
		}
		own, err = g.rules.Check(method, caller)
	}
	if err != nil {
		if g.refused != nil {
			g.refused(ctx, method, caller, err)
		}
		return nil, err
	}
	ctx = access.With(ctx, caller)
	if own {
		ctx = access.WithOwnOnly(ctx)
	}
	return ctx, nil
}

// Work admits a worker that connects to be an ant: it gets the work of every organisation, so only the administrators of
// the platform may.
func (g *Gate) Work(ctx context.Context) error {
	const permission = "ant.connect"
	caller, err := g.people.Authenticate(ctx, CredentialOf(ctx))
	switch {
	case err != nil:
		return err
	case caller.Kind == "":
		return errs.Unauthenticated("CALLER_MISSING", "workers log in here: send the API token of a platform-admin as Authorization: Bearer")
	case caller.Grant(permission) != access.Full:
		return errs.Denied("PERMISSION_MISSING", "workers need the permission %s, which %s does not have here", permission, caller.User)
	}
	return g.limits.By(caller.Credential, caller.Org)
}

// caller says who makes a call. A credential that is sent is checked also where none is needed, except by methods that
// are public: who logs in may still hold one that has expired.
func (g *Gate) caller(ctx context.Context, method string) (access.Caller, error) {
	c, err := g.people.Authenticate(ctx, CredentialOf(ctx))
	if err != nil && g.rules.Public(method) {
		return access.Caller{}, nil
	}
	return c, err
}

// AdmitStream is Admit for a call that stays open: its context ends with the gate, and release must be called at
// its end.
func (g *Gate) AdmitStream(ctx context.Context, method string) (admitted context.Context, release func(), err error) {
	brought := CredentialOf(ctx)
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
	caller := access.From(ctx)
	closed, err := g.limits.Open(caller.Credential, caller.Org, caller.User)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	id := g.next
	g.next++
	g.open[id] = &stream{method: method, brought: brought, caller: caller, cancel: cancel}
	return ctx, func() {
		g.mu.Lock()
		delete(g.open, id)
		g.mu.Unlock()
		closed()
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
	for _, s := range g.open {
		s.cancel(stopping())
	}
}

func stopping() error {
	return errs.Unavailable("GATEWAY_STOPS", "the gateway stops; call again and go on from the last id")
}

// Call admits a call over gRPC: it is the rpc.Admit of the gateway's port.
func (g *Gate) Call(ctx context.Context, method string) (context.Context, error) {
	ctx = fromMetadata(ctx)
	if err := g.From(CredentialOf(ctx).Address); err != nil {
		return nil, err
	}
	if !g.rules[method].Stream {
		return g.Admit(ctx, method)
	}
	admitted, release, err := g.AdmitStream(ctx, method)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, release) // the context of a stream ends with it
	return admitted, nil
}

// Unknown answers calls of methods that no service here has. The gate has refused those that it knows to be closed.
func Unknown(_ any, ss grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(ss)
	return status.Errorf(codes.Unimplemented, "there is no method %s", strings.TrimPrefix(method, "/"))
}
