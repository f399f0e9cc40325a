package up

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	grpccredentials "google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/bus"
	"github.com/formicary/formicary/libs/colony"
	"github.com/formicary/formicary/libs/egress"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/passport"
	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/libs/pki"
	"github.com/formicary/formicary/libs/rpc"
	"github.com/formicary/formicary/libs/run"
	"github.com/formicary/formicary/libs/telemetry"
	"github.com/formicary/formicary/services/ant"
	apigateway "github.com/formicary/formicary/services/api-gateway"
	jobmanager "github.com/formicary/formicary/services/job-manager"
	resourcemanager "github.com/formicary/formicary/services/resource-manager"
	"github.com/formicary/formicary/services/scheduler"
	"github.com/formicary/formicary/services/supervisor"
)

// composition is the services, wired to each other and to the stores.
type composition struct {
	conf    Config
	log     *slog.Logger
	stores  *stores
	metrics *telemetry.Metrics
	ops     *telemetry.Ops
	memory  *rpc.Memory
	began   time.Time
	started chan struct{} // closed when the colony takes work

	rules access.Rules
	peers map[string]*grpc.ClientConn // of the gateway

	bootstrap string // the code that makes the first platform-admin; empty when it is not needed

	pools   map[string]*pgxpool.Pool
	leases  *pgxpool.Pool // of supervisor, beside its own
	reads   *pgxpool.Pool // the same
	layers  [][]run.Member
	tasks   sync.WaitGroup // of the members that execute tasks
	closers []func()
}

const stopCalls = 2 * time.Second // for calls under way at the end

// compose opens what the services need, migrates their schemas and builds them. In col it finds the addresses to
// expose the services at, if any.
func compose(ctx context.Context, conf Config, log *slog.Logger, s *stores, d *doors, col *colony.Colony) (*composition, error) {
	c := &composition{
		conf: conf, log: log, stores: s, memory: rpc.NewMemory(), began: time.Now(), started: make(chan struct{}),
		pools: map[string]*pgxpool.Pool{}, rules: access.ReadRules(protoregistry.GlobalFiles),
	}
	if err := c.build(ctx, d, col); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *composition) build(ctx context.Context, d *doors, col *colony.Colony) error {
	var err error
	if c.metrics, err = telemetry.NewMetrics(); err != nil {
		return err
	}
	c.ops = telemetry.NewOps(c.metrics)
	if err := c.openPools(ctx); err != nil {
		return err
	}
	steps := []func(*colony.Colony) ([]run.Member, error){c.jobManager, c.resourceManager, c.supervisor, c.scheduler}
	var services []run.Member
	for _, step := range steps {
		members, err := step(col)
		if err != nil {
			return err
		}
		services = append(services, members...)
	}
	bridge, err := c.workers()
	if err != nil {
		return err
	}
	gateway, err := c.gateway(ctx, d, bridge.Handler())
	if err != nil {
		return err
	}
	edge := []run.Member{gateway, {Name: "workers", Run: c.executes(bridge.Run)}, {Name: "operations port", Run: func(ctx context.Context) error {
		return telemetry.Serve(ctx, d.ops, c.ops.Handler())
	}}}
	if !c.conf.NoAnt {
		worker, err := c.ant()
		if err != nil {
			return err
		}
		worker.Run = c.executes(worker.Run)
		edge = append(edge, worker)
	}
	c.layers = [][]run.Member{services, edge}
	c.checks()
	return nil
}

// executes makes a member one whose end the end of the colony waits for, however long its tasks take.
func (c *composition) executes(work func(context.Context) error) func(context.Context) error {
	c.tasks.Add(1)
	return func(ctx context.Context) error {
		defer c.tasks.Done()
		return work(ctx)
	}
}

// openPools opens the databases of the services and brings their schemas up to date, all at once.
func (c *composition) openPools(ctx context.Context) error {
	migrate := map[string]func(context.Context, *pgxpool.Pool) error{
		"job-manager": jobmanager.Migrate, "resource-manager": resourcemanager.Migrate, "supervisor": supervisor.Migrate,
		"api-gateway": apigateway.Migrate,
	}
	g, migrating := errgroup.WithContext(ctx)
	for service, schema := range schemas {
		pool, err := pgdb.Open(ctx, c.stores.pg.DSNAs(schema, database), pgdb.Options{Name: service, Schema: schema, Org: access.Tenant})
		if err != nil {
			return err
		}
		c.pools[service] = pool
		c.onClose(pool.Close)
		g.Go(func() error { return migrate[service](migrating, pool) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	var err error
	if c.leases, c.reads, err = supervisor.Beside(ctx, c.pools["supervisor"]); err != nil {
		return err
	}
	c.onClose(c.leases.Close)
	c.onClose(c.reads.Close)
	return nil
}

// calls opens the connections over which a service calls others, in their order.
func (c *composition) calls(from string, services ...string) ([]*grpc.ClientConn, error) {
	conns, err := c.dial(pki.Name{Kind: pki.Service, ID: from}, services...)
	for _, conn := range conns {
		c.onClose(func() { _ = conn.Close() })
	}
	return conns, err
}

// dial opens connections of one part of the colony; those of an ant go to where ants are answered.
func (c *composition) dial(from pki.Name, services ...string) (conns []*grpc.ClientConn, err error) {
	source, err := c.stores.authority.Renewing(from, pki.ServiceLife)
	if err != nil {
		return nil, err
	}
	issuer := passport.NewIssuer(source, c.rules)
	for _, name := range services {
		if from.Kind == pki.Ant {
			name += forAnts
		}
		conn, err := c.memory.Dial(name, grpc.WithPerRPCCredentials(issuer))
		if err != nil {
			return conns, err
		}
		conns = append(conns, conn)
	}
	return conns, nil
}

// asAnt opens the connections of an ant.
func (c *composition) asAnt(id string) (resourceManager, supervisor grpc.ClientConnInterface, done func(), err error) {
	conns, err := c.dial(pki.Name{Kind: pki.Ant, ID: id}, colony.ForAnts()...)
	done = func() {
		for _, conn := range conns {
			_ = conn.Close()
		}
	}
	if err != nil {
		done()
		return nil, nil, nil, err
	}
	return conns[0], conns[1], done, nil
}

// bus opens a service's connection to NATS.
func (c *composition) bus(name string) (*nats.Conn, jetstream.JetStream, error) {
	nc, err := c.stores.nats.Connect(name)
	if err != nil {
		return nil, nil, err
	}
	c.onClose(nc.Close)
	js, err := bus.JetStream(nc)
	if err != nil {
		return nil, nil, err
	}
	return nc, js, nil
}

// forAnts ends the name under which a service answers ants inside the process.
const forAnts = "/ants"

// service is one of the colony.
type service interface {
	Register(r grpc.ServiceRegistrar)
	Run(ctx context.Context) error
}

// gone is a service that knows which ants were shut out.
type gone interface {
	Gone(name pki.Name, cert *x509.Certificate) error
}

// serve returns the members of a service: its own work and its gRPC servers, for services and for ants, in memory and,
// exposed, on its addresses.
func (c *composition) serve(name string, col *colony.Colony, svc service) ([]run.Member, error) {
	members := []run.Member{{Name: name, Run: svc.Run}}
	id, err := c.stores.authority.Renewing(pki.Name{Kind: pki.Service, ID: name}, pki.ServiceLife)
	if err != nil {
		return nil, err
	}
	roots := c.stores.authority.Roots
	checker := passport.NewChecker(roots, c.rules, nil)
	answer := func(as string, lis net.Listener, admit rpc.Admit, opts ...grpc.ServerOption) {
		server := rpc.NewServer(c.logger(name), admit, opts...)
		svc.Register(server)
		members = append(members, run.Member{Name: name + as, Run: func(ctx context.Context) error { return rpc.Serve(ctx, server, lis, stopCalls) }})
	}
	expose := func(as, addr string, admit rpc.Admit, conf *tls.Config) error {
		if addr == "" {
			return nil
		}
		lis, err := net.Listen("tcp", addr)
		if err != nil {
			return fmt.Errorf("listen for %s: %w", name, err)
		}
		c.onClose(func() { _ = lis.Close() })
		answer(as, lis, admit, grpc.Creds(grpccredentials.NewTLS(conf)))
		return nil
	}
	answer(" server", c.memory.Listen(name), checker.AdmitServices)
	if err := expose(" exposed", col.Services[name], checker.AdmitServices, pki.ServerTLS(id, roots, pki.Service)); err != nil {
		return nil, err
	}
	ofAnts, ok := svc.(gone)
	if !ok {
		return members, nil
	}
	admit := passport.NewChecker(roots, c.rules, ofAnts.Gone).AdmitAnts
	answer(" server for ants", c.memory.Listen(name+forAnts), admit)
	return members, expose(" exposed to ants", col.Ants[name], admit, pki.OpenTLS(id, roots, pki.Ant))
}

func (c *composition) jobManager(col *colony.Colony) ([]run.Member, error) {
	const name = "job-manager"
	nc, js, err := c.bus(name)
	if err != nil {
		return nil, err
	}
	peers, err := c.calls(name, "supervisor")
	if err != nil {
		return nil, err
	}
	conf := jobmanager.DefaultConfig()
	conf.Notify.Egress = egress.Policy{Private: true, AnyPort: true} // as for the ant: scripts reach this machine anyway
	conf.Notify.PublicURL = col.URL()
	if c.conf.Getenv != nil {
		if err := conf.Notify.Environment(c.conf.Getenv); err != nil {
			return nil, err
		}
	}
	svc, err := jobmanager.New(conf, jobmanager.Deps{
		Keys: c.stores.keys, RotateKeys: c.stores.keys.Rotate,
		Pool: c.pools[name], NATS: nc, JS: js, Supervisor: peers[0], Log: c.logger(name), Meter: c.metrics.Meter(name),
	})
	if err != nil {
		return nil, err
	}
	return c.serve(name, col, svc)
}

func (c *composition) resourceManager(col *colony.Colony) ([]run.Member, error) {
	const name = "resource-manager"
	nc, js, err := c.bus(name)
	if err != nil {
		return nil, err
	}
	peers, err := c.calls(name, "supervisor")
	if err != nil {
		return nil, err
	}
	svc, err := resourcemanager.New(resourcemanager.DefaultConfig(), resourcemanager.Deps{
		Pool: c.pools[name], NATS: nc, JS: js, Supervisor: peers[0],
		Authority: c.stores.authority, Log: c.logger(name), Meter: c.metrics.Meter(name),
	})
	if err != nil {
		return nil, err
	}
	return c.serve(name, col, svc)
}

func (c *composition) supervisor(col *colony.Colony) ([]run.Member, error) {
	const name = "supervisor"
	nc, js, err := c.bus(name)
	if err != nil {
		return nil, err
	}
	peers, err := c.calls(name, "job-manager", "resource-manager")
	if err != nil {
		return nil, err
	}
	s3 := col.S3
	blobs, err := minio.New(s3.Endpoint, &minio.Options{Creds: credentials.NewStaticV4(s3.AccessKey, s3.SecretKey, "")})
	if err != nil {
		return nil, fmt.Errorf("open S3: %w", err)
	}
	conf := supervisor.DefaultConfig()
	conf.Caches.Quota, conf.ArtifactBytes = c.conf.CacheQuota, c.conf.ArtifactBytes
	conf.PublicURL = col.URL()
	if c.conf.Getenv != nil {
		conf.PublicURL = cmp.Or(c.conf.Getenv("FORMICARY_URL"), conf.PublicURL)
	}
	svc, err := supervisor.New(conf, supervisor.Deps{
		Pool: c.pools[name], Leases: c.leases, Reads: c.reads, NATS: nc, JS: js, JobManager: peers[0], ResourceManager: peers[1],
		Blobs: blobs, Bucket: s3.Bucket, Log: c.logger(name), Meter: c.metrics.Meter(name),
	})
	if err != nil {
		return nil, err
	}
	return c.serve(name, col, svc)
}

func (c *composition) scheduler(col *colony.Colony) ([]run.Member, error) {
	const name = "scheduler"
	nc, _, err := c.bus(name)
	if err != nil {
		return nil, err
	}
	peers, err := c.calls(name, "job-manager", "resource-manager")
	if err != nil {
		return nil, err
	}
	etcd := c.etcd()
	conf := scheduler.DefaultConfig()
	conf.TakeOver = true // the lock of the data directory says that no other one is alive
	svc, err := scheduler.New(conf, scheduler.Deps{
		Etcd: etcd, NATS: nc, JobManager: peers[0], ResourceManager: peers[1],
		Log: c.logger(name), Meter: c.metrics.Meter(name),
	})
	if err != nil {
		return nil, err
	}
	return c.serve(name, col, svc)
}

func (c *composition) etcd() *clientv3.Client {
	client := c.stores.etcd.Client()
	c.onClose(func() { _ = client.Close() })
	return client
}

func (c *composition) gateway(ctx context.Context, d *doors, workers http.Handler) (run.Member, error) {
	const name = "api-gateway"
	nc, _, err := c.bus(name)
	if err != nil {
		return run.Member{}, err
	}
	peers, err := c.calls(name, "job-manager", "resource-manager", "scheduler", "supervisor")
	if err != nil {
		return run.Member{}, err
	}
	c.peers = map[string]*grpc.ClientConn{"resource-manager": peers[1], "scheduler": peers[2]}
	identity, err := c.stores.authority.Renewing(pki.Name{Kind: pki.Service, ID: name}, pki.ServiceLife)
	if err != nil {
		return run.Member{}, err
	}
	conf := apigateway.DefaultConfig()
	conf.Auth, conf.LocalUsers = c.conf.Auth, c.conf.LocalUsers
	conf.HTTPSCert, conf.HTTPSKey, conf.Proxied = c.conf.HTTPSCert, c.conf.HTTPSKey, c.conf.Proxied
	if conf.Providers, err = apigateway.ReadProviders(c.conf.OIDC, c.conf.Getenv); err != nil {
		return run.Member{}, err
	}
	conf.Egress = egress.Policy{Private: true, AnyPort: true} // as for the ant
	if c.conf.Getenv != nil {
		conf.URL = c.conf.Getenv("FORMICARY_URL")
	}
	svc, err := apigateway.New(conf, apigateway.Deps{
		Pool: c.pools[name], NATS: nc, JobManager: peers[0], ResourceManager: peers[1], Scheduler: peers[2], Supervisor: peers[3],
		Identity: identity, Roots: c.stores.authority.Roots,
		Workers: workers, HTTP: d.http, GRPC: d.grpc, Log: c.logger(name), Meter: c.metrics.Meter(name),
	})
	if err != nil {
		return run.Member{}, err
	}
	c.ops.Ready(name, svc.Ready)
	if c.bootstrap, err = svc.Bootstrap(ctx); err != nil {
		return run.Member{}, err
	}
	return run.Member{Name: name, Run: svc.Run}, nil
}

func (c *composition) ant() (run.Member, error) {
	const name = "ant"
	nc, js, err := c.bus(name)
	if err != nil {
		return run.Member{}, err
	}
	conf := ant.DefaultConfig()
	conf.ID, conf.Slots, conf.Dir, conf.Version = c.conf.AntID, c.conf.slots(), filepath.Join(c.conf.DataDir, antDir), c.conf.Version
	conf.DrainTimeout, conf.Tags, conf.Labels = c.conf.DrainTimeout, c.conf.Tags, c.conf.Labels
	conf.Adopt = !c.conf.Throwaway // whose directory no ant comes back to
	conf.Docker, conf.CacheBytes, conf.InputBytes = c.conf.Docker, c.conf.CacheBytes, c.conf.InputBytes
	conf.Egress = egress.Policy{Private: true, AnyPort: true} // scripts run on this machine anyway: refusing it to HTTP tasks would protect nothing
	resources, supervisor, done, err := c.asAnt(conf.ID)
	if err != nil {
		return run.Member{}, err
	}
	c.onClose(done)
	svc, err := ant.New(conf, ant.Deps{
		NATS: nc, JS: js, ResourceManager: resources, Supervisor: supervisor,
		Log: c.logger(name), Meter: c.metrics.Meter(name),
	})
	if err != nil {
		return run.Member{}, err
	}
	return run.Member{Name: name, Run: func(ctx context.Context) error {
		err := svc.Run(ctx)
		if errs.Reason(err) == passport.RevokedReason { // the colony goes on without it
			c.logger(name).Error("the ant of this process was shut out; it comes back when the colony is started again", "error", err)
			<-ctx.Done()
			return nil
		}
		return err
	}}, nil
}

// workers returns the bridge over which workers connect to the gateway's HTTP address; each is an ant of its own.
func (c *composition) workers() (*ant.Bridge, error) {
	const name = "workers"
	nc, js, err := c.bus(name)
	if err != nil {
		return nil, err
	}
	conf := ant.DefaultBridgeConfig()
	conf.Dir, conf.Reserved, conf.Version, conf.DrainTimeout = filepath.Join(c.conf.DataDir, name), []string{c.conf.AntID}, c.conf.Version, c.conf.DrainTimeout
	return ant.NewBridge(conf, ant.Deps{NATS: nc, JS: js, As: c.asAnt, Log: c.logger(name), Meter: c.metrics.Meter(name)})
}

func (c *composition) logger(name string) *slog.Logger { return c.log.With("service", name) }

func (c *composition) onClose(f func()) { c.closers = append(c.closers, f) }

// close ends what compose opened, last first.
func (c *composition) close() {
	for _, f := range slices.Backward(c.closers) {
		f()
	}
}
