// Package lease keeps attempts alive and finds those that are not: claims, Syncs, the beat that proves that the colony was
// awake, and what a sweep has doubts about. Its statements write attempts only and lock nothing else.
package lease

import (
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/formicary/formicary/services/supervisor/internal/pg"
)

// Store is the attempts of the schema.
type Store struct {
	pool     *pgxpool.Pool
	leases   *pgxpool.Pool // of Sync and Beat alone
	listener pg.Listener
	saw      func(time.Time)
}

// New returns the attempts of the schema that pool's search path names. The renewal of leases, which nothing may hold up,
// goes through leases. saw hears the time of the database's clock.
func New(pool, leases *pgxpool.Pool, l pg.Listener, saw func(time.Time)) *Store {
	return &Store{pool: pool, leases: leases, listener: l, saw: saw}
}
