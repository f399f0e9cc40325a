// Package apigateway is the one door for people: the REST API, the same over gRPC, and live streams. It owns who people
// are, and passes their calls on to the services that own what they are about.
package apigateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/libs/pki"
	"github.com/formicary/formicary/libs/rpc"
	"github.com/formicary/formicary/libs/run"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	identityv1 "github.com/formicary/formicary/proto/gen/formicary/identity/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	resourcev1 "github.com/formicary/formicary/proto/gen/formicary/resource/v1"
	schedulev1 "github.com/formicary/formicary/proto/gen/formicary/schedule/v1"
	"github.com/formicary/formicary/services/api-gateway/internal/auditapi"
	"github.com/formicary/formicary/services/api-gateway/internal/auditlog"
	"github.com/formicary/formicary/services/api-gateway/internal/auditpg"
	"github.com/formicary/formicary/services/api-gateway/internal/forward"
	"github.com/formicary/formicary/services/api-gateway/internal/gate"
	"github.com/formicary/formicary/services/api-gateway/internal/limit"
	"github.com/formicary/formicary/services/api-gateway/internal/live"
	"github.com/formicary/formicary/services/api-gateway/internal/page"
	"github.com/formicary/formicary/services/api-gateway/internal/rest"
	"github.com/formicary/formicary/services/api-gateway/migrations"
)

// Schema is the PostgreSQL schema that the gateway owns.
const Schema = "identity"

// Deps are what the gateway is given.
type Deps struct {
	Pool *pgxpool.Pool // whose search path begins with Schema
	NATS *nats.Conn
	// The services, by name.
	JobManager, ResourceManager, Scheduler, Supervisor grpc.ClientConnInterface
	// HTTP and GRPC are the listeners of the two ports. The gateway closes them.
	HTTP, GRPC net.Listener
	// Identity signs the ends of the audit log, and Roots are those of whom such signatures may be; nil when nobody does.
	Identity pki.Source
	Roots    func() *x509.CertPool
	// Workers serves /ws/ants in this process; nil: see Config.Workers.
	Workers http.Handler
	Log     *slog.Logger
	Meter   metric.Meter
}

// Service is a gateway.
type Service struct {
	conf     Config
	deps     Deps
	identity *identities
	gate     *gate.Gate
	audit    *auditlog.Log
	hub      *live.Hub
	bound    func(context.Context) error // callers, by the quotas of organisations
	server   *grpc.Server
	tls      *tls.Config // nil: plain
	web      http.Handler
	proxy    *proxy // nil when there is none
}

// Migrate brings the schema to the newest step.
func Migrate(ctx context.Context, pool *pgxpool.Pool) error {
	return pgdb.Migrate(ctx, pool, Schema, migrations.FS)
}

// New returns a gateway that Run starts.
func New(conf Config, deps Deps) (*Service, error) {
	if err := errors.Join(conf.Validate(), conf.reachable("HTTP", deps.HTTP), conf.reachable("gRPC", deps.GRPC)); err != nil {
		return nil, err
	}
	rules := access.ReadRules(protoregistry.GlobalFiles)
	s := &Service{conf: conf, deps: deps, identity: newIdentity(conf, deps.Pool, deps.Log)}
	door := insecure.NewCredentials()
	if conf.HTTPSCert != "" {
		pair, err := pki.OpenPair(conf.HTTPSCert, conf.HTTPSKey, deps.Log)
		if err != nil {
			return nil, err
		}
		s.tls = pair.TLS()
		door = credentials.NewTLS(pair.TLS())
	}
	s.gate = gate.New(rules, s.identity.callers(conf.Auth), conf.MaxStreams)
	limits := limit.New(conf.Limits)
	s.gate.Limit(limits)
	s.bound = s.boundCallers(limits)
	var err error
	if s.audit, err = auditlog.New(auditlog.Options{
		Store: auditpg.New(deps.Pool), Rules: rules, Identity: deps.Identity, From: from, Log: deps.Log, Meter: deps.Meter,
	}); err != nil {
		return nil, err
	}
	s.gate.OnRefusal(s.audit.Refuse)
	slow, err := s.instruments()
	if err != nil {
		return nil, err
	}
	calls, err := forward.New(s.gate, s.audit, conf.CallTimeout,
		forward.Peer{Name: "job-manager", Conn: deps.JobManager, Services: []string{
			jobv1.JobDefinitionService_ServiceDesc.ServiceName, jobv1.JobRequestService_ServiceDesc.ServiceName,
			jobv1.ErrorCodeService_ServiceDesc.ServiceName, jobv1.NotificationService_ServiceDesc.ServiceName,
			jobv1.ConfigService_ServiceDesc.ServiceName, jobv1.SecretService_ServiceDesc.ServiceName,
			jobv1.QuotaService_ServiceDesc.ServiceName,
		}},
		forward.Peer{Name: "supervisor", Conn: deps.Supervisor, Services: []string{
			executionv1.ExecutionService_ServiceDesc.ServiceName, executionv1.ApprovalService_ServiceDesc.ServiceName,
			executionv1.LogService_ServiceDesc.ServiceName, executionv1.ArtifactService_ServiceDesc.ServiceName,
			executionv1.CacheService_ServiceDesc.ServiceName,
		}},
		forward.Peer{Name: "resource-manager", Conn: deps.ResourceManager, Services: []string{
			resourcev1.AntService_ServiceDesc.ServiceName, resourcev1.ExecutorService_ServiceDesc.ServiceName,
			resourcev1.AntIdentityService_ServiceDesc.ServiceName,
		}},
		forward.Peer{Name: "scheduler", Conn: deps.Scheduler, Services: []string{schedulev1.QueueService_ServiceDesc.ServiceName}},
	)
	if err != nil {
		return nil, err
	}
	s.hub = live.New(live.Config{
		Kept: conf.KeptEvents, Queue: conf.WatchQueue, Heartbeat: conf.Heartbeat, Recheck: conf.Recheck, Life: conf.StreamLife, ReadTime: readTime,
	}, deps.NATS, calls.Admitted(), deps.Log, slow)
	s.server = rpc.NewServer(deps.Log, s.gate.Call, grpc.Creds(door), grpc.ForceServerCodecV2(forward.Codec()), grpc.MaxRecvMsgSize(conf.MaxBody),
		grpc.MaxHeaderListSize(maxHeader), grpc.ConnectionTimeout(conf.HeaderTime), grpc.MaxConcurrentStreams(uint32(conf.MaxStreams+callsAtOnce)),
		grpc.UnknownServiceHandler(gate.Unknown), grpc.ChainUnaryInterceptor(s.audit.Unary), grpc.ChainStreamInterceptor(s.audit.Stream))
	calls.Register(s.server)
	audits := auditapi.New(s.audit, deps.Roots)
	identityv1.RegisterAuditServiceServer(s.server, audits)
	s.identity.server.Register(s.server)
	jobv1.RegisterEventServiceServer(s.server, live.NewServer(s.hub))
	var workers http.Handler
	workers, s.proxy = s.workers()
	conn := auditapi.Beside(s.identity.beside(calls, rpc.NewLocal(deps.Log, s.gate.Admit, s.audit.Unary)), audits, s.gate, s.audit)
	s.web, err = rest.New(rest.Options{
		Workers: workers, Work: s.gate.Work, Conn: conn, Pages: page.New(page.Options{Conn: conn, Providers: s.identity.sso, URL: conf.origin()}),
		Anywhere: conf.Auth, Events: live.NewClient(s.hub, s.gate), Ready: s.Ready, From: s.gate.From, MaxBody: int64(conf.MaxBody), Log: deps.Log, Meter: deps.Meter,
	})
	return s, err
}

// instruments makes the metrics of streams and returns what counts a watch that was too slow.
func (s *Service) instruments() (slow func(), err error) {
	watches, err := s.deps.Meter.Int64ObservableGauge("formicary_streams", metric.WithDescription("open streams: watches of events and logs"))
	if err != nil {
		return nil, fmt.Errorf("make streams gauge: %w", err)
	}
	if _, err = s.deps.Meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		o.ObserveInt64(watches, int64(s.gate.Streams()))
		return nil
	}, watches); err != nil {
		return nil, fmt.Errorf("observe streams: %w", err)
	}
	count, err := s.deps.Meter.Int64Counter("formicary_watches_too_slow", metric.WithDescription("watches that were ended because they did not keep up"))
	if err != nil {
		return nil, fmt.Errorf("make slow watches counter: %w", err)
	}
	return func() { count.Add(context.Background(), 1) }, nil
}

const readTime = 5 * time.Second

// Run serves both ports until ctx ends; then streams end at once, calls under way get the time of Config.StopGrace.
func (s *Service) Run(ctx context.Context) error {
	members := []run.Member{
		{Name: "events", Run: s.hub.Run},
		{Name: "streams", Run: s.gate.Run},
		{Name: "identity", Run: func(ctx context.Context) error { return s.identity.run(ctx, s.deps.Log) }},
		{Name: "quotas", Run: s.bound},
		{Name: "gRPC port", Run: func(ctx context.Context) error { return rpc.Serve(ctx, s.server, s.deps.GRPC, s.conf.StopGrace) }},
		{Name: "HTTP port", Run: s.serveHTTP},
	}
	if s.proxy != nil {
		members = append(members, run.Member{Name: "workers", Run: s.proxy.Run})
	}
	// The audit log ends after the last call.
	logging, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	logged := make(chan error, 1)
	go func() { logged <- s.audit.Run(logging) }()
	err := run.Group(ctx, members...)
	stop()
	return errors.Join(err, <-logged)
}

// from says where a call comes from.
func from(ctx context.Context) (address, agent string) {
	c := gate.CredentialOf(ctx)
	return c.Address, c.Agent
}

const (
	idleTime = 2 * time.Minute
	// callsAtOnce is how many calls a connection over gRPC has under way beside its streams; further ones wait at the client.
	callsAtOnce = 1000
	maxHeader   = 64 << 10
)

func (s *Service) serveHTTP(ctx context.Context) error {
	server := &http.Server{
		Handler: s.web, ReadHeaderTimeout: s.conf.HeaderTime, ReadTimeout: s.conf.BodyTime, WriteTimeout: s.conf.CallTimeout + s.conf.BodyTime,
		IdleTimeout: idleTime, MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(s.deps.Log.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() {
		if s.tls == nil {
			ended <- server.Serve(s.deps.HTTP)
			return
		}
		server.TLSConfig = s.tls
		ended <- server.ServeTLS(s.deps.HTTP, "", "")
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.conf.StopGrace)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		_ = server.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
