package audit

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/formicary/formicary/libs/run"
)

const watchEvery = time.Minute

// Watch runs the checks every minute until ctx ends, logs what it finds and keeps the gauge
// formicary_invariant_violations, with the check's name as attribute.
func Watch(ctx context.Context, pool *pgxpool.Pool, log *slog.Logger, meter metric.Meter, checks []Check) error {
	gauge, err := meter.Int64Gauge("formicary_invariant_violations", metric.WithDescription("findings of the last audit"))
	if err != nil {
		return fmt.Errorf("make gauge: %w", err)
	}
	return run.Loop(ctx, log, "audit", watchEvery, run.NewSignal(), func(ctx context.Context) error {
		found, err := Run(ctx, pool, checks)
		if err != nil {
			return err
		}
		count := map[string]int64{}
		for _, v := range found {
			count[v.Check]++
			log.Error("invariant violated", "check", v.Check, "detail", v.Detail)
		}
		for _, c := range checks {
			gauge.Record(ctx, count[c.Name], metric.WithAttributes(attribute.String("name", c.Name)))
		}
		return nil
	})
}
