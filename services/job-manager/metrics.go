package jobmanager

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/formicary/formicary/services/job-manager/internal/pg"
)

// metrics are the instruments of the service.
type metrics struct {
	batches metric.Int64Histogram
	queue   metric.Registration
}

const measureTime = 2 * time.Second

func newMetrics(meter metric.Meter, store *pg.Store) (*metrics, error) {
	batches, err := meter.Int64Histogram("formicary_submit_batch_size",
		metric.WithDescription("Submissions that shared a transaction."), metric.WithExplicitBucketBoundaries(1, 2, 5, 10, 20, 50, 100, 200, 500))
	if err != nil {
		return nil, fmt.Errorf("make metrics: %w", err)
	}
	depth, err := meter.Int64ObservableGauge("formicary_queue_depth", metric.WithDescription("Requests that are due and wait for admission."))
	if err != nil {
		return nil, fmt.Errorf("make metrics: %w", err)
	}
	oldest, err := meter.Float64ObservableGauge("formicary_queue_oldest_age_seconds", metric.WithDescription("Age of the oldest of them."), metric.WithUnit("s"))
	if err != nil {
		return nil, fmt.Errorf("make metrics: %w", err)
	}
	queue, err := meter.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		ctx, cancel := context.WithTimeout(ctx, measureTime)
		defer cancel()
		n, age, err := store.Depth(ctx)
		if err != nil {
			return err
		}
		o.ObserveInt64(depth, n)
		o.ObserveFloat64(oldest, age.Seconds())
		return nil
	}, depth, oldest)
	if err != nil {
		return nil, fmt.Errorf("make metrics: %w", err)
	}
	return &metrics{batches: batches, queue: queue}, nil
}

func (m *metrics) submitted(n int) { m.batches.Record(context.Background(), int64(n)) }

func (m *metrics) close() { _ = m.queue.Unregister() }
