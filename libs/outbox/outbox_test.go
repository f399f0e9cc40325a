package outbox_test

import (
	"context"
	"fmt"
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
	_, err := pool.Exec(ctx, `CREATE TABLE outbox (id uuid PRIMARY KEY, subject text NOT NULL, payload bytea NOT NULL, created_at timestamptz NOT NULL DEFAULT now(),
		tries smallint NOT NULL DEFAULT 0, next_at timestamptz NOT NULL DEFAULT now() + interval '1 second')`)
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

// TestAFullStreamHoldsUpNoOther: more rows than a sweep takes cannot be sent, and a younger one of another stream can.
func TestAFullStreamHoldsUpNoOther(t *testing.T) {
	pool := testkit.Pool(t, "public", migrate)
	_, js := testkit.NATS(t)
	s, err := js.Stream(t.Context(), bus.Tasks)
	if err != nil {
		t.Fatal(err)
	}
	conf := s.CachedInfo().Config
	conf.MaxBytes = 300
	if _, err := js.UpdateStream(t.Context(), conf); err != nil {
		t.Fatal(err)
	}
	write := func(age string, msgs ...outbox.Message) {
		t.Helper()
		err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
			if err := outbox.Insert(t.Context(), tx, msgs); err != nil {
				return err
			}
			_, err := tx.Exec(t.Context(), `UPDATE outbox SET next_at = now() - $1::interval WHERE tries = 0 AND next_at > now()`, age)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	bells := make([]outbox.Message, 1200)
	for i := range bells {
		bells[i] = outbox.New(fmt.Sprintf("formicary.task.dead%d", i%2), make([]byte, 500)) // a stream bounds what one ant has
	}
	write("2 seconds", bells...)
	write("1 second", outbox.New("formicary.event.test.x", []byte("p")))
	testkit.Run(t, outbox.NewRelay(pool, js, testkit.Logger(t)).Run)
	count := func(where string) (n int) {
		if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM outbox WHERE "+where).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	testkit.Eventually(t, 20*time.Second, "the event is sent", func() bool { return count("subject = 'formicary.event.test.x'") == 0 })
	if n := count("tries > 0"); n < 500 {
		t.Errorf("%d doorbells are set aside, want those of a whole sweep", n)
	}
	conf.MaxBytes = 16 << 20
	if _, err := js.UpdateStream(t.Context(), conf); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 60*time.Second, "the doorbells are sent", func() bool { return count("true") == 0 })
}
