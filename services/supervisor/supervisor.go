// Package supervisor decides the next step of every running job: it launches admitted requests, dispatches their
// tasks to ants, takes the results and keeps the record of it in the schema execution.
package supervisor

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/minio/minio-go/v7"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/grpc"

	"github.com/formicary/formicary/libs/audit"
	"github.com/formicary/formicary/libs/outbox"
	"github.com/formicary/formicary/libs/passport"
	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/libs/pki"
	"github.com/formicary/formicary/libs/run"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	"github.com/formicary/formicary/services/supervisor/internal/api"
	"github.com/formicary/formicary/services/supervisor/internal/artifact"
	"github.com/formicary/formicary/services/supervisor/internal/attempt"
	"github.com/formicary/formicary/services/supervisor/internal/blob"
	"github.com/formicary/formicary/services/supervisor/internal/cache"
	"github.com/formicary/formicary/services/supervisor/internal/child"
	"github.com/formicary/formicary/services/supervisor/internal/chore"
	"github.com/formicary/formicary/services/supervisor/internal/control"
	"github.com/formicary/formicary/services/supervisor/internal/definition"
	"github.com/formicary/formicary/services/supervisor/internal/dispatch"
	"github.com/formicary/formicary/services/supervisor/internal/events"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
	"github.com/formicary/formicary/services/supervisor/internal/launch"
	"github.com/formicary/formicary/services/supervisor/internal/peer"
	"github.com/formicary/formicary/services/supervisor/internal/pg"
	"github.com/formicary/formicary/services/supervisor/internal/pg/lease"
	"github.com/formicary/formicary/services/supervisor/internal/pg/view"
	"github.com/formicary/formicary/services/supervisor/internal/reconcile"
	"github.com/formicary/formicary/services/supervisor/internal/result"
	"github.com/formicary/formicary/services/supervisor/internal/step"
	"github.com/formicary/formicary/services/supervisor/migrations"
)

// Schema is the one that supervisor owns.
const Schema = "execution"

// Config of the service.
type Config struct {
	// DispatchBatch is how many places are asked for at once at most.
	DispatchBatch int
	// Reconcile says how long things may take before they are looked after.
	Reconcile reconcile.Config
	// Children says how often forked jobs are looked after.
	Children child.Config
	// Caches bounds those of an organisation.
	Caches cache.Config
	// ArtifactBytes is how many bytes one artifact may have: its files when a user sends it, its object when a task keeps it.
	ArtifactBytes int64
	// PublicURL is where tasks and people reach the colony's REST, for the addresses of artifacts; empty leaves their paths.
	PublicURL string
}

// DefaultConfig returns what suits a colony of any size.
func DefaultConfig() Config {
	return Config{DispatchBatch: 256, Reconcile: reconcile.DefaultConfig(), Children: child.DefaultConfig(), Caches: cache.DefaultConfig(), ArtifactBytes: 64 << 30}
}

// Validate reports every fault.
func (c Config) Validate() error {
	var err error
	if c.DispatchBatch < 1 || c.DispatchBatch > 1000 {
		err = fmt.Errorf("DispatchBatch is %d, want 1 to 1000", c.DispatchBatch)
	}
	if u, bad := url.Parse(c.PublicURL); bad != nil || c.PublicURL != "" && (u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		err = errors.Join(err, fmt.Errorf("PublicURL is %q, want an http or https URL", c.PublicURL))
	}
	if c.ArtifactBytes < 1 {
		err = errors.Join(err, fmt.Errorf("ArtifactBytes is %d, want 1 or more", c.ArtifactBytes))
	}
	return errors.Join(err, c.Reconcile.Validate(), c.Children.Validate(), c.Caches.Validate())
}

// Deps are what the service uses. Blobs must know its region, so that signing an address asks nobody.
type Deps struct {
	Pool *pgxpool.Pool
	// Leases renew leases and do nothing else, Reads are for what people look at. They should be pools of their own, see
	// Beside: nothing slow may hold up a lease, and no number of viewers a job. Nil means Pool.
	Leases, Reads   *pgxpool.Pool
	NATS            *nats.Conn
	JS              jetstream.JetStream
	JobManager      grpc.ClientConnInterface
	ResourceManager grpc.ClientConnInterface
	Blobs           *minio.Client
	Bucket          string
	Log             *slog.Logger
	Meter           metric.Meter
}

// Service is a replica of supervisor.
type Service struct {
	deps       Deps
	relay      *outbox.Relay
	dispatcher *dispatch.Dispatcher
	slots      *peer.ResourceManager
	attempts   *attempt.Manager
	launcher   *launch.Launcher
	consumer   *events.Consumer
	reconciler *reconcile.Reconciler
	children   *child.Loop
	chores     *chore.Loop
	hints      *events.Hints
	revoked    passport.Revoked
	register   func(grpc.ServiceRegistrar)
}

// Migrate brings the schema to its newest step.
func Migrate(ctx context.Context, pool *pgxpool.Pool) error {
	return pgdb.Migrate(ctx, pool, Schema, migrations.FS)
}

// The connections of Deps.Leases (two batches of Syncs and the beat) and of Deps.Reads.
const (
	leaseConns = 3
	readConns  = 4
)

// Beside opens the pools for Deps.Leases and Deps.Reads, 7 connections at most, to the database of pool. The caller
// closes them.
func Beside(ctx context.Context, pool *pgxpool.Pool) (leases, reads *pgxpool.Pool, err error) {
	if leases, err = pgdb.Beside(ctx, pool, "supervisor leases", leaseConns); err != nil {
		return nil, nil, err
	}
	if reads, err = pgdb.Beside(ctx, pool, "supervisor reads", readConns); err != nil {
		leases.Close()
		return nil, nil, err
	}
	return leases, reads, nil
}

// Invariants are what must always hold in the schema.
func Invariants() []audit.Check { return pg.Invariants() }

// New wires the service.
func New(cfg Config, d Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configure supervisor: %w", err)
	}
	s := &Service{deps: d, relay: outbox.NewRelay(d.Pool, d.JS, d.Log), hints: events.NewHints(d.NATS)}
	s.slots = peer.NewResourceManager(d.ResourceManager)
	jobs := peer.NewJobManager(d.JobManager)
	definitions := definition.NewCache(jobs)
	publisher := &events.Publisher{Relay: s.relay, NATS: d.NATS, Log: d.Log, Wake: s.wake}
	reads := cmp.Or(d.Reads, d.Pool)
	rows := pg.New(d.Pool, reads, publisher)
	store := runs{rows, lease.New(d.Pool, cmp.Or(d.Leases, d.Pool), publisher, rows.Saw), view.New(reads, rows), step.New(rows, definitions, d.Log)}
	s.dispatcher = dispatch.New(store, s.slots, s.hints.ClassesWait, d.Log, cfg.DispatchBatch)
	s.hints.AntChanged, s.hints.OthersWait = s.dispatcher.AntChanged, s.dispatcher.OthersWait
	var err error
	if s.reconciler, err = reconcile.New(cfg.Reconcile, store, pg.Temporary, d.Log, d.Meter); err != nil {
		return nil, err
	}
	s.attempts = attempt.New(store, definitions, peer.NewChildren(d.JobManager).Host, peer.NewSecrets(d.JobManager), s.reconciler.Lost, d.Log)
	seen, err := d.Meter.Int64Counter("formicary_results", metric.WithDescription("results by what became of them"))
	if err != nil {
		return nil, fmt.Errorf("make counter: %w", err)
	}
	s.launcher = launch.New(launch.Launcher{
		Requests: jobs, Definitions: definitions, Places: s.dispatcher, Store: store, Temporary: pg.Temporary, Log: d.Log,
	})
	s.consumer = &events.Consumer{
		JS: d.JS, Log: d.Log, Launch: s.launcher.Launch, Fail: s.launcher.Fail, Quarantine: store.Quarantine, Failed: store.Failed,
		Temporary: pg.Temporary, Seen: seen,
		Control: func(ctx context.Context, orders []control.Order) ([]bool, error) {
			return control.Apply(ctx, store, orders)
		},
		Results: func(ctx context.Context, r []result.Result) ([]execution.Verdict, error) {
			return result.Apply(ctx, store, func(id uuid.UUID) string { return artifact.Address(cfg.PublicURL, id) }, r)
		},
		Children: func(ctx context.Context, ended []child.Ended) error {
			return child.Apply(ctx, store, pg.Temporary, ended)
		},
	}
	blobs := &blob.Store{Client: d.Blobs, Bucket: d.Bucket}
	s.children = child.New(cfg.Children, store, peer.NewChildren(d.JobManager), pg.Temporary, d.Log)
	s.chores = chore.New(store, blobs, cfg.Caches.Quota, d.Log)
	caches, err := cache.NewManager(cfg.Caches, store, blobs, s.chores.Cached, d.Meter)
	if err != nil {
		return nil, err
	}
	s.register = func(r grpc.ServiceRegistrar) {
		attempts := &api.Attempts{Manager: s.attempts, Signer: blobs, Artifacts: &artifact.Manager{Store: store, Blobs: blobs, Most: cfg.ArtifactBytes}}
		antv1.RegisterAttemptServiceServer(r, attempts)
		antv1.RegisterCacheServiceServer(r, &api.AntCaches{Attempts: attempts, Manager: caches})
		executionv1.RegisterCacheServiceServer(r, &api.Caches{Reader: store, Store: store, Quota: cfg.Caches.Quota, Sweep: s.chores.Sweep})
		executionv1.RegisterArtifactServiceServer(r, api.NewArtifacts(store, store, blobs, cfg.ArtifactBytes))
		executionv1.RegisterExecutionServiceServer(r, &api.Executions{Reader: store})
		executionv1.RegisterApprovalServiceServer(r, &api.Approvals{Store: store})
		executionv1.RegisterExecutionStateServiceServer(r, &api.States{Reader: store, Notices: store})
		executionv1.RegisterLogServiceServer(r, &api.Logs{
			Reader: store, Blobs: blobs, Tail: &events.Tail{JS: d.JS}, Moves: &events.Moves{NATS: d.NATS}, Requests: jobv1.NewJobRequestServiceClient(d.JobManager),
		})
	}
	return s, nil
}

// runs are the rows of the schema and what happens to them.
type runs struct {
	*pg.Store
	*leases
	*views
	*step.Stepper
}

type (
	leases = lease.Store
	views  = view.Store
)

// wake tells the loops what a commit means for them.
func (s *Service) wake(c *execution.Changes) {
	s.slots.Changed(c) // before its releases are sent
	s.dispatcher.Changed(c)
	s.reconciler.Changed(c)
	s.children.Changed(c)
	s.chores.Changed(c)
}

// Register adds the service's RPCs.
func (s *Service) Register(r grpc.ServiceRegistrar) { s.register(r) }

// Gone says why a certificate of an ant counts no more: what admits ants' calls must ask it.
func (s *Service) Gone(name pki.Name, cert *x509.Certificate) error {
	return s.revoked.Gone(name, cert)
}

// Run works until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	return run.Group(ctx,
		run.Member{Name: "outbox", Run: s.relay.Run},
		run.Member{Name: "dispatcher", Run: s.dispatcher.Run},
		run.Member{Name: "attempts", Run: s.attempts.Run},
		run.Member{Name: "consumer", Run: s.consumer.Run},
		run.Member{Name: "launcher", Run: s.launcher.Run},
		run.Member{Name: "reconciler", Run: s.reconciler.Run},
		run.Member{Name: "children", Run: s.children.Run},
		run.Member{Name: "chores", Run: s.chores.Run},
		run.Member{Name: "hints", Run: s.hints.Run},
		run.Member{Name: "ants that were shut out", Run: func(ctx context.Context) error {
			return s.revoked.Follow(ctx, s.deps.Log, peer.Revoked(s.deps.ResourceManager))
		}},
		run.Member{Name: "audit", Run: func(ctx context.Context) error {
			return audit.Watch(ctx, s.deps.Pool, s.deps.Log, s.deps.Meter, pg.RecentInvariants())
		}},
	)
}
