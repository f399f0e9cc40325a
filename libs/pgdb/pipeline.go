package pgdb

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Pipeline is a transaction whose BEGIN travels with its first statements and whose COMMIT with its last: one that
// reads and then writes takes two round trips.
type Pipeline struct {
	conn  *pgxpool.Conn
	batch *pgx.Batch
	begun bool
}

// Queue adds a statement to the next Flush.
func (p *Pipeline) Queue(sql string, args ...any) *pgx.QueuedQuery {
	return p.batch.Queue(sql, args...)
}

// Flush sends what is queued and handles the answers.
func (p *Pipeline) Flush(ctx context.Context) error {
	b := p.batch
	p.batch = &pgx.Batch{}
	if !p.begun {
		p.begun = true
		first := &pgx.Batch{}
		first.Queue("BEGIN")
		first.QueuedQueries = append(first.QueuedQueries, b.QueuedQueries...)
		b = first
	}
	return p.conn.SendBatch(ctx, b).Close()
}

const cleanUpTime = 2 * time.Second

// Pipelined runs f in a transaction and commits it together with what f leaves queued. Like Tx it is repeated when
// PostgreSQL asks for it.
func Pipelined(ctx context.Context, pool *pgxpool.Pool, f func(context.Context, *Pipeline) error) error {
	return repeat(ctx, func() error { return pipelined(ctx, pool, f) })
}

func pipelined(ctx context.Context, pool *pgxpool.Pool, f func(context.Context, *Pipeline) error) error {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("acquire connection: %w", err)
	}
	defer conn.Release()
	p := &Pipeline{conn: conn, batch: &pgx.Batch{}}
	done := false
	defer func() {
		if !done && p.begun {
			// Also when f panicked: the pool would close a connection that is not idle.
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTime)
			defer cancel()
			_, _ = conn.Exec(last, "ROLLBACK")
		}
	}()
	if err := f(ctx, p); err != nil {
		return err
	}
	if !p.begun && p.batch.Len() == 0 {
		return nil
	}
	p.Queue("COMMIT")
	if err := p.Flush(ctx); err != nil {
		return err
	}
	done = true
	return nil
}
