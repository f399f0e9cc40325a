// Package pgdb opens a service's database: a pool with bounded waits, migrations under a lock, and transactions that
// are repeated when PostgreSQL asks for it.
package pgdb

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
	"github.com/pressly/goose/v3/lock"
)

// Options of a pool.
type Options struct {
	// Name is shown in pg_stat_activity.
	Name string
	// Schema is first in the search path; empty leaves the server's.
	Schema string
	// MaxConns bounds the connections; 0 means 8.
	MaxConns int32
	// Org is the organisation whose rows a connection may see that is taken with a context; Everyone for all. Without it no
	// row that belongs to an organisation is seen.
	Org func(context.Context) string
	// Whole is for statements that read whole tables, like those of an audit: each may take an hour, and scans are allowed.
	Whole bool
}

const connLife = 12 * time.Hour

// Open returns a pool. It does not wait for the server: a service starts, is not ready, and becomes ready.
func Open(ctx context.Context, dsn string, o Options) (*pgxpool.Pool, error) {
	conf, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("read the database address of %s: %w", o.Name, err)
	}
	if o.MaxConns == 0 {
		o.MaxConns = 8
	}
	conf.MaxConns = o.MaxConns
	// A new connection plans every statement anew: the first job after a silence should not pay for that.
	conf.MaxConnIdleTime, conf.MaxConnLifetime = connLife, connLife
	conf.ConnConfig.DialFunc = dial
	set := conf.ConnConfig.RuntimeParams
	set["application_name"] = o.Name
	set["timezone"] = "UTC"
	set["lock_timeout"] = "2s"
	for key, limit := range map[string]string{"idle_in_transaction_session_timeout": "3s", "statement_timeout": "30s"} {
		if set[key] == "" { // the address may say otherwise
			set[key] = limit
		}
	}
	// Hot statements take arrays; left to itself PostgreSQL would plan them anew at each execution, which costs several
	// times the execution. One plan fits them all: every table is reached by an index, also one that was empty when the
	// plan was made.
	set["plan_cache_mode"] = "force_generic_plan"
	set["enable_seqscan"] = "off"
	set["jit"] = "off"
	if o.Whole {
		set["statement_timeout"], set["plan_cache_mode"], set["enable_seqscan"] = "1h", "auto", "on"
	}
	if o.Schema != "" {
		set["search_path"] = o.Schema
	}
	conf.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
		registerUUID(conn.TypeMap())
		return nil
	}
	if o.Org != nil {
		conf.PrepareConn = tenant(o.Org)
	}
	pool, err := pgxpool.NewWithConfig(ctx, conf)
	if err != nil {
		return nil, fmt.Errorf("open the database of %s: %w", o.Name, err)
	}
	return pool, nil
}

// Beside returns another pool to the database of pool, under a name of its own: what waits in one of them does not wait
// in the other. The caller closes it.
func Beside(ctx context.Context, pool *pgxpool.Pool, name string, maxConns int32) (*pgxpool.Pool, error) {
	conf := pool.Config()
	conf.MaxConns, conf.MinConns = maxConns, 0
	conf.ConnConfig.RuntimeParams["application_name"] = name
	beside, err := pgxpool.NewWithConfig(ctx, conf)
	if err != nil {
		return nil, fmt.Errorf("open the database of %s: %w", name, err)
	}
	return beside, nil
}

// Migrate brings schema to the newest step of steps, one replica at a time; the schema is made when it is missing.
func Migrate(ctx context.Context, pool *pgxpool.Pool, schema string, steps fs.FS) error {
	if _, err := pool.Exec(ctx, "CREATE SCHEMA IF NOT EXISTS "+pgx.Identifier{schema}.Sanitize()); err != nil {
		return fmt.Errorf("create schema %s: %w", schema, err)
	}
	db := stdlib.OpenDBFromPool(pool)
	defer func() { _ = db.Close() }()
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockID(lockID(schema)), lock.WithLockTimeout(1, 600), lock.WithUnlockTimeout(1, 60))
	if err != nil {
		return fmt.Errorf("make migration lock: %w", err)
	}
	store, err := database.NewStore(database.DialectPostgres, schema+".goose_db_version")
	if err != nil {
		return fmt.Errorf("make migration store: %w", err)
	}
	provider, err := goose.NewProvider("", db, steps, goose.WithStore(store), goose.WithSessionLocker(locker), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("read migrations of %s: %w", schema, err)
	}
	// The lock waits whole seconds between tries; when nothing is to be done it is not needed.
	if pending, err := provider.HasPending(ctx); err == nil && !pending {
		return nil
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate schema %s: %w", schema, err)
	}
	return nil
}

// lockID is the advisory lock of a schema's migrations: schemas of one database do not wait for each other.
func lockID(schema string) int64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte("formicary migrations of " + schema)) // never fails
	return int64(h.Sum64())                                     // #nosec G115 -- any 64 bits will do
}

const tries = 4

// Tx runs f in one transaction and commits it. A deadlock or serialization failure repeats it up to three times, so f
// must not change anything outside the transaction before it returns.
func Tx(ctx context.Context, pool *pgxpool.Pool, f func(pgx.Tx) error) error {
	return repeat(ctx, func() error { return pgx.BeginFunc(ctx, pool, f) })
}

// repeat calls f until its error is not Repeatable, a few times.
func repeat(ctx context.Context, f func() error) error {
	var err error
	for try := range tries {
		if try > 0 {
			pause := time.Duration(1+rand.IntN(20<<try)) * time.Millisecond // #nosec G404 -- spreads retries
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return err
			}
		}
		if err = f(); !Repeatable(err) {
			return err
		}
	}
	return err
}

// Repeatable says whether the same transaction may succeed when it is run again.
func Repeatable(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "40001" || pg.Code == "40P01" || pg.Code == "55P03")
}

// IsUnique says whether err is the violation of the unique constraint or index of that name.
func IsUnique(err error, constraint string) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "23505" && pg.ConstraintName == constraint
}
