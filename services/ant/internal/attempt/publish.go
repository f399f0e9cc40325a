package attempt

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/protobuf/proto"

	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	"github.com/formicary/formicary/services/ant/internal/tasklog"
)

const (
	resultSubject = "formicary.result.0"
	logSubject    = "formicary.log."
	maxChunks     = 256 // chunks of all attempts that wait for the bus; more are dropped
	maxSent       = 2048
)

type sentResult struct {
	uid string
	ack jetstream.PubAckFuture
}

// publish hands a result to the bus. The spool keeps it whatever happens here.
func (m *Manager) publish(uid string, data []byte) {
	ack, err := m.deps.JS.PublishAsync(resultSubject, data)
	if err != nil {
		m.failed(uid, err)
		return
	}
	select {
	case m.sent <- sentResult{uid, ack}:
	default: // nobody looks at this one; Sync tells in the end
	}
}

func (m *Manager) failed(uid string, err error) {
	m.metrics.publishFailures.Add(m.life, 1)
	m.deps.Log.Warn("result not published; it will be sent again", "attempt", uid, "error", err)
	m.deps.Spool.Retry(uid)
}

// watchSent looks at the acknowledgements in the order of the results.
func (m *Manager) watchSent() {
	for s := range m.sent {
		select {
		case <-s.ack.Ok():
		case err := <-s.ack.Err():
			m.failed(s.uid, err)
		case <-m.life.Done():
		}
	}
}

// Flush waits until the bus has acknowledged what was published, at most until ctx ends.
func (m *Manager) Flush(ctx context.Context) {
	select {
	case <-m.deps.JS.PublishAsyncComplete():
	case <-ctx.Done():
	}
}

type liveChunk struct {
	uid    string
	chunk  tasklog.Chunk
	format antv1.LogFormat
}

// show queues a chunk of a live log. A slow bus must not slow down the task, so it is dropped when the queue is full.
func (m *Manager) show(c liveChunk) {
	select {
	case m.chunks <- c:
	default:
		m.metrics.chunksDropped.Add(m.life, 1)
	}
}

func (m *Manager) publishLive() {
	for c := range m.chunks {
		data, err := proto.Marshal(&antv1.LogChunk{Offset: c.chunk.Offset, Line: c.chunk.Line, Data: c.chunk.Data, End: c.chunk.End, Format: c.format})
		if err == nil {
			err = m.deps.NATS.Publish(logSubject+c.uid, data)
		}
		if err != nil {
			m.metrics.chunksDropped.Add(m.life, 1)
		}
	}
}

type metrics struct {
	claims          metric.Int64Counter
	results         metric.Int64Counter
	seconds         metric.Float64Histogram
	publishFailures metric.Int64Counter
	uploadFailures  metric.Int64Counter
	chunksDropped   metric.Int64Counter
	running         metric.Int64UpDownCounter
	caches          metric.Int64Counter
}

var ( //nolint:gochecknoglobals // constants
	claimTaken   = metric.WithAttributes(attribute.String("answer", "taken"))
	claimRefused = metric.WithAttributes(attribute.String("answer", "refused"))
	claimFailed  = metric.WithAttributes(attribute.String("answer", "failed"))
)

// make takes the instruments of the meter; several ants of one process share them.
func (s *metrics) make(meter metric.Meter) error {
	errs := make([]error, 8)
	s.claims, errs[0] = meter.Int64Counter("formicary_ant_claims", metric.WithDescription("attempts claimed, by answer"))
	s.results, errs[1] = meter.Int64Counter("formicary_ant_results", metric.WithDescription("attempts ended, by method and outcome"))
	s.seconds, errs[2] = meter.Float64Histogram("formicary_ant_attempt_duration", metric.WithUnit("s"), metric.WithDescription("time from claim to result"),
		metric.WithExplicitBucketBoundaries(.002, .005, .01, .05, .1, .5, 1, 5, 30, 120, 600, 3600))
	s.publishFailures, errs[3] = meter.Int64Counter("formicary_ant_publish_failures", metric.WithDescription("results that the bus did not acknowledge"))
	s.uploadFailures, errs[4] = meter.Int64Counter("formicary_ant_upload_failures", metric.WithDescription("logs that could not be stored"))
	s.chunksDropped, errs[5] = meter.Int64Counter("formicary_ant_log_chunks_dropped", metric.WithDescription("pieces of live logs that were not shown"))
	s.running, errs[6] = meter.Int64UpDownCounter("formicary_ant_running", metric.WithDescription("attempts running now"))
	s.caches, errs[7] = meter.Int64Counter("formicary_ant_caches", metric.WithDescription("caches of tasks, by outcome and by whether the ant had its own copy"))
	for _, err := range errs {
		if err != nil {
			return fmt.Errorf("make metrics: %w", err)
		}
	}
	return nil
}

func (s *metrics) ended(ctx context.Context, method, outcome string, took time.Duration) {
	with := metric.WithAttributes(attribute.String("method", method), attribute.String("outcome", outcome))
	s.results.Add(ctx, 1, with)
	s.seconds.Record(ctx, took.Seconds(), with)
}
