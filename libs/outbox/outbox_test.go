package outbox_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/formicary/formicary/libs/bus"
	"github.com/formicary/formicary/libs/outbox"
	"github.com/formicary/formicary/libs/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func migrate(ctx context.Context, pool *pgxpool.Pool) error {
	_, err := pool.Exec(ctx, `CREATE TABLE outbox (id uuid PRIMARY KEY, subject text NOT NULL, payload bytea NOT NULL, created_at timestamptz NOT NULL DEFAULT now())`)
	return err
}

func TestMessagesAreSentOnceAndForgotten(t *testing.T) {
	pool := testkit.Pool(t, "public", migrate)
	_, js := testkit.NATS(t)
	relay := outbox.NewRelay(pool, js, testkit.Logger(t))
	testkit.Run(t, relay.Run)
	write := func(publish bool, n int) {
		msgs := make([]outbox.Message, n)
		for i := range msgs {
			msgs[i] = outbox.New("formicary.event.test.x", []byte("p"))
		}
		err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error { return outbox.Insert(t.Context(), tx, msgs) })
		if err != nil {
			t.Fatal(err)
		}
		if publish {
			relay.Publish(msgs)
		}
	}
	write(true, 100)
	write(false, 50) // as after a crash between commit and publish
	left := func() (n int) {
		if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM outbox").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	testkit.Eventually(t, 15*time.Second, "the outbox is empty", func() bool { return left() == 0 })
	s, err := js.Stream(t.Context(), bus.Events)
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.State.Msgs != 150 {
		t.Errorf("%d messages in the stream, want 150", info.State.Msgs)
	}
}
