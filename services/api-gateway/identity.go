package apigateway

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc"

	"github.com/formicary/formicary/libs/rpc"
	"github.com/formicary/formicary/libs/run"
	"github.com/formicary/formicary/services/api-gateway/internal/api"
	"github.com/formicary/formicary/services/api-gateway/internal/forward"
	"github.com/formicary/formicary/services/api-gateway/internal/gate"
	"github.com/formicary/formicary/services/api-gateway/internal/identity"
	"github.com/formicary/formicary/services/api-gateway/internal/login"
	"github.com/formicary/formicary/services/api-gateway/internal/people"
	"github.com/formicary/formicary/services/api-gateway/internal/pg"
	"github.com/formicary/formicary/services/api-gateway/internal/sso"
)

// identities is who people are, as the gateway serves it.
type identities struct {
	store  *pg.Store
	people *people.People
	logins *login.Manager
	sso    *sso.Logins
	server *api.Server
}

func newIdentity(conf Config, pool *pgxpool.Pool, log *slog.Logger) *identities {
	store := pg.New(pool)
	known := people.New(pg.Credentials{Store: store}, time.Now)
	ids := identity.NewManager(store, time.Now, known.Forget)
	c := login.DefaultConfig()
	c.Passwords = conf.LocalUsers
	logins := login.NewManager(c, store, ids, time.Now, known.Forget)
	providers := sso.New(sso.Options{Providers: conf.Providers, Egress: conf.Egress, Key: store.CookieKey, Now: time.Now, Log: log})
	server := api.New(ids, logins, api.Ways{Needed: conf.Auth, Providers: providers, URL: conf.origin()})
	return &identities{store: store, people: known, logins: logins, sso: providers, server: server}
}

// callers says who makes a call.
func (i *identities) callers(auth bool) gate.People {
	if auth {
		return i.people
	}
	return gate.Local{People: i.people}
}

// beside serves the RPCs about identity to REST in this process, and leaves all others to calls.
func (i *identities) beside(calls *forward.Forwarder, own *rpc.Local) grpc.ClientConnInterface {
	i.server.Register(own)
	return &split{calls, own}
}

// split leads calls to where they are served.
type split struct {
	*forward.Forwarder
	own *rpc.Local
}

// Invoke implements grpc.ClientConnInterface.
func (s *split) Invoke(ctx context.Context, method string, in, out any, opts ...grpc.CallOption) error {
	if s.own.Has(method) {
		return s.own.Invoke(ctx, method, in, out, opts...)
	}
	return s.Forwarder.Invoke(ctx, method, in, out, opts...)
}

const (
	touchEvery = 15 * time.Second
	sweepEvery = 10 * time.Minute
)

// run stores when credentials were last used, and removes what has ended.
func (i *identities) run(ctx context.Context, log *slog.Logger) error {
	defer i.sso.Close()
	return run.Group(ctx,
		run.Member{Name: "last use", Run: func(ctx context.Context) error {
			return run.Loop(ctx, log, "last use of credentials", touchEvery, run.NewSignal(), i.people.Touch)
		}},
		run.Member{Name: "ended", Run: func(ctx context.Context) error {
			return run.Loop(ctx, log, "what has ended of identity", sweepEvery, run.NewSignal(), func(ctx context.Context) error {
				return i.store.Sweep(ctx, time.Now())
			})
		}},
	)
}

// Bootstrap returns a code that makes the first platform-admin, to be shown once to whoever started the gateway; empty when
// there is a platform-admin, or where no login is needed. It ends the one before and lives for an hour.
func (s *Service) Bootstrap(ctx context.Context) (code string, err error) {
	if !s.conf.Auth {
		return "", nil
	}
	return s.identity.logins.NewBootstrap(ctx)
}
