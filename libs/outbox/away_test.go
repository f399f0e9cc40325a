package outbox

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/formicary/formicary/libs/testkit"
)

// away is a stream that cannot be reached; the connection is that of the embedded one.
type away struct {
	jetstream.JetStream
	err   error
	calls int
}

func (a *away) PublishMsgAsync(*nats.Msg, ...jetstream.PublishOpt) (jetstream.PubAckFuture, error) {
	a.calls++
	return nil, a.err
}

func table(ctx context.Context, pool *pgxpool.Pool) error {
	_, err := pool.Exec(ctx, `CREATE TABLE outbox (id uuid PRIMARY KEY, subject text NOT NULL, payload bytea NOT NULL, created_at timestamptz NOT NULL DEFAULT now(),
		tries smallint NOT NULL DEFAULT 0, next_at timestamptz NOT NULL DEFAULT now() + interval '1 second')`)
	return err
}

// TestASweepWithoutTheBusEnds: a full batch that cannot be sent must not be tried again without a pause.
func TestASweepWithoutTheBusEnds(t *testing.T) {
	pool := testkit.Pool(t, "public", table)
	msgs := make([]Message, 2*sweepLimit)
	for i := range msgs {
		msgs[i] = New("formicary.event.test.x", []byte("p"))
	}
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error { return Insert(t.Context(), tx, msgs) })
	if err != nil {
		t.Fatal(err)
	}
	_, js := testkit.NATS(t)
	for name, tt := range map[string]struct {
		err   error
		calls int
	}{
		"disconnected": {nats.ErrReconnectBufExceeded, sweepLimit},
		"stalled":      {jetstream.ErrTooManyStalledMsgs, 1},
		"other":        {errors.New("other"), sweepLimit},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := pool.Exec(t.Context(), `UPDATE outbox SET next_at = now() - interval '1 hour'`); err != nil {
				t.Fatal(err)
			}
			js := &away{JetStream: js, err: tt.err}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			if err := NewRelay(pool, js, slog.New(slog.NewTextHandler(io.Discard, nil))).sweep(ctx); err != nil {
				t.Fatal(err)
			}
			if js.calls != tt.calls {
				t.Errorf("%d messages tried, want %d", js.calls, tt.calls)
			}
		})
	}
}

// TestNothingIsTriedOrSetAsideWithoutAConnection: what waits is sent at once when the connection is back.
func TestNothingIsTriedOrSetAsideWithoutAConnection(t *testing.T) {
	pool := testkit.Pool(t, "public", table)
	nc, js := testkit.NATS(t)
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		return Insert(t.Context(), tx, []Message{New("formicary.event.test.x", []byte("p"))})
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), `UPDATE outbox SET next_at = now()`); err != nil {
		t.Fatal(err)
	}
	nc.Close()
	off := &away{JetStream: js, err: nats.ErrConnectionClosed}
	if err := NewRelay(pool, off, slog.New(slog.DiscardHandler)).sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	var due bool
	if err := pool.QueryRow(t.Context(), `SELECT next_at <= now() FROM outbox`).Scan(&due); err != nil || !due || off.calls != 0 {
		t.Errorf("due %v after %d tries: %v", due, off.calls, err)
	}
}
