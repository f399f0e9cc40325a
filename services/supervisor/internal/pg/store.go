// Package pg is the schema execution. Its statements are set-based and pipelined: a transaction handles a whole batch
// in two or three round trips, BEGIN and COMMIT included.
//
// Locks are taken in one order: executions by id, then attempts by uid. Tasks and edges are written only by who holds
// the lock of their execution; attempts also by claims and Syncs, which hold no other lock.
package pg

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/formicary/formicary/libs/outbox"
	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
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
	pool     *pgxpool.Pool
	listener Listener
	ahead    atomic.Int64 // nanoseconds that the database's clock is ahead of this process's
}

// New returns the schema that pool's search path names.
func New(pool *pgxpool.Pool, l Listener) *Store { return &Store{pool: pool, listener: l} }

// Now is the time by the database's clock, as far as the last transaction showed it.
func (s *Store) Now() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }

// saw notes the database's clock. Half a round trip of error does not matter to what it is used for.
func (s *Store) saw(now time.Time) { s.ahead.Store(int64(time.Until(now))) }

// tx is a transaction whose BEGIN travels with its first batch and whose COMMIT with its last.
type tx struct {
	conn  *pgxpool.Conn
	batch *pgx.Batch
	begun bool
}

// queue adds a statement to the next flush.
func (t *tx) queue(sql string, args ...any) *pgx.QueuedQuery { return t.batch.Queue(sql, args...) }

// flush sends what is queued and handles the answers.
func (t *tx) flush(ctx context.Context) error {
	b := t.batch
	t.batch = &pgx.Batch{}
	if !t.begun {
		t.begun = true
		first := &pgx.Batch{}
		first.Queue("BEGIN")
		first.QueuedQueries = append(first.QueuedQueries, b.QueuedQueries...)
		b = first
	}
	return t.conn.SendBatch(ctx, b).Close()
}

const (
	tries       = 4
	cleanUpTime = 2 * time.Second
)

// tx runs f in a transaction and commits what f leaves queued. It is repeated like pgdb.Tx, so f must not change
// anything outside before it returns.
func (s *Store) tx(ctx context.Context, f func(context.Context, *tx) error) error {
	var err error
	for try := range tries {
		if try > 0 {
			pause := time.NewTimer(time.Duration(1+rand.IntN(10<<try)) * time.Millisecond) // #nosec G404 -- spreads retries
			select {
			case <-pause.C:
			case <-ctx.Done():
				pause.Stop()
				return err
			}
		}
		if err = s.once(ctx, f); !pgdb.Repeatable(err) {
			return err
		}
	}
	return err
}

func (s *Store) once(ctx context.Context, f func(context.Context, *tx) error) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("acquire connection: %w", err)
	}
	defer conn.Release()
	t := &tx{conn: conn, batch: &pgx.Batch{}}
	done := false
	defer func() {
		if !done && t.begun {
			// Also when f panicked: a connection that is not idle would be closed by the pool.
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTime)
			defer cancel()
			_, _ = conn.Exec(last, "ROLLBACK")
		}
	}()
	if err := f(ctx, t); err != nil {
		return err
	}
	if !t.begun && t.batch.Len() == 0 {
		done = true
		return nil
	}
	t.queue("COMMIT")
	if err := t.flush(ctx); err != nil {
		return err
	}
	done = true
	return nil
}

// publish queues the outbox rows of c.
func (s *Store) publish(t *tx, c *execution.Changes) ([]outbox.Message, error) {
	msgs, err := s.listener.Messages(c)
	if err != nil {
		return nil, err
	}
	s.saw(c.Now)
	if len(msgs) > 0 {
		t.queue(outbox.InsertSQL, outbox.Args(msgs)...)
	}
	return msgs, nil
}
