// Package jobmanager keeps job definitions and job requests: whether a definition is valid, whether a request is
// accepted, and which state a request shows. README.md has its contract.
package jobmanager

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/grpc"

	"github.com/formicary/formicary/libs/keyring"
	"github.com/formicary/formicary/libs/outbox"
	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/libs/run"
	"github.com/formicary/formicary/services/job-manager/internal/admission"
	"github.com/formicary/formicary/services/job-manager/internal/api"
	"github.com/formicary/formicary/services/job-manager/internal/channel"
	"github.com/formicary/formicary/services/job-manager/internal/definition"
	"github.com/formicary/formicary/services/job-manager/internal/errorcode"
	"github.com/formicary/formicary/services/job-manager/internal/events"
	"github.com/formicary/formicary/services/job-manager/internal/notify"
	"github.com/formicary/formicary/services/job-manager/internal/pg"
	"github.com/formicary/formicary/services/job-manager/internal/quota"
	"github.com/formicary/formicary/services/job-manager/internal/request"
	"github.com/formicary/formicary/services/job-manager/migrations"
)

// Schema is the PostgreSQL schema that this service owns.
const Schema = "job"

// Deps are the parts that a service is wired with. It closes none of them.
type Deps struct {
	Pool *pgxpool.Pool
	NATS *nats.Conn
	JS   jetstream.JetStream
	// Supervisor is asked about runs.
	Supervisor grpc.ClientConnInterface
	// Keys encrypt secrets; nil: none can be stored or read.
	Keys keyring.Keys
	// RotateKeys makes a new primary key; nil: the ring is kept outside.
	RotateKeys func() error
	Log        *slog.Logger
	Meter      metric.Meter
}

// Service is the job manager.
type Service struct {
	conf       Config
	log        *slog.Logger
	relay      *outbox.Relay
	store      *pg.Store
	requests   *request.Manager
	reconciler *request.Reconciler
	consumer   *events.Consumer
	server     *api.Server
	notices    *events.Notices
	dispatcher *notify.Dispatcher
	channels   *channel.Channels
	secrets    *secrets
	metrics    *metrics
	resume     run.Signal
	overdue    run.Signal // a request that may not wait for ever has begun to
}

// Migrate brings the schema to the newest step.
func Migrate(ctx context.Context, pool *pgxpool.Pool) error {
	return pgdb.Migrate(ctx, pool, Schema, migrations.FS)
}

// New wires a service.
func New(conf Config, deps Deps) (*Service, error) {
	if err := conf.Validate(); err != nil {
		return nil, fmt.Errorf("configure job-manager: %w", err)
	}
	relay := outbox.NewRelay(deps.Pool, deps.JS, deps.Log)
	store := pg.New(deps.Pool, events.Messenger{Relay: relay}, conf.SilentAfter)
	m, err := newMetrics(deps.Meter, store)
	if err != nil {
		return nil, err
	}
	kept, err := newSecrets(deps)
	if err != nil {
		return nil, err
	}
	definitions := definition.NewManager(pg.NewDefinitions(deps.Pool), conf.CachedDefinitions)
	rules := errorcode.NewManager(pg.NewErrorRules(deps.Pool))
	requests := request.NewManager(store, definitions, rules, request.Options{
		Batch: conf.SubmitBatch, Flushers: conf.SubmitFlushers, Observe: m.submitted, Launches: conf.Launches, Refused: pg.Refused, Configs: kept.manager,
		Log: deps.Log,
	})
	supervisor := events.NewSupervisor(deps.Supervisor)
	channels := channel.New(conf.Notify, supervisor.Tasks)
	dispatcher := notify.NewDispatcher(conf.Delivery, deps.Log, store.Deliveries(), channels)
	store.OnDelivery = dispatcher.Wake
	overdue := run.NewSignal()
	store.OnBounded = overdue.Set
	inlet := events.Inlet{JS: deps.JS, Log: deps.Log, Quarantine: store.Quarantine, Failed: store.Failed}
	s := &Service{
		conf: conf, log: deps.Log, relay: relay, store: store, requests: requests, metrics: m, resume: run.NewSignal(), overdue: overdue,
		reconciler: request.NewReconciler(store, store, supervisor, pg.Refused), channels: channels, dispatcher: dispatcher,
		notices: events.NewNotices(inlet, store.Deliveries().Add, supervisor),
		secrets: kept,
		server:  api.New(definitions, requests, admission.NewManager(store), rules, store.Deliveries(), kept.manager, quota.Manager{Store: store}, deps.Supervisor),
	}
	s.consumer = events.NewConsumer(inlet, requests.Mirror, s.mirrored)
	return s, nil
}

// Register adds the RPCs of the service to r.
func (s *Service) Register(r grpc.ServiceRegistrar) { s.server.Register(r) }

// Run works until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	defer s.metrics.close()
	defer s.secrets.close()
	defer s.channels.Close()
	return run.Group(ctx,
		run.Member{Name: "submissions", Run: s.requests.Run},
		run.Member{Name: "outbox", Run: s.relay.Run},
		run.Member{Name: "executions", Run: s.consumer.Run},
		run.Member{Name: "reconciler", Run: func(ctx context.Context) error {
			return run.Loop(ctx, s.log, "reconciler", s.conf.SweepEvery, run.NewSignal(), s.reconciler.Silent)
		}},
		run.Member{Name: "resume", Run: s.timed("resume", s.resume, s.reconciler.Resume)},
		run.Member{Name: "overdue", Run: s.timed("overdue", s.overdue, s.reconciler.Overdue)},
		run.Member{Name: "counts", Run: func(ctx context.Context) error {
			return run.Loop(ctx, s.log, "counts", s.conf.SweepEvery, run.NewSignal(), s.store.AddUp)
		}},
		run.Member{Name: "notices", Run: s.notices.Run},
		run.Member{Name: "unheard notices", Run: func(ctx context.Context) error {
			return run.Loop(ctx, s.log, "unheard notices", s.conf.SweepEvery, run.NewSignal(), s.notices.Unheard)
		}},
		run.Member{Name: "deliveries", Run: s.dispatcher.Run},
		run.Member{Name: "rewraps", Run: func(ctx context.Context) error {
			return run.Loop(ctx, s.log, "rewraps", s.conf.SweepEvery, s.secrets.rewrap, s.secrets.manager.Rewrap)
		}},
	)
}

// mirrored wakes the timer when a request got a time to resume at.
func (s *Service) mirrored(recs []request.Record) {
	for i := range recs {
		if recs[i].ResumeAt != nil {
			s.resume.Set()
			return
		}
	}
}

const timerStep = 10 * time.Millisecond

// timed runs what says when it wants to run again: in time, when woken, and with the sweep, which finds what other
// replicas have begun.
func (s *Service) timed(name string, wake run.Signal, work func(context.Context) (*time.Time, error)) func(context.Context) error {
	return func(ctx context.Context) error {
		var timer *time.Timer
		defer func() {
			if timer != nil {
				timer.Stop()
			}
		}()
		return run.Loop(ctx, s.log, name, s.conf.SweepEvery, wake, func(ctx context.Context) error {
			next, err := work(ctx)
			if err != nil || next == nil {
				return err
			}
			if timer != nil {
				timer.Stop()
			}
			// The database's clock decides; where it is behind this one, the timer must not spin.
			timer = time.AfterFunc(max(time.Until(*next), timerStep), wake.Set)
			return nil
		})
	}
}
