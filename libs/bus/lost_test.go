package bus_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/formicary/formicary/libs/bus"
	"github.com/formicary/formicary/libs/testkit"
)

// TestALostConnectionIsTold: the library says nothing of a connection that breaks without a word of the server.
func TestALostConnectionIsTold(t *testing.T) {
	nc, js := testkit.NATS(t)
	heard := make(chan error, 16)
	testkit.Run(t, func(ctx context.Context) error {
		return bus.Consume(ctx, testkit.Logger(t), js, bus.Consumption{
			Stream:    bus.Tasks,
			Consumer:  jetstream.ConsumerConfig{Durable: "c", FilterSubject: "formicary.task.c", AckPolicy: jetstream.AckExplicitPolicy},
			Handle:    func(_ context.Context, msgs []jetstream.Msg) error { bus.Ack(msgs); return nil },
			Listening: func(err error) { heard <- err },
		})
	})
	next := func(what string, want bool) {
		t.Helper()
		select {
		case err := <-heard:
			if (err != nil) != want {
				t.Errorf("%s: %v", what, err)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: nothing is said", what)
		}
	}
	next("it listens", false)
	if err := nc.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	next("it is lost", true)
	for { // until it is connected again every try fails
		select {
		case err := <-heard:
			if err == nil {
				return
			}
		case <-time.After(20 * time.Second):
			t.Fatal("it does not listen again")
		}
	}
}
