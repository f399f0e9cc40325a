package main

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/formicary/formicary/libs/bus"
)

// roundTrip returns the median time in milliseconds from a publish to the confirmed acknowledgement of its receiver.
func roundTrip(ctx context.Context, js jetstream.JetStream) (float64, error) {
	if err := bus.Provision(ctx, js); err != nil {
		return 0, err
	}
	consumer, err := bus.EnsureConsumer(ctx, js, bus.Tasks, jetstream.ConsumerConfig{
		Durable: "bench", FilterSubject: "formicary.task.bench", AckPolicy: jetstream.AckExplicitPolicy,
	})
	if err != nil {
		return 0, err
	}
	feed, err := consumer.Messages()
	if err != nil {
		return 0, fmt.Errorf("consume: %w", err)
	}
	defer feed.Stop()
	return sample(func() error {
		if _, err := js.Publish(ctx, "formicary.task.bench", []byte("a doorbell")); err != nil {
			return err
		}
		m, err := feed.Next()
		if err != nil {
			return err
		}
		return m.DoubleAck(ctx)
	})
}
