// Package outbox sends what a transaction decided: messages are rows written by that transaction, published after its
// commit and deleted when the stream has acknowledged them. A crash in between sends them again, so receivers must be
// idempotent.
//
// The hot path costs no extra transaction: the writer hands its messages to Publish at once and the rows are deleted
// in bulk a little later. The sweep finds what a crash or a lost bus left behind; it looks for rows, never for ids
// above a mark, because rows become visible in the order of their commits. A row that was tried in vain is set aside
// for a while that grows, so that a stream which takes nothing holds up no message of another.
//
// The table, in the service's schema; created_at tells how long a message waits, next_at when the sweep may try it:
//
//	CREATE TABLE outbox (
//	    id         uuid        PRIMARY KEY,
//	    subject    text        NOT NULL,
//	    payload    bytea       NOT NULL,
//	    created_at timestamptz NOT NULL DEFAULT now(),
//	    tries      smallint    NOT NULL DEFAULT 0,
//	    next_at    timestamptz NOT NULL DEFAULT now() + interval '1 second'
//	) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
//	CREATE INDEX outbox_next ON outbox (next_at);
//
// The second before the first try is the writer's, who publishes the row itself.
package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/formicary/formicary/libs/run"
)

// Message is one row.
type Message struct {
	// ID is the row's key and the Nats-Msg-Id; New sets it.
	ID uuid.UUID
	// Subject of a stream.
	Subject string
	// Payload as sent.
	Payload []byte
}

// New returns a message with a fresh id.
func New(subject string, payload []byte) Message {
	return Message{ID: uuid.New(), Subject: subject, Payload: payload}
}

// InsertSQL writes messages given as Args; it is exported so that a store can queue it in a pgx.Batch.
const InsertSQL = `INSERT INTO outbox (id, subject, payload) SELECT unnest($1::uuid[]), unnest($2::text[]), unnest($3::bytea[])`

// Args are the arguments of InsertSQL.
func Args(msgs []Message) []any {
	ids, subjects, payloads := make([]uuid.UUID, len(msgs)), make([]string, len(msgs)), make([][]byte, len(msgs))
	for i, m := range msgs {
		ids[i], subjects[i], payloads[i] = m.ID, m.Subject, m.Payload
	}
	return []any{ids, subjects, payloads}
}

// Insert writes messages in tx.
func Insert(ctx context.Context, tx pgx.Tx, msgs []Message) error {
	if len(msgs) == 0 {
		return nil
	}
	if _, err := tx.Exec(ctx, InsertSQL, Args(msgs)...); err != nil {
		return fmt.Errorf("insert %d messages into the outbox: %w", len(msgs), err)
	}
	return nil
}

// Relay sends the messages of one schema.
type Relay struct {
	pool *pgxpool.Pool
	js   jetstream.JetStream
	log  *slog.Logger

	mu   sync.Mutex
	sent []uuid.UUID // acknowledged, rows not deleted yet
	busy sync.WaitGroup
	over bool // Run waits for the last of busy: nothing is added any more
}

const (
	sweepEvery  = 200 * time.Millisecond
	sweepLimit  = 500
	forgetEvery = 50 * time.Millisecond
	ackWait     = 5 * time.Second
	// A sweep holds its rows in an open transaction: it must be done before the server ends that as idle.
	sweepAckWait = 1500 * time.Millisecond
	stallWait    = time.Second
)

// NewRelay returns the relay of the schema that pool's search path names.
func NewRelay(pool *pgxpool.Pool, js jetstream.JetStream, log *slog.Logger) *Relay {
	return &Relay{pool: pool, js: js, log: log}
}

// Publish sends messages whose transaction has committed and returns without waiting for the stream. What the stream
// does not acknowledge is left to the sweep.
func (r *Relay) Publish(msgs []Message) {
	if len(msgs) == 0 {
		return
	}
	futures := r.send(msgs)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.over { // otherwise the rows stay and are sent again
		r.busy.Go(func() { r.awaitAcks(msgs, futures, ackWait) })
	}
}

// send publishes without waiting; the future of a message that could not be sent is nil. A stream that answers nothing
// holds up the caller once, not once per message: then the messages that were not tried have no future.
func (r *Relay) send(msgs []Message) []jetstream.PubAckFuture {
	futures := make([]jetstream.PubAckFuture, len(msgs))
	left := 0
	var why error
	for i, m := range msgs {
		f, err := r.js.PublishMsgAsync(&nats.Msg{Subject: m.Subject, Data: m.Payload},
			jetstream.WithMsgID(m.ID.String()), jetstream.WithStallWait(stallWait))
		if errors.Is(err, jetstream.ErrTooManyStalledMsgs) {
			left, why = left+len(msgs)-i, err
			futures = futures[:i]
			break
		}
		if err != nil {
			left, why = left+1, err
			continue
		}
		futures[i] = f
	}
	if left > 0 {
		r.log.Warn("messages are left to the sweep", "messages", left, "error", why)
	}
	return futures
}

// awaitAcks waits for the acknowledgements, notes the rows that may be deleted and returns them.
func (r *Relay) awaitAcks(msgs []Message, futures []jetstream.PubAckFuture, wait time.Duration) []uuid.UUID {
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	var sent []uuid.UUID
	left := 0
	var why error
	for i, f := range futures {
		if f == nil {
			continue
		}
		select {
		case <-f.Ok():
			sent = append(sent, msgs[i].ID)
		case err := <-f.Err():
			left, why = left+1, err
		case <-timeout.C:
			timeout.Reset(0) // the rest is given one look only
		}
	}
	if left > 0 {
		r.log.Warn("messages are left to the sweep", "messages", left, "error", why)
	}
	if len(sent) > 0 {
		r.mu.Lock()
		r.sent = append(r.sent, sent...)
		r.mu.Unlock()
	}
	return sent
}

// Run deletes what was sent and sweeps up what was not, until ctx ends; then it deletes once more.
func (r *Relay) Run(ctx context.Context) error {
	err := run.Group(ctx,
		run.Member{Name: "outbox sweep", Run: func(ctx context.Context) error {
			return run.Loop(ctx, r.log, "outbox sweep", sweepEvery, run.NewSignal(), r.sweep)
		}},
		run.Member{Name: "outbox forget", Run: func(ctx context.Context) error {
			return run.Loop(ctx, r.log, "outbox forget", forgetEvery, run.NewSignal(), r.forget)
		}},
	)
	r.mu.Lock()
	r.over = true
	r.mu.Unlock()
	r.busy.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), ackWait)
	defer cancel()
	if ferr := r.forget(last); ferr != nil {
		r.log.Warn("sent messages stay in the outbox and are sent again", "error", ferr)
	}
	return err
}

// forget deletes the rows of acknowledged messages.
func (r *Relay) forget(ctx context.Context) error {
	r.mu.Lock()
	ids := r.sent
	r.sent = nil
	r.mu.Unlock()
	if len(ids) == 0 {
		return nil
	}
	if _, err := r.pool.Exec(ctx, `DELETE FROM outbox WHERE id = ANY($1)`, ids); err != nil {
		r.mu.Lock()
		r.sent = append(r.sent, ids...)
		r.mu.Unlock()
		return fmt.Errorf("delete %d sent messages: %w", len(ids), err)
	}
	return nil
}

// sweep publishes rows that nobody has published, those that are due for longest first. They are locked while they are
// sent, so that replicas share the work. While there is no connection nothing is tried, and what breaks off with it is
// not held against a message.
func (r *Relay) sweep(ctx context.Context) error {
	for r.js.Conn().IsConnected() {
		n, sent := 0, 0
		err := pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error {
			msgs, err := due(ctx, tx)
			if n = len(msgs); err != nil || n == 0 {
				return err
			}
			futures := r.send(msgs)
			tried := len(futures)
			ids := r.awaitAcks(msgs[:tried], futures, sweepAckWait)
			sent = len(ids)
			if sent == tried || !r.js.Conn().IsConnected() {
				return nil
			}
			return setAside(ctx, tx, msgs[:tried], ids)
		})
		if err != nil {
			return fmt.Errorf("sweep outbox: %w", err)
		}
		if sent > 0 {
			if err := r.forget(ctx); err != nil {
				return err
			}
		}
		if n < sweepLimit || sent == 0 { // a stream that takes nothing is not asked without a pause
			return nil
		}
	}
	return nil
}

func due(ctx context.Context, tx pgx.Tx) ([]Message, error) {
	rows, err := tx.Query(ctx, `SELECT id, subject, payload FROM outbox WHERE next_at <= now()
		ORDER BY next_at LIMIT $1 FOR UPDATE SKIP LOCKED`, sweepLimit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Message])
}

// setAside keeps what was tried and not sent out of the sweeps for 1 s, 2 s and so on up to 32 s: long enough that
// 80,000 rows of a stream that is full leave every sweep room for others, and short enough that what waited is sent
// soon after the stream takes messages again.
func setAside(ctx context.Context, tx pgx.Tx, tried []Message, sent []uuid.UUID) error {
	gone := make(map[uuid.UUID]bool, len(sent))
	for _, id := range sent {
		gone[id] = true
	}
	var left []uuid.UUID
	for _, m := range tried {
		if !gone[m.ID] {
			left = append(left, m.ID)
		}
	}
	_, err := tx.Exec(ctx, `UPDATE outbox SET tries = least(tries + 1, 1000), next_at = clock_timestamp() + interval '1 second' * 2 ^ least(tries, 5)
		WHERE id = ANY($1)`, left)
	return err
}
