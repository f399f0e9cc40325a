// Package pg is the schema execution. Its statements are set-based and pipelined: a transaction handles a whole batch
// in two or three round trips, BEGIN and COMMIT included.
//
// Locks are taken in one order: executions by id, then attempts by uid. Tasks and edges are written only by who holds
// the lock of their execution; attempts also by claims and Syncs, which hold no other lock.
package pg

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/formicary/formicary/libs/outbox"
	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
	"github.com/formicary/formicary/services/supervisor/internal/pg/files"
)

// Listener hears of every transaction that changed something.
type Listener interface {
	// Messages makes the messages that the transaction stores in the outbox.
	Messages(*execution.Changes) ([]outbox.Message, error)
	// Committed is called after the commit; it must not block.
	Committed(*execution.Changes, []outbox.Message)
}

// Store is the schema.
type Store struct {
	*files.Store
	// TurnWait is how long TakeTurn waits for a replica that may hang; New sets what suits one that works.
	TurnWait time.Duration

	pool     *pgxpool.Pool
	reads    *pgxpool.Pool // of what people look at
	listener Listener
	alone    atomic.Int64 // until when turns are not waited for, in Unix nanoseconds
	ahead    atomic.Int64 // nanoseconds that the database's clock is ahead of this process's
}

// New returns the schema that pool's search path names. What people look at, which may hold up nothing, is read through
// reads.
func New(pool, reads *pgxpool.Pool, l Listener) *Store {
	return &Store{Store: files.New(pool), TurnWait: turnWait, pool: pool, reads: reads, listener: l}
}

// Now is the time by the database's clock, as far as the last transaction showed it.
func (s *Store) Now() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }

// Saw takes the time by the database's clock. Half a round trip of error does not matter to what it is used for.
func (s *Store) Saw(now time.Time) { s.ahead.Store(int64(time.Until(now))) }

// tx runs f in a transaction and commits what f leaves queued. It may be repeated, so f must not change anything
// outside before it returns.
func (s *Store) tx(ctx context.Context, f func(context.Context, *pgdb.Pipeline) error) error {
	return pgdb.Pipelined(ctx, s.pool, f)
}

// publish queues the outbox rows of c.
func (s *Store) publish(t *pgdb.Pipeline, c *execution.Changes) ([]outbox.Message, error) {
	msgs, err := s.listener.Messages(c)
	if err != nil {
		return nil, err
	}
	s.Saw(c.Now)
	if len(msgs) > 0 {
		t.Queue(outbox.InsertSQL, outbox.Args(msgs)...)
	}
	return msgs, queueNotices(t, c)
}
