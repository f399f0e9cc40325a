// Package files has the rows of what is kept in the object store for tasks and users: artifacts, uploads that may become some, and
// caches. An artifact of a task is made where its attempt ends, in package pg.
package files

import "github.com/jackc/pgx/v5/pgxpool"

// Store is that part of the schema.
type Store struct{ pool *pgxpool.Pool }

// New returns the schema that pool's search path names.
func New(pool *pgxpool.Pool) *Store { return &Store{pool: pool} }
