package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	metricnoop "go.opentelemetry.io/otel/metric/noop"

	"github.com/formicary/formicary/libs/bus"
	"github.com/formicary/formicary/libs/bus/embedded"
	"github.com/formicary/formicary/libs/passport/passporttest"
	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/libs/pgdb/cluster"
	"github.com/formicary/formicary/libs/rpc"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	resourcev1 "github.com/formicary/formicary/proto/gen/formicary/resource/v1"
	resourcemanager "github.com/formicary/formicary/services/resource-manager"
)

const (
	manyAnts     = 10_000
	beatsPerSec  = 2000
	beatFor      = 10 * time.Second
	reserveTimes = 40
)

// fleet is a resource-manager in this process, with stores of its own and rows of ants that nobody plays.
type fleet struct {
	data     string // of PostgreSQL
	beats    antv1.RegistrationServiceClient
	slots    resourcev1.ReservationServiceClient
	sessions map[string]string
}

// ants measures resource-manager alone: what a place costs when there are many ants, and what their beats cost.
func ants(ctx context.Context, _ *colony, rep report) (err error) {
	dir, err := os.MkdirTemp("", "formicary-ants-")
	if err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o711); err != nil { // #nosec G302 -- PostgreSQL runs as another user below it
		return fmt.Errorf("open directory: %w", err)
	}
	c, err := cluster.Start(ctx, cluster.Options{Dir: filepath.Join(dir, "pg")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Stop(context.WithoutCancel(ctx))) }()
	s, err := embedded.Start(embedded.Options{StoreDir: filepath.Join(dir, "nats")})
	if err != nil {
		return err
	}
	defer s.Stop()
	if err := c.EnsureDatabase(ctx, "resource"); err != nil {
		return err
	}
	pool, err := pgdb.Open(ctx, c.DSN("resource"), pgdb.Options{Name: "bench", Schema: "resource", Org: pgdb.Everyone})
	if err != nil {
		return err
	}
	defer pool.Close()
	return withFleet(ctx, pool, s, func(f *fleet) error {
		f.data = filepath.Join(dir, "pg", "d")
		if err := f.fill(ctx, pool); err != nil {
			return err
		}
		return errors.Join(f.reserve(ctx, rep, 1), f.reserve(ctx, rep, 256), f.beat(ctx, rep))
	})
}

// withFleet runs resource-manager while f does.
func withFleet(ctx context.Context, pool *pgxpool.Pool, s *embedded.Server, f func(*fleet) error) error {
	if err := resourcemanager.Migrate(ctx, pool); err != nil {
		return err
	}
	nc, err := s.Connect("bench")
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := bus.JetStream(nc)
	if err != nil {
		return err
	}
	net, log := rpc.NewMemory(), slog.New(slog.DiscardHandler)
	conn, err := net.Dial("resource-manager", passporttest.Everybody()...)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	conf := resourcemanager.DefaultConfig()
	conf.Sweep = time.Hour // the doorbells of ants that nobody plays are not made
	svc, err := resourcemanager.New(conf, resourcemanager.Deps{Pool: pool, NATS: nc, JS: js, Supervisor: conn, Log: log, Meter: metricnoop.Meter{}})
	if err != nil {
		return err
	}
	server := rpc.NewServer(log, passporttest.Checker().Admit)
	svc.Register(server)
	lis := net.Listen("resource-manager")
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(lis) })
	wg.Go(func() { _ = svc.Run(ctx) })
	defer wg.Wait()
	defer server.Stop()
	defer cancel()
	return f(&fleet{beats: antv1.NewRegistrationServiceClient(conn), slots: resourcev1.NewReservationServiceClient(conn), sessions: map[string]string{}})
}

func (f *fleet) fill(ctx context.Context, pool *pgxpool.Pool) error {
	_, err := pool.Exec(ctx, `INSERT INTO ant (id, session, generation, state, methods, tags, offered, slots, registered_at, heartbeat_at, lease_until)
		SELECT 'ant-' || g, gen_random_uuid(), 1, 'ONLINE', '{HTTP_GET,HTTP_POST_JSON,MESSAGING,SHELL}', ARRAY['host-' || g, 'linux', 'x64'], 8, 8, now(), now(),
			now() + interval '1 hour' FROM generate_series(1, $1::int) g`, manyAnts)
	if err != nil {
		return fmt.Errorf("make rows of ants: %w", err)
	}
	if _, err := pool.Exec(ctx, "VACUUM ANALYZE ant"); err != nil {
		return fmt.Errorf("analyze ants: %w", err)
	}
	rows, err := pool.Query(ctx, "SELECT id, session::text FROM ant")
	if err != nil {
		return fmt.Errorf("read sessions: %w", err)
	}
	var id, session string
	_, err = pgx.ForEachRow(rows, []any{&id, &session}, func() error { f.sessions[id] = session; return nil })
	return err
}

// reserve takes n places and gives them back with the next call.
func (f *fleet) reserve(ctx context.Context, rep report, n int) error {
	var held []string
	ms, err := median(reserveTimes, func() error {
		req := &resourcev1.ReserveRequest{Releases: held}
		held = nil
		for range n {
			uid := uuid.NewString()
			req.Asks = append(req.Asks, &resourcev1.Ask{AttemptUid: uid, OrgId: "default", Method: "SHELL", Tags: []string{"linux"}, Slots: 1})
			held = append(held, uid)
		}
		res, err := f.slots.Reserve(ctx, req)
		for _, p := range res.GetPlacements() {
			if p.GetAntId() == "" {
				return fmt.Errorf("refused: %s", p.GetReason())
			}
		}
		return err
	})
	rep.set("ants", fmt.Sprintf("reserve_%d_%d_ms", manyAnts, n), ms)
	return err
}

// beat sends beats at a steady rate and reports the share of one core that they take, the sending included.
func (f *fleet) beat(ctx context.Context, rep report) error {
	ids := make([]string, 0, len(f.sessions))
	for id := range f.sessions {
		ids = append(ids, id)
	}
	const tick = 10 * time.Millisecond
	var wg sync.WaitGroup
	var failed error
	var once sync.Once
	pace := time.NewTicker(tick)
	defer pace.Stop()
	cpu, began := f.cpu(), time.Now()
	for i := 0; time.Since(began) < beatFor; {
		select {
		case <-pace.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		for due := int(time.Since(began).Seconds() * beatsPerSec); i < due; i++ {
			id := ids[i%len(ids)]
			wg.Go(func() {
				if _, err := f.beats.Heartbeat(ctx, &antv1.HeartbeatRequest{AntId: id, Session: f.sessions[id]}); err != nil {
					once.Do(func() { failed = err })
				}
			})
		}
	}
	wg.Wait()
	rep.set("ants", "heartbeats_2000", 100*(f.cpu()-cpu).Seconds()/time.Since(began).Seconds())
	return failed
}

// cpu is the processor time of this process and of its PostgreSQL; 0 when that is not found.
func (f *fleet) cpu() time.Duration {
	var own syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &own)
	sum := time.Duration(own.Utime.Nano() + own.Stime.Nano())
	raw, _ := os.ReadFile(filepath.Join(f.data, "postmaster.pid")) // #nosec G304 -- of this bench
	first, _, _ := strings.Cut(string(raw), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		return 0
	}
	for _, p := range tree(pid) {
		if s := stat(p); len(s) >= 15 {
			for _, ticks := range s[11:15] {
				n, _ := strconv.ParseInt(ticks, 10, 64)
				sum += time.Duration(n) * clockTick
			}
		}
	}
	return sum
}
