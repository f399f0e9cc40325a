package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/formicary/formicary/libs/run"
)

const (
	watchEvery = time.Minute
	startTime  = 5 * time.Second // that a process has for itself before the first audit
	unlockTime = 2 * time.Second
)

// Watch runs the checks soon after a start and every minute from then on, until ctx ends. It logs what it finds and keeps
// two gauges, with the check's name as attribute: formicary_invariant_violations, which keeps its last value while its
// check fails, and formicary_invariant_check_failed, which is 1 then. The checks must cost the same however much the
// tables hold. While another replica is at it a round is left out, and the gauges keep their last values.
func Watch(ctx context.Context, pool *pgxpool.Pool, log *slog.Logger, meter metric.Meter, checks []Check) error {
	w := &watch{pool: pool, log: log, checks: checks}
	var err error
	if w.violations, err = meter.Int64Gauge("formicary_invariant_violations", metric.WithDescription("findings of the last audit")); err != nil {
		return fmt.Errorf("make gauge: %w", err)
	}
	if w.failed, err = meter.Int64Gauge("formicary_invariant_check_failed", metric.WithDescription("1: the check could not be made in the last audit")); err != nil {
		return fmt.Errorf("make gauge: %w", err)
	}
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(startTime):
	}
	return run.Loop(ctx, log, "audit", watchEvery, run.NewSignal(), w.round)
}

type watch struct {
	pool               *pgxpool.Pool
	log                *slog.Logger
	checks             []Check
	violations, failed metric.Int64Gauge
}

func (w *watch) round(ctx context.Context) error {
	turn, err := tryLock(ctx, w.pool)
	if err != nil || turn == nil {
		return err
	}
	defer turn()
	violations, err := Run(ctx, w.pool, w.checks)
	missing, some := errors.AsType[*Incomplete](err)
	switch {
	case ctx.Err() != nil:
		return ctx.Err() // what could not be made says nothing
	case err != nil && !some:
		return err
	}
	found, failed := map[string]int64{}, map[string]int64{}
	for _, v := range violations {
		found[v.Check]++
		w.log.Error("invariant violated", "check", v.Check, "detail", v.Detail)
	}
	if some {
		for _, f := range missing.Failures {
			failed[f.Check] = 1
			w.log.Warn("invariant not checked", "check", f.Check, "error", f.Error)
		}
	}
	for _, c := range w.checks {
		name := metric.WithAttributes(attribute.String("name", c.Name))
		w.failed.Record(ctx, failed[c.Name], name)
		if failed[c.Name] == 0 {
			w.violations.Record(ctx, found[c.Name], name)
		}
	}
	return nil
}

// tryLock lets one replica of the schema audit at a time; without a turn it returns nil. The lock is the session's and not
// a transaction's, which the server would end as idle meanwhile.
func tryLock(ctx context.Context, pool *pgxpool.Pool) (release func(), err error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("acquire connection: %w", err)
	}
	var mine bool
	if err := conn.QueryRow(ctx, `SELECT pg_try_advisory_lock(hashtext(current_schema() || '.audit'))`).Scan(&mine); err != nil || !mine {
		conn.Release()
		if err != nil {
			return nil, fmt.Errorf("take the turn: %w", err)
		}
		return nil, nil
	}
	return func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockTime)
		defer cancel()
		if _, err := conn.Exec(last, `SELECT pg_advisory_unlock(hashtext(current_schema() || '.audit'))`); err != nil {
			_ = conn.Conn().Close(last) // the lock ends with its session
		}
		conn.Release()
	}, nil
}
