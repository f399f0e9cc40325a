// Package boot starts a service as a process of its own: flags, the colony's addresses, logger, metrics, the
// operations port, the gRPC server, and an orderly end on SIGTERM. What the service is made of stands in its main.
package boot

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/bus"
	"github.com/formicary/formicary/libs/colony"
	"github.com/formicary/formicary/libs/passport"
	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/libs/pki"
	"github.com/formicary/formicary/libs/rpc"
	"github.com/formicary/formicary/libs/run"
	"github.com/formicary/formicary/libs/telemetry"
)

// Process is what the main of a service wires. Everything that it opens is closed when the members have ended.
type Process struct {
	Name    string
	Colony  colony.Colony
	Log     *slog.Logger
	Metrics *telemetry.Metrics
	Ops     *telemetry.Ops

	rules   access.Rules
	id      *identity // nil before Identify
	tls     tlsFiles
	listen  string
	ants    string
	ops     string
	members []run.Member
	closers []func()
}

const (
	usage     = 2 // exit code of a wrong command line
	stopGrace = 8 * time.Second
	retry     = 500 * time.Millisecond
)

// Main runs the service name and returns the exit code. flags, if set, adds flags of the service; wire opens what it
// needs and names its members, which then run until SIGINT or SIGTERM.
func Main(name string, flags func(*flag.FlagSet), wire func(context.Context, *Process) error) int {
	ctx, stop := run.Interruptible(context.Background())
	defer stop()
	p := &Process{Name: name}
	if err := p.parse(os.Args[1:], flags); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return usage
	}
	defer p.close()
	err := wire(ctx, p)
	if err == nil {
		err = p.serveOps()
	}
	if err == nil {
		p.Log.Info("running", "service", name)
		err = run.Group(ctx, p.members...)
	}
	if err != nil && ctx.Err() == nil {
		p.Log.Error("ended", "service", name, "error", err)
		return 1
	}
	return 0
}

func (p *Process) parse(args []string, more func(*flag.FlagSet)) error {
	fs := flag.NewFlagSet(p.Name, flag.ContinueOnError)
	file := fs.String("colony", os.Getenv("FORMICARY_COLONY"), "`FILE` with the colony's addresses, as written by formicary up --expose")
	fs.StringVar(&p.listen, "listen", "", "gRPC address, host:port; default is what the colony file says")
	if slices.Contains(colony.ForAnts(), p.Name) {
		fs.StringVar(&p.ants, "ants", "", "gRPC `ADDRESS` for ants, host:port; default is what the colony file says")
	}
	p.tls.flags(fs, os.Getenv)
	fs.StringVar(&p.ops, "ops", os.Getenv("FORMICARY_OPS"), "`ADDRESS` of /livez, /readyz and /metrics, host:port, of this machine only where it has no host; empty for none. It has no login: let only those reach it who may know how the colony is")
	level := fs.String("log-level", "info", "debug, info, warn or error")
	format := fs.String("log-format", "json", "json or text")
	if more != nil {
		more(fs)
	}
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	log, err := telemetry.Logger(os.Stderr, *level, *format)
	if err != nil {
		return err
	}
	p.Log = log
	if p.Colony, err = colony.Load(*file, os.Getenv); err != nil {
		return err
	}
	if err := p.Colony.Protected(p.Name); err != nil {
		return err
	}
	if p.Metrics, err = telemetry.NewMetrics(); err != nil {
		return err
	}
	p.Ops = telemetry.NewOps(p.Metrics)
	p.rules = access.ReadRules(protoregistry.GlobalFiles)
	return nil
}

// OpsAt sets the address of the operations port unless a flag or the environment did.
func (p *Process) OpsAt(addr string) {
	if p.ops == "" {
		p.ops = addr
	}
}

// Run adds a member.
func (p *Process) Run(name string, f func(context.Context) error) {
	p.members = append(p.members, run.Member{Name: name, Run: f})
}

// Close adds something to be closed at the end, in reverse order.
func (p *Process) Close(f func()) { p.closers = append(p.closers, f) }

func (p *Process) close() {
	for _, v := range slices.Backward(p.closers) {
		v()
	}
}

// Pool opens the service's database and waits until it answers.
func (p *Process) Pool(ctx context.Context, schema string) (*pgxpool.Pool, error) {
	dsn, err := p.Colony.DSN(p.Name)
	if err != nil {
		return nil, err
	}
	pool, err := pgdb.Open(ctx, dsn, pgdb.Options{Name: p.Name, Schema: schema, Org: access.Tenant})
	if err != nil {
		return nil, err
	}
	p.Close(pool.Close)
	for {
		if err := pool.Ping(ctx); err == nil {
			return pool, nil
		} else if ctx.Err() == nil {
			p.Log.Warn("waiting for the database", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(retry):
		}
	}
}

// NATS opens the connection to NATS; it connects when the server is there.
func (p *Process) NATS() (*nats.Conn, jetstream.JetStream, error) {
	if p.Colony.NATS == "" {
		return nil, nil, errors.New("no address of NATS: start the colony with `formicary up --only=infra --expose`, or set FORMICARY_NATS_URL")
	}
	conf, err := p.StoresTLS()
	if err != nil {
		return nil, nil, err
	}
	var opts []nats.Option
	if strings.HasPrefix(p.Colony.NATS, "tls://") {
		opts = append(opts, nats.Secure(conf))
	}
	nc, err := bus.Connect(p.Colony.NATS, p.Name, opts...)
	if err != nil {
		return nil, nil, err
	}
	p.Close(nc.Close)
	js, err := bus.JetStream(nc)
	if err != nil {
		return nil, nil, err
	}
	return nc, js, nil
}

// StoresTLS is how NATS, etcd and the object store are recognised where they speak TLS.
func (p *Process) StoresTLS() (*tls.Config, error) {
	conf, err := pki.Trusting(p.Colony.StoresCA)
	if err != nil {
		return nil, fmt.Errorf("FORMICARY_STORES_CA: %w", err)
	}
	return conf, nil
}

// Peer opens the connection to another service, to all replicas of it that are named; it connects when first used.
func (p *Process) Peer(service string) (*grpc.ClientConn, error) {
	addr, err := p.Colony.Service(service)
	if p.id != nil && p.id.source().Name.Kind == pki.Ant {
		addr, err = p.Colony.Ant(service)
	}
	if err != nil {
		return nil, err
	}
	if err := p.identified(); err != nil {
		return nil, err
	}
	conn, err := rpc.Dial(addr, p.id.options(service)...)
	if err != nil {
		return nil, err
	}
	p.Close(func() { _ = conn.Close() })
	return conn, nil
}

// Serve answers gRPC on the service's address while the members run.
func (p *Process) Serve(register func(grpc.ServiceRegistrar)) error {
	addr := p.listen
	if addr == "" {
		var err error
		if addr, err = p.Colony.Service(p.Name); err != nil {
			return err
		}
		if strings.Contains(addr, ",") {
			return fmt.Errorf("%s has the addresses %s: say with --listen which of them this replica serves", p.Name, addr)
		}
	}
	if err := p.identified(); err != nil {
		return err
	}
	return p.serve("grpc", addr, register, passport.NewChecker(p.id.roots, p.rules, nil).AdmitServices, pki.ServerTLS(p.id.source, p.id.roots, pki.Service))
}

// ServeAnts answers ants at the service's address for them, if it has one, while the members run. Those that have no
// certificate yet reach public methods only, those of which gone says that they count no more reach nothing.
func (p *Process) ServeAnts(register func(grpc.ServiceRegistrar), gone func(pki.Name, *x509.Certificate) error) error {
	addr := cmp.Or(p.ants, p.Colony.Ants[p.Name])
	if addr == "" {
		return nil
	}
	if strings.Contains(addr, ",") {
		return fmt.Errorf("%s answers ants at %s: say with --ants at which of them this replica does", p.Name, addr)
	}
	if err := p.identified(); err != nil {
		return err
	}
	return p.serve("grpc for ants", addr, register, passport.NewChecker(p.id.roots, p.rules, gone).AdmitAnts, pki.OpenTLS(p.id.source, p.id.roots, pki.Ant))
}

func (p *Process) serve(name, addr string, register func(grpc.ServiceRegistrar), admit rpc.Admit, conf *tls.Config) error {
	lis, err := p.Listen(addr)
	if err != nil {
		return err
	}
	server := rpc.NewServer(p.Log, admit, grpc.Creds(credentials.NewTLS(conf)))
	register(server)
	p.Run(name, func(ctx context.Context) error { return rpc.Serve(ctx, server, lis, stopGrace) })
	return nil
}

// Listen opens an address. A predecessor that was just killed may hold it for a moment.
func (p *Process) Listen(addr string) (net.Listener, error) {
	var err error
	for range 20 {
		var lis net.Listener
		if lis, err = net.Listen("tcp", addr); err == nil {
			return lis, nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return nil, fmt.Errorf("listen on %s: %w", addr, err)
}

func (p *Process) serveOps() error {
	if p.ops == "" {
		return nil
	}
	addr := p.ops
	if strings.HasPrefix(addr, ":") {
		addr = "127.0.0.1" + addr
	}
	lis, err := p.Listen(addr)
	if err != nil {
		return err
	}
	p.Run("operations port", func(ctx context.Context) error { return telemetry.Serve(ctx, lis, p.Ops.Handler()) })
	return nil
}
