// Package pg keeps definitions, requests and the queue in PostgreSQL.
//
// Plain queries are written for sqlc in queries/. What handles a whole batch in one statement is written by hand, in
// submit.go, child.go, request.go, queue.go and
// delivery.go: sqlc cannot pass lists of nullable values or pipeline several statements.
package pg

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/formicary/formicary/libs/outbox"
	"github.com/formicary/formicary/libs/pgdb"
	"github.com/formicary/formicary/services/job-manager/internal/pg/db"
	"github.com/formicary/formicary/services/job-manager/internal/request"
)

// Messenger turns events into messages and sends them when they are committed.
type Messenger interface {
	Encode(events ...request.Event) outbox.Message
	Publish(msgs []outbox.Message)
}

// Store implements request.Store, request.Sweeps and admission.Store.
type Store struct {
	pool *pgxpool.Pool
	q    *db.Queries
	msgr Messenger
	// silentAfter is how long a request may hear nothing before supervisor is asked.
	silentAfter time.Duration
	bounds      bounds

	// OnDelivery is called when deliveries were committed that are to be sent. It is set before the store is used.
	OnDelivery func()
	// OnBounded is called when requests were committed that may not wait for ever. It is set before the store is used.
	OnBounded func()
}

// New returns a store on the schema that pool's search path names.
func New(pool *pgxpool.Pool, m Messenger, silentAfter time.Duration) *Store {
	return &Store{pool: pool, q: db.New(pool), msgr: m, silentAfter: silentAfter, OnDelivery: func() {}, OnBounded: func() {}}
}

// tx runs f in a transaction and sends what it returns after the commit.
func (s *Store) tx(ctx context.Context, f func(tx pgx.Tx) ([]outbox.Message, error)) error {
	var msgs []outbox.Message
	err := pgdb.Tx(ctx, s.pool, func(tx pgx.Tx) error {
		var err error
		msgs, err = f(tx)
		return err
	})
	if err != nil {
		return err
	}
	s.msgr.Publish(msgs)
	return nil
}

// pipelined is tx for f that reads with its first round trip and leaves its writes to the one that commits.
func (s *Store) pipelined(ctx context.Context, f func(context.Context, *pgdb.Pipeline) ([]outbox.Message, error)) error {
	var msgs []outbox.Message
	err := pgdb.Pipelined(ctx, s.pool, func(ctx context.Context, p *pgdb.Pipeline) (err error) {
		if msgs, err = f(ctx, p); err == nil && len(msgs) > 0 {
			p.Queue(outbox.InsertSQL, outbox.Args(msgs)...)
		}
		return err
	})
	if err != nil {
		return err
	}
	s.msgr.Publish(msgs)
	return nil
}

type typeKey struct{ org, jobType string }

// perMessage bounds how many events one message tells of, so that it stays far below the bus's limit.
const perMessage = 200

// messages encodes events: what changed together is told together. Submitted is a wake-up: one for each job type is
// enough.
func (s *Store) messages(events []request.Event) []outbox.Message {
	var msgs []outbox.Message
	woken := map[typeKey]bool{}
	together := map[request.Kind][]request.Event{}
	for _, e := range events {
		switch e.Kind {
		case request.Submitted:
			key := typeKey{e.Record.OrgID, e.Record.JobType}
			if woken[key] {
				continue
			}
			woken[key] = true
			msgs = append(msgs, s.msgr.Encode(e))
		case request.Control:
			msgs = append(msgs, s.msgr.Encode(e))
		default:
			together[e.Kind] = append(together[e.Kind], e)
		}
	}
	for _, kind := range [...]request.Kind{request.Changed, request.Admitted, request.ChildEnded} {
		for some := range slices.Chunk(together[kind], perMessage) {
			msgs = append(msgs, s.msgr.Encode(some...))
		}
	}
	return msgs
}
