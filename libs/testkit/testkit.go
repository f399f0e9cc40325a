// Package testkit gives tests real parts: a database of their own in a private PostgreSQL, a NATS server, bounded
// waits. Where PostgreSQL is missing tests are skipped, and fail when CI is set.
package testkit

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/bus"
	"github.com/formicary/formicary/libs/bus/embedded"
	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/libs/pgdb/cluster"
)

// shared is the test process's PostgreSQL, started when first asked for.
type shared struct {
	once sync.Once
	dir  string
	c    *cluster.Cluster
	err  error
	next atomic.Int64
}

var server shared //nolint:gochecknoglobals // one server per test process

// Main runs the tests, stops what they shared and fails when a goroutine is left.
func Main(m *testing.M, opts ...goleak.Option) {
	code := m.Run()
	if server.c != nil {
		_ = server.c.Stop(context.Background())
	}
	if server.dir != "" {
		_ = os.RemoveAll(server.dir)
	}
	if code == 0 {
		if err := goleak.Find(opts...); err != nil {
			fmt.Fprintln(os.Stderr, "goroutines are left:", err)
			code = 1
		}
	}
	os.Exit(code)
}

func (s *shared) start() {
	if s.dir, s.err = os.MkdirTemp("", "ftest-"); s.err != nil {
		return
	}
	if s.err = os.Chmod(s.dir, 0o711); s.err != nil { // #nosec G302 -- PostgreSQL runs as another user below it
		return
	}
	if s.c, s.err = cluster.Start(context.Background(), cluster.Options{Dir: filepath.Join(s.dir, "pg"), Throwaway: true}); s.err != nil {
		return
	}
	s.err = s.makeRole(context.Background())
}

// makeRole makes the role of services, once: roles belong to the server, and databases of tests are made side by side.
func (s *shared) makeRole(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.c.DSN("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, `CREATE ROLE `+service+` LOGIN NOSUPERUSER NOBYPASSRLS;
		GRANT SET ON PARAMETER session_replication_role TO `+service+`;
		GRANT pg_monitor, pg_signal_backend TO `+service)
	return err
}

// Missing skips a test for what the machine lacks, and fails it when CI is set: a run that proves nothing must not be green.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// Postgres returns the address of an empty database that only this test uses.
func Postgres(t testing.TB) string {
	t.Helper()
	server.once.Do(server.start)
	if server.err != nil {
		Missing(t, "PostgreSQL: %v", server.err)
	}
	name := fmt.Sprintf("t%d", server.next.Add(1))
	if err := server.c.EnsureDatabase(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { drop(name) })
	return server.c.DSN(name)
}

func drop(name string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, server.c.DSN("postgres"))
	if err != nil {
		return
	}
	defer func() { _ = conn.Close(ctx) }()
	_, _ = conn.Exec(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
}

// service is the role of the pools of tests: like that of a service it is held to the policies. Histories are written without
// their triggers.
const service = "service"

// asService gives a database to the role of services and returns its address for that role. Between two statements of a transaction a test
// may take long on a busy machine.
func asService(t testing.TB, dsn string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	conf := conn.Config()
	if _, err = conn.Exec(t.Context(), "ALTER DATABASE "+pgx.Identifier{conf.Database}.Sanitize()+" OWNER TO "+service); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("host=%s port=%d user=%s dbname=%s idle_in_transaction_session_timeout=60s statement_timeout=120s", conf.Host, conf.Port, service, conf.Database)
}

// Pool returns a pool on an empty database with the schema first in its search path, after migrate has run. It is of a role
// like that of a service, and sees what a service sees: where a person calls the rows of that organisation, else all.
func Pool(t testing.TB, schema string, migrate func(context.Context, *pgxpool.Pool) error) *pgxpool.Pool {
	t.Helper()
	pool, err := pgdb.Open(t.Context(), asService(t, Postgres(t)), pgdb.Options{Name: t.Name(), Schema: schema, MaxConns: 16, Org: access.Tenant})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if err := migrate(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	return pool
}

// NATS returns a connection to a server that only this test uses, with the colony's streams.
func NATS(t testing.TB) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	s, err := embedded.Start(embedded.Options{StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	nc, err := s.Connect(t.Name())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close(); s.Stop() })
	js, err := bus.JetStream(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := bus.Provision(t.Context(), js); err != nil {
		t.Fatal(err)
	}
	return nc, js
}

// Eventually waits until cond holds, at most limit.
func Eventually(t testing.TB, limit time.Duration, what string, cond func() bool) {
	t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline.C:
			t.Fatalf("not within %s: %s", limit, what)
		case <-tick.C:
		}
	}
}

// Logger writes to the test's log.
func Logger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// Run runs f until the test ends and waits for it.
func Run(t testing.TB, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("ended with: %v", err)
		}
	})
}
