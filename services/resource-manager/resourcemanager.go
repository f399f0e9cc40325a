// Package resourcemanager knows the ants and hands out their slots. It owns the schema resource: which ants live, what
// they offer, and which attempt holds which slots.
package resourcemanager

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/grpc"

	"github.com/formicary/formicary/libs/audit"
	"github.com/formicary/formicary/libs/bus"
	"github.com/formicary/formicary/libs/passport"
	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/libs/pki"
	"github.com/formicary/formicary/libs/run"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	resourcev1 "github.com/formicary/formicary/proto/gen/formicary/resource/v1"
	"github.com/formicary/formicary/services/resource-manager/internal/ant"
	"github.com/formicary/formicary/services/resource-manager/internal/api"
	"github.com/formicary/formicary/services/resource-manager/internal/beat"
	"github.com/formicary/formicary/services/resource-manager/internal/doorbell"
	"github.com/formicary/formicary/services/resource-manager/internal/events"
	"github.com/formicary/formicary/services/resource-manager/internal/hosts"
	"github.com/formicary/formicary/services/resource-manager/internal/join"
	"github.com/formicary/formicary/services/resource-manager/internal/pg"
	"github.com/formicary/formicary/services/resource-manager/internal/reserve"
	"github.com/formicary/formicary/services/resource-manager/internal/sweep"
)

// Config of the service.
type Config struct {
	// Lease of an ant's session: an ant that is silent for so long gets no more work.
	Lease time.Duration
	// Beat is the interval between heartbeats that ants are asked for.
	Beat time.Duration
	// Hold is the time from a reservation to its deadline: a dispatch must be committed by then.
	Hold time.Duration
	// HoldSlack is how long past its deadline a hold is asked about.
	HoldSlack time.Duration
	// GoneAfter is how long an ant is OFFLINE before it is removed.
	GoneAfter time.Duration
	// Sweep is the interval of the sweeps over leases, holds and doorbells.
	Sweep time.Duration
	// CallTimeout bounds a call to supervisor.
	CallTimeout time.Duration
}

// DefaultConfig has the times that the other services count on.
func DefaultConfig() Config {
	return Config{
		Lease: 30 * time.Second, Beat: 5 * time.Second, Hold: 30 * time.Second, HoldSlack: 5 * time.Second,
		GoneAfter: 10 * time.Minute, Sweep: 5 * time.Second, CallTimeout: 5 * time.Second,
	}
}

// Validate reports all faults at once.
func (c Config) Validate() error {
	var faults []error
	for name, d := range map[string]time.Duration{
		"Lease": c.Lease, "Beat": c.Beat, "Hold": c.Hold, "HoldSlack": c.HoldSlack, "GoneAfter": c.GoneAfter, "Sweep": c.Sweep, "CallTimeout": c.CallTimeout,
	} {
		if d <= 0 {
			faults = append(faults, fmt.Errorf("%s %s: want more than 0", name, d))
		}
	}
	if c.Beat*3 > c.Lease {
		faults = append(faults, fmt.Errorf("a Beat of %s in a Lease of %s: want at least three", c.Beat, c.Lease))
	}
	return errors.Join(faults...)
}

// Deps are what the service works with; it closes none of them.
type Deps struct {
	Pool       *pgxpool.Pool // search path: the schema resource
	NATS       *nats.Conn
	JS         jetstream.JetStream
	Supervisor grpc.ClientConnInterface
	// Authority issues the certificates of ants that join; nil: none can.
	Authority *pki.Authority
	Log       *slog.Logger
	Meter     metric.Meter
}

// Service is one replica.
type Service struct {
	conf         Config
	deps         Deps
	store        *pg.Store
	hints        *events.Hints
	doorbells    *doorbell.Keeper
	reservations *reserve.Batcher
	beats        *beat.Batcher
	sweeper      *sweep.Sweeper
	desk         *join.Desk
	joins        *api.Join
	revoked      passport.Revoked
}

// New returns a replica that does nothing before Run.
func New(conf Config, deps Deps) (*Service, error) {
	if err := conf.Validate(); err != nil {
		return nil, fmt.Errorf("configuration of resource-manager: %w", err)
	}
	s := &Service{conf: conf, deps: deps, store: pg.NewStore(deps.Pool, conf.Hold), hints: events.NewHints(deps.NATS, deps.Log)}
	s.doorbells = doorbell.NewKeeper(deps.JS, s.store, deps.Log)
	s.reservations = reserve.NewBatcher(s.store, func(id string) { s.hints.Changed(id, ant.Online) })
	s.beats = beat.NewBatcher(s.store, conf.Lease)
	s.desk = join.NewDesk(s.store, deps.Authority)
	s.joins = api.NewJoin(s.desk)
	var err error
	s.sweeper, err = sweep.New(sweep.Config{
		Every: conf.Sweep, Lease: conf.Lease, HoldSlack: conf.HoldSlack, GoneAfter: conf.GoneAfter, CallTimeout: conf.CallTimeout,
	}, s.store, deps.Supervisor, sweepListener{s}, deps.Log, deps.Meter)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Migrate brings the schema to the newest step.
func Migrate(ctx context.Context, pool *pgxpool.Pool) error {
	steps, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("open migrations: %w", err)
	}
	return pgdb.Migrate(ctx, pool, "resource", steps)
}

// Register adds the service's calls to r.
func (s *Service) Register(r grpc.ServiceRegistrar) {
	antv1.RegisterRegistrationServiceServer(r, api.NewRegistration(s.store, s.store, s.beats, s.doorbells, s.hints, s.conf.Lease, s.conf.Beat))
	resourcev1.RegisterAntServiceServer(r, api.NewAnt(s.store, s.hints))
	antv1.RegisterJoinServiceServer(r, s.joins)
	resourcev1.RegisterAntIdentityServiceServer(r, api.NewIdentity(s.desk, s.hints, func(ctx context.Context) error { return s.revoked.Ask(ctx, s.desk.Revoked) }))
	resourcev1.RegisterExecutorServiceServer(r, api.NewExecutor(s.store, hosts.New(s.deps.NATS)))
	resourcev1.RegisterReservationServiceServer(r, api.NewReservation(s.reservations, s.store))
}

// Gone says why a certificate of an ant counts no more: what admits ants' calls must ask it.
func (s *Service) Gone(name pki.Name, cert *x509.Certificate) error {
	return s.revoked.Gone(name, cert)
}

// Run reserves and sweeps until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	loop := func(name string, round func(context.Context) error) run.Member {
		return run.Member{Name: name, Run: func(ctx context.Context) error {
			return run.Loop(ctx, s.deps.Log, name, s.conf.Sweep, run.NewSignal(), round)
		}}
	}
	return run.Group(ctx,
		run.Member{Name: "reserve", Run: s.reservations.Run},
		run.Member{Name: "beats", Run: s.beats.Run},
		loop("sweep of leases", s.sweeper.Leases),
		loop("sweep of holds", s.sweeper.Holds),
		loop("sweep of ants", s.sweeper.Gone),
		loop("sweep of doorbells", s.doorbells.Correct),
		run.Member{Name: "ants that were shut out", Run: func(ctx context.Context) error {
			return s.revoked.Follow(ctx, s.deps.Log, s.desk.Revoked)
		}},
		run.Member{Name: "streams", Run: func(ctx context.Context) error {
			return bus.KeepProvisioned(ctx, s.deps.Log, s.deps.JS)
		}},
		run.Member{Name: "audit", Run: func(ctx context.Context) error {
			return audit.Watch(ctx, s.deps.Pool, s.deps.Log, s.deps.Meter, Invariants())
		}},
	)
}

// sweepListener passes on what the sweep did.
type sweepListener struct{ s *Service }

func (t sweepListener) Offline(id string) { t.s.hints.Changed(id, ant.Offline) }

func (t sweepListener) Freed(out reserve.Outcome) { t.s.reservations.NotifyFreed(out) }
