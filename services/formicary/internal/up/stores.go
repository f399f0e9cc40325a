package up

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/formicary/formicary/libs/bus"
	"github.com/formicary/formicary/libs/bus/embedded"
	"github.com/formicary/formicary/libs/colony"
	"github.com/formicary/formicary/libs/embedetcd"
	"github.com/formicary/formicary/libs/keyring"
	"github.com/formicary/formicary/libs/pgdb/cluster"
	"github.com/formicary/formicary/libs/pki"
	"github.com/formicary/formicary/services/formicary/internal/blobserver"
)

// database is the one database of the colony; each service has a role and a schema in it, both of the same name.
const database = "formicary"

// schemas by service.
var schemas = map[string]string{ //nolint:gochecknoglobals // a constant table
	"api-gateway": "identity", "job-manager": "job", "resource-manager": "resource", "supervisor": "execution",
}

// stores are what the services keep their state in.
type stores struct {
	dir  string
	pg   *cluster.Cluster
	nats *embedded.Server
	etcd *embedetcd.Member
	s3   *blobserver.Server
	keys *keyring.File
	// authority names the parts of the colony.
	authority *pki.Authority
}

// KeyRing is the file with the keys of a data directory.
func KeyRing(dataDir string) string { return filepath.Join(dataDir, "keyring.json") }

// openStores starts the four and opens the key ring, concurrently; what was started is stopped when one fails. at are the addresses to listen
// on; empty ones stay inside the process.
func openStores(ctx context.Context, log *slog.Logger, c Config, at storeAddresses) (*stores, error) {
	s := &stores{dir: c.DataDir}
	var err error
	if s.authority, err = pki.OpenAuthority(s.authorityDir()); err != nil {
		return nil, err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.openPostgres(gctx, c) })
	g.Go(func() (err error) {
		s.nats, err = openNATS(gctx, log, filepath.Join(c.DataDir, "nats"), at.nats)
		return err
	})
	g.Go(func() (err error) {
		s.etcd, err = openEtcd(filepath.Join(c.DataDir, "etcd"), at.etcd)
		return err
	})
	g.Go(func() (err error) {
		s.keys, err = keyring.Ensure(KeyRing(c.DataDir))
		return err
	})
	g.Go(func() (err error) {
		s.s3, err = blobserver.Start(filepath.Join(c.DataDir, "s3"), at.s3)
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, errors.Join(err, s.close(context.WithoutCancel(ctx)))
	}
	return s, nil
}

func (s *stores) authorityDir() string { return filepath.Join(s.dir, "pki") }

func (s *stores) openPostgres(ctx context.Context, c Config) error {
	var err error
	if s.pg, err = cluster.Start(ctx, cluster.Options{Dir: filepath.Join(c.DataDir, "pg"), Throwaway: c.Throwaway}); err != nil {
		return err
	}
	if err := s.pg.EnsureDatabase(ctx, database); err != nil {
		return err
	}
	return ensureRoles(ctx, s.pg.DSN(database))
}

// ensureRoles makes one role and one schema per service. A role sees its own schema only.
func ensureRoles(ctx context.Context, dsn string) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return fmt.Errorf("connect to database: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for service, name := range schemas {
		id := pgx.Identifier{name}.Sanitize()
		_, err := conn.Exec(ctx, fmt.Sprintf(`
			DO $$ BEGIN
				IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '%[2]s') THEN CREATE ROLE %[1]s LOGIN; END IF;
				IF NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = '%[2]s') THEN CREATE SCHEMA %[1]s AUTHORIZATION %[1]s; END IF;
				-- a service's migration says CREATE SCHEMA IF NOT EXISTS, which asks for the right before it looks
				IF NOT has_database_privilege('%[2]s', current_database(), 'CREATE') THEN
					EXECUTE format('GRANT CREATE ON DATABASE %%I TO %[1]s', current_database());
				END IF;
			END $$`, id, name))
		if err != nil {
			return fmt.Errorf("make the database role of %s: %w", service, err)
		}
	}
	return nil
}

// openNATS starts the server on its directory. Everything in it can be made again from PostgreSQL, so files that it
// cannot use are set aside and it starts on an empty directory.
func openNATS(ctx context.Context, log *slog.Logger, dir, listen string) (*embedded.Server, error) {
	s, err := tryNATS(ctx, dir, listen)
	if err == nil || ctx.Err() != nil {
		return s, err
	}
	if err := setAside(log, dir, err); err != nil {
		return nil, err
	}
	return tryNATS(ctx, dir, listen)
}

// tryNATS returns a server whose streams are right.
func tryNATS(ctx context.Context, dir, listen string) (*embedded.Server, error) {
	o := embedded.Options{StoreDir: dir}
	if listen != "" {
		host, port, err := net.SplitHostPort(listen)
		if err != nil {
			return nil, fmt.Errorf("address of NATS: %w", err)
		}
		if o.Port, err = strconv.Atoi(port); err != nil {
			return nil, fmt.Errorf("address of NATS: %w", err)
		}
		o.Host = host
	}
	s, err := embedded.Start(o)
	if err != nil {
		return nil, err
	}
	nc, err := s.Connect("up")
	if err != nil {
		s.Stop()
		return nil, err
	}
	defer nc.Close()
	js, err := bus.JetStream(nc)
	if err == nil {
		err = recovered(ctx, js, dir)
	}
	if err == nil {
		err = bus.Provision(ctx, js)
	}
	if err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// recovered fails when a directory of a stream or a consumer is there and the stream or consumer is not: the server
// passes over what it cannot read, and fails later to make it again.
func recovered(ctx context.Context, js jetstream.JetStream, dir string) error {
	for _, path := range below(dir, "jetstream/*/streams/*") {
		s, err := js.Stream(ctx, filepath.Base(path))
		if err != nil {
			return fmt.Errorf("stream %s was not recovered: %w", filepath.Base(path), err)
		}
		for _, path := range below(path, "obs/*") {
			if _, err := s.Consumer(ctx, filepath.Base(path)); err != nil {
				return fmt.Errorf("consumer %s of %s was not recovered: %w", filepath.Base(path), s.CachedInfo().Config.Name, err)
			}
		}
	}
	return nil
}

// below returns the paths in dir that match; dir itself may hold any character.
func below(dir, pattern string) []string {
	names, _ := fs.Glob(os.DirFS(dir), pattern)
	for i := range names {
		names[i] = filepath.Join(dir, names[i])
	}
	return names
}

// openEtcd starts the member on an empty directory: it holds only who leads, nobody but this process can lead before it
// runs, and etcd ends the whole process when it finds a damaged file.
func openEtcd(dir, listen string) (*embedetcd.Member, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("empty the directory of etcd: %w", err)
	}
	return embedetcd.Start(dir, listen)
}

// setAside renames the directory of a store that does not start.
func setAside(log *slog.Logger, dir string, why error) error {
	to := fmt.Sprintf("%s.broken-%d", dir, time.Now().Unix())
	if _, err := os.Stat(dir); err != nil {
		return why // there is nothing to blame
	}
	log.Warn("a store does not start on its files; they are set aside and it starts empty, nothing that matters is lost",
		"files", to, "error", why)
	if err := os.Rename(dir, to); err != nil {
		return errors.Join(why, fmt.Errorf("set %s aside: %w", dir, err))
	}
	return nil
}

// watch returns an error when PostgreSQL ends by itself.
func (s *stores) watch(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.pg.Ended():
		return fmt.Errorf("PostgreSQL ended by itself; its last words are in %s", filepath.Join(s.dir, "pg", "log"))
	}
}

// close stops what was started.
func (s *stores) close(ctx context.Context) error {
	var g errgroup.Group
	if s.s3 != nil {
		g.Go(func() error { return s.s3.Stop(ctx) })
	}
	if s.nats != nil {
		g.Go(func() error { s.nats.Stop(); return nil })
	}
	if s.etcd != nil {
		g.Go(func() error { s.etcd.Stop(); return nil })
	}
	if s.pg != nil {
		g.Go(func() error { return s.pg.Stop(ctx) })
	}
	return g.Wait()
}

// fill writes the addresses of the stores into col.
func (s *stores) fill(col *colony.Colony) {
	col.Authority = s.authorityDir()
	col.NATS, col.Etcd = s.nats.URL(), s.etcd.Endpoints()
	col.S3 = colony.S3{Endpoint: s.s3.Endpoint, Bucket: blobserver.Bucket, AccessKey: s.s3.AccessKey, SecretKey: s.s3.SecretKey}
	// The socket lies in a directory of its own with mode 0700, so naming it exposes nothing; the auditor needs it.
	col.Postgres = map[string]string{}
	for service, name := range schemas {
		col.Postgres[service] = s.pg.DSNAs(name, database)
	}
}
