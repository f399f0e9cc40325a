// Package scheduler decides which pending requests start now. It owns nothing but its leadership: one replica leads,
// reads the queue from job-manager and the ants from resource-manager, and writes its decisions back with the epoch of
// its term.
package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/grpc"

	schedulev1 "github.com/formicary/formicary/proto/gen/formicary/schedule/v1"
	"github.com/formicary/formicary/services/scheduler/internal/api"
	"github.com/formicary/formicary/services/scheduler/internal/election"
	"github.com/formicary/formicary/services/scheduler/internal/lead"
)

// Config of the service.
type Config struct {
	// ID of this process; empty makes a random one.
	ID string
	// Prefix of the election's keys in etcd.
	Prefix string
	// TTL of the leader's lease: whole seconds, at least 2 s. A killed leader is followed after it; a shorter one costs
	// leadership on shorter hiccups of etcd.
	TTL time.Duration
	// TakeOver removes every other candidate at the start. Only for the one process that holds the lock of a colony's
	// data directory: it needs not wait for the lease of its killed predecessor.
	TakeOver bool
	// HeadLimit is how many pending requests per job type are read at least in a pass, 1 to 2000.
	HeadLimit int
	// SweepIdle is the time between passes that nothing woke, SweepWaiting the same while a request waits on a gate.
	// They are a net below the hints.
	SweepIdle, SweepWaiting time.Duration
	// CallTimeout bounds each call to a peer.
	CallTimeout time.Duration
	// ResignAfter is how long a leader may get nothing done before it lets another try.
	ResignAfter time.Duration
}

// DefaultConfig is right for a colony of several processes.
func DefaultConfig() Config {
	return Config{
		Prefix: "/formicary/scheduler", TTL: 5 * time.Second, HeadLimit: 64,
		SweepIdle: 5 * time.Second, SweepWaiting: time.Second, CallTimeout: 5 * time.Second,
		ResignAfter: 5 * time.Second,
	}
}

// Validate reports all faults at once.
func (c Config) Validate() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	check(c.Prefix != "", "Prefix is empty")
	check(len(c.ID) <= 100, "ID is longer than 100 bytes")
	check(c.TTL >= 2*time.Second && c.TTL%time.Second == 0, "TTL %s: want whole seconds, at least 2s", c.TTL)
	check(c.HeadLimit >= 1 && c.HeadLimit <= 2000, "HeadLimit %d: want 1 to 2000", c.HeadLimit)
	check(c.SweepIdle > 0 && c.SweepWaiting > 0, "SweepIdle %s and SweepWaiting %s: want more than 0", c.SweepIdle, c.SweepWaiting)
	check(c.CallTimeout > 0 && c.ResignAfter > 0, "CallTimeout %s and ResignAfter %s: want more than 0", c.CallTimeout, c.ResignAfter)
	return errors.Join(faults...)
}

// Deps are what the service works with; it closes none of them.
type Deps struct {
	Etcd            *clientv3.Client
	NATS            *nats.Conn
	JobManager      grpc.ClientConnInterface
	ResourceManager grpc.ClientConnInterface
	Log             *slog.Logger
	Meter           metric.Meter
}

// Service is one replica.
type Service struct {
	nats    *nats.Conn
	hints   *lead.Hints
	elector *election.Elector
	leader  *lead.Leader
	queue   *api.Queue
}

// New returns a replica that does nothing before Run.
func New(conf Config, deps Deps) (*Service, error) {
	if err := conf.Validate(); err != nil {
		return nil, fmt.Errorf("configuration of scheduler: %w", err)
	}
	if conf.ID == "" {
		conf.ID = "scheduler-" + uuid.NewString()
	}
	stats, err := lead.NewStats(deps.Meter)
	if err != nil {
		return nil, err
	}
	hints := lead.NewHints()
	return &Service{
		nats: deps.NATS, hints: hints, queue: api.NewQueue(conf.ID, stats),
		elector: election.New(election.Config{ID: conf.ID, Prefix: conf.Prefix, TTL: conf.TTL, TakeOver: conf.TakeOver}, deps.Etcd, deps.Log),
		leader: lead.New(lead.Config{
			ID: conf.ID, HeadLimit: conf.HeadLimit, SweepIdle: conf.SweepIdle, SweepWaiting: conf.SweepWaiting, CallTimeout: conf.CallTimeout,
			ResignAfter: conf.ResignAfter,
		}, deps.JobManager, deps.ResourceManager, hints, stats, deps.Log),
	}, nil
}

// Register adds the service's calls to s.
func (s *Service) Register(r grpc.ServiceRegistrar) {
	schedulev1.RegisterQueueServiceServer(r, s.queue)
}

// Run campaigns and leads until ctx ends, then resigns.
func (s *Service) Run(ctx context.Context) error {
	stop, err := s.hints.Listen(s.nats)
	if err != nil {
		return err
	}
	defer stop()
	return s.elector.Run(ctx, s.leader.Lead)
}
