package lead

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"
)

// State of this process as a leader.
type State struct {
	Leading  bool
	Epoch    int64 // of the last term; 0 when it never led
	Passes   int64
	Admitted int64
	Fenced   int64 // writes that were refused because a newer leader began
	LastPass time.Time
}

// Stats count what the leader does.
type Stats struct {
	mu    sync.Mutex
	state State

	passes, admitted, fenced metric.Int64Counter
	leading                  metric.Int64Gauge
	duration                 metric.Float64Histogram
}

// NewStats makes the instruments on meter.
func NewStats(meter metric.Meter) (*Stats, error) {
	s := &Stats{}
	var err error
	if s.passes, err = meter.Int64Counter("formicary_scheduler_passes", metric.WithDescription("plans made")); err != nil {
		return nil, fmt.Errorf("make metric: %w", err)
	}
	if s.admitted, err = meter.Int64Counter("formicary_scheduler_admitted", metric.WithDescription("requests admitted")); err != nil {
		return nil, fmt.Errorf("make metric: %w", err)
	}
	if s.fenced, err = meter.Int64Counter("formicary_scheduler_fenced", metric.WithDescription("writes refused because a newer leader began")); err != nil {
		return nil, fmt.Errorf("make metric: %w", err)
	}
	if s.leading, err = meter.Int64Gauge("formicary_scheduler_leading", metric.WithDescription("1 while this process leads")); err != nil {
		return nil, fmt.Errorf("make metric: %w", err)
	}
	if s.duration, err = meter.Float64Histogram("formicary_scheduler_pass_duration", metric.WithUnit("s"), metric.WithDescription("time of one pass"),
		metric.WithExplicitBucketBoundaries(.0005, .001, .002, .005, .01, .02, .05, .1, .5, 1)); err != nil {
		return nil, fmt.Errorf("make metric: %w", err)
	}
	return s, nil
}

// State now.
func (s *Stats) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

func (s *Stats) set(f func(*State)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.state)
}

func (s *Stats) began(ctx context.Context, epoch int64) {
	s.set(func(st *State) { st.Leading, st.Epoch = true, epoch })
	s.leading.Record(ctx, 1)
}

func (s *Stats) ended(ctx context.Context) {
	s.set(func(st *State) { st.Leading = false })
	s.leading.Record(ctx, 0)
}

func (s *Stats) pass(ctx context.Context, admitted int, took time.Duration) {
	s.set(func(st *State) {
		st.Passes++
		st.Admitted += int64(admitted)
		st.LastPass = time.Now()
	})
	s.passes.Add(ctx, 1)
	s.admitted.Add(ctx, int64(admitted))
	s.duration.Record(ctx, took.Seconds())
}

func (s *Stats) fence(ctx context.Context) {
	s.set(func(st *State) { st.Fenced++ })
	s.fenced.Add(ctx, 1)
}
