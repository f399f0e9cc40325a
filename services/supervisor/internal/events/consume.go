package events

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/protobuf/proto"

	"github.com/formicary/formicary/libs/bus"
	"github.com/formicary/formicary/libs/run"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	"github.com/formicary/formicary/services/supervisor/internal/child"
	"github.com/formicary/formicary/services/supervisor/internal/control"
	"github.com/formicary/formicary/services/supervisor/internal/engine"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
	"github.com/formicary/formicary/services/supervisor/internal/result"
)

// Consumer takes what arrives over the bus.
type Consumer struct {
	JS  jetstream.JetStream
	Log *slog.Logger
	// Launch begins runs, Control cancels and pauses them, Results ends attempts.
	Launch func(context.Context, []execution.Key) error
	// Fail ends a run that cannot be begun.
	Fail    func(context.Context, execution.Key) error
	Control func(context.Context, []control.Order) ([]bool, error)
	Results func(context.Context, []result.Result) ([]execution.Verdict, error)
	// Children brings the ends of forked jobs to those that forked them.
	Children func(context.Context, []child.Ended) error
	// Quarantine keeps a message that can never be handled.
	Quarantine func(ctx context.Context, kind, key string, payload []byte, reason string) error
	// Failed records that a message failed alone, by its own fault, and returns how often it has.
	Failed func(ctx context.Context, kind, key, reason string) (int, error)
	// Temporary says that an error is not the message's fault.
	Temporary func(error) bool
	// Seen counts results by what became of them.
	Seen metric.Int64Counter
}

const (
	ackWait       = 30 * time.Second
	maxPending    = 4096
	batchSize     = 256
	maxDeliveries = 5
	laterDelay    = time.Second
)

// Run consumes until ctx ends.
func (c *Consumer) Run(ctx context.Context) error {
	launches := careful(c, "launch", c.launches, c.giveUp)
	controls := careful(c, "control", c.controls, nil)
	children := careful(c, "child", c.children, nil)
	results := careful(c, "result", c.results, nil)
	return run.Group(ctx,
		consume(c, bus.Events, "supervisor-launch", "formicary.event.job.admitted", launches, parseLaunch),
		consume(c, bus.Events, "supervisor-control", "formicary.event.job.control", controls, parseControl),
		consume(c, bus.Events, "supervisor-children", "formicary.event.job.child", children, parseChildren),
		consume(c, bus.Results, "supervisor-results", "formicary.result.*", results, parseResult),
	)
}

// consume takes one kind of messages from the bus.
func consume[T any](c *Consumer, stream, durable, subject string, handler *bus.Careful[T], parse func([]byte) (T, error)) run.Member {
	return run.Member{Name: durable, Run: func(ctx context.Context) error {
		return bus.Consume(ctx, c.Log, c.JS, bus.Consumption{
			Stream: stream, Max: batchSize,
			Consumer: jetstream.ConsumerConfig{
				Durable: durable, FilterSubject: subject, AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait, MaxAckPending: maxPending,
			},
			Handle: func(ctx context.Context, msgs []jetstream.Msg) error {
				return handler.Do(ctx, read(ctx, c, handler.Kind, msgs, parse))
			},
		})
	}}
}

// careful handles messages of a kind with f. One that can never be handled is buried, after giveUp where that is set.
func careful[T any](c *Consumer, kind string, f func(context.Context, []bus.Item[T]) error, giveUp func(context.Context, T) error) *bus.Careful[T] {
	return &bus.Careful[T]{
		Log: c.Log, Kind: kind, Handle: f, Fault: c.fault, Failed: c.Failed,
		GiveUp: func(ctx context.Context, it bus.Item[T], err error) {
			if giveUp != nil {
				err = errors.Join(err, giveUp(ctx, it.Value))
			}
			c.quarantine(ctx, kind, it.Msg, err)
		},
	}
}

// read parts the messages that can be read from those that never will be.
func read[T any](ctx context.Context, c *Consumer, kind string, msgs []jetstream.Msg, parse func([]byte) (T, error)) []bus.Item[T] {
	items := make([]bus.Item[T], 0, len(msgs))
	for _, m := range msgs {
		v, err := parse(m.Data())
		if err != nil {
			c.quarantine(ctx, kind, m, err)
			continue
		}
		items = append(items, bus.Item[T]{Msg: m, Value: v})
	}
	return items
}

func deliveries(m jetstream.Msg) uint64 {
	meta, err := m.Metadata()
	if err != nil {
		return 0
	}
	return meta.NumDelivered
}

// quarantine records a message for a person to see and stops its delivery.
func (c *Consumer) quarantine(ctx context.Context, kind string, m jetstream.Msg, reason error) {
	key := bus.MessageKey(m)
	if err := c.Quarantine(ctx, kind, key, m.Data(), reason.Error()); err != nil {
		c.Log.Error("message was not quarantined", "kind", kind, "error", err)
		_ = m.NakWithDelay(laterDelay)
		return
	}
	c.Log.Error("message is quarantined", "kind", kind, "key", key, "error", reason)
	_ = m.TermWithReason("quarantined")
}

func ack[T any](items []bus.Item[T]) {
	for _, it := range items {
		_ = it.Msg.Ack() // a lost one brings the message again
	}
}

func (c *Consumer) launches(ctx context.Context, items []bus.Item[[]execution.Key]) error {
	var keys []execution.Key
	for _, it := range items {
		keys = append(keys, it.Value...)
	}
	if err := c.Launch(ctx, keys); err != nil {
		return err
	}
	ack(items)
	return nil
}

// giveUp ends the runs of a message that cannot be begun.
func (c *Consumer) giveUp(ctx context.Context, keys []execution.Key) error {
	var failed error
	for _, k := range keys {
		if c.Launch(ctx, []execution.Key{k}) != nil {
			failed = errors.Join(failed, c.Fail(ctx, k))
		}
	}
	return failed
}

func parseLaunch(payload []byte) ([]execution.Key, error) {
	var e jobv1.RequestsAdmitted
	if err := proto.Unmarshal(payload, &e); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	keys := make([]execution.Key, len(e.GetRequests()))
	for i, r := range e.GetRequests() {
		var err error
		if keys[i], err = key(r.GetRequestId(), r.GetRun()); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

func key(request string, run int32) (execution.Key, error) {
	id, err := uuid.Parse(request)
	if err != nil {
		return execution.Key{}, fmt.Errorf("read request id: %w", err)
	}
	if run < 1 {
		return execution.Key{}, fmt.Errorf("run %d of request %s", run, id)
	}
	return execution.Key{Request: id, Run: int(run)}, nil
}

func (c *Consumer) controls(ctx context.Context, items []bus.Item[control.Order]) error {
	orders := make([]control.Order, len(items))
	for i, it := range items {
		orders[i] = it.Value
	}
	done, err := c.Control(ctx, orders)
	if err != nil {
		return err
	}
	for i, it := range items {
		if done[i] || deliveries(it.Msg) > maxDeliveries { // job-manager tells again what is still wanted
			_ = it.Msg.Ack()
		} else {
			_ = it.Msg.NakWithDelay(laterDelay)
		}
	}
	return nil
}

func parseControl(payload []byte) (control.Order, error) {
	var e jobv1.RequestControl
	if err := proto.Unmarshal(payload, &e); err != nil {
		return control.Order{}, fmt.Errorf("decode: %w", err)
	}
	k, err := key(e.GetRequestId(), e.GetRun())
	if err != nil {
		return control.Order{}, err
	}
	o := control.Order{Run: execution.Run{Key: k, Org: e.GetOrgId(), JobType: e.GetJobType()}, Reason: e.GetReason()}
	switch e.GetAction() {
	case jobv1.RequestControl_CANCEL:
		o.Action = control.Cancel
	case jobv1.RequestControl_PAUSE:
		o.Action = control.Pause
	case jobv1.RequestControl_ACTION_UNSPECIFIED:
		return o, fmt.Errorf("no action")
	}
	return o, nil
}

func (c *Consumer) results(ctx context.Context, items []bus.Item[result.Result]) error {
	all := make([]result.Result, len(items))
	for i, it := range items {
		all[i] = it.Value
	}
	verdicts, err := c.Results(ctx, all)
	if err != nil {
		return err
	}
	for i, v := range verdicts {
		if v == execution.Postponed {
			_ = items[i].Msg.NakWithDelay(laterDelay)
		} else {
			_ = items[i].Msg.Ack() // a lost one brings the message again
		}
		c.Seen.Add(ctx, 1, metric.WithAttributes(attribute.String("verdict", v.String())))
		if v == execution.Stale || v == execution.Unknown {
			c.Log.Info("result changes nothing", "uid", all[i].UID, "verdict", v.String())
		}
	}
	return nil
}

func parseResult(payload []byte) (result.Result, error) {
	var r antv1.Result
	if err := proto.Unmarshal(payload, &r); err != nil {
		if proto.Unmarshal(validText(payload, r.ProtoReflect().Descriptor()), &r) != nil {
			return result.Result{}, fmt.Errorf("decode: %w", err)
		}
	}
	uid, err := uuid.Parse(r.GetUid())
	if err != nil {
		return result.Result{}, fmt.Errorf("read uid: %w", err)
	}
	if r.GetAntId() == "" {
		return result.Result{}, fmt.Errorf("no ant")
	}
	canonical, err := proto.MarshalOptions{Deterministic: true}.Marshal(&r)
	if err != nil {
		return result.Result{}, fmt.Errorf("encode: %w", err)
	}
	x := result.Result{
		UID: uid, Ant: r.GetAntId(), Canonical: canonical,
		Log: execution.StoredLog{
			Key: r.GetLogKey(), Bytes: r.GetLogBytes(), SHA256: r.GetLogSha256(), Format: execution.LogFormat(r.GetLogFormat()), Stored: r.GetLogStoredBytes(),
		},
		Usage: usage(r.GetUsage()), Cache: cacheUse(r.GetCache()),
		Outcome: engine.Outcome{
			ExitCode: int(r.GetExitCode()), FailureClass: r.GetFailureClass(), Message: r.GetMessage(),
			Outputs: r.GetOutputs(), Body: r.GetBody(), BodyCut: r.GetBodyCut(),
		},
	}
	for _, a := range r.GetArtifacts() {
		if upload, err := uuid.Parse(a.GetUpload()); err == nil { // what is none names no upload
			x.Artifacts = append(x.Artifacts, execution.Kept{Upload: upload, Age: a.GetExpiresAfter().AsDuration()})
		}
	}
	switch r.GetOutcome() {
	case antv1.Result_SUCCEEDED:
		x.Outcome.State = engine.AttemptSucceeded
	case antv1.Result_FAILED:
		x.Outcome.State = engine.AttemptFailed
	case antv1.Result_TIMED_OUT:
		x.Outcome.State = engine.AttemptTimedOut
	case antv1.Result_CANCELLED:
		x.Outcome.State = engine.AttemptCancelled
	case antv1.Result_LOST:
		x.Outcome.State = engine.AttemptLost
	case antv1.Result_OUTCOME_UNSPECIFIED:
		return x, fmt.Errorf("no outcome")
	}
	return x, nil
}

// usage as the ant tells it; an older one does not.
func usage(u *antv1.Usage) *execution.Usage {
	if u == nil {
		return nil
	}
	return &execution.Usage{
		CPUMillis: u.GetCpuMillis(), PeakMemoryBytes: u.GetPeakMemoryBytes(), BytesIn: u.GetBytesIn(), BytesOut: u.GetBytesOut(),
		PullMillis: u.GetPullMillis(), DownloadMillis: u.GetDownloadMillis(), RunMillis: u.GetRunMillis(), UploadMillis: u.GetUploadMillis(),
	}
}

// cacheUse as the ant tells it, where the task asks for a cache.
func cacheUse(c *antv1.CacheUse) *execution.CacheUse {
	if c == nil {
		return nil
	}
	return &execution.CacheUse{
		Outcome: c.GetOutcome().String(), Key: c.GetKey(), FoundKey: c.GetFoundKey(), Bytes: c.GetBytes(), RawBytes: c.GetRawBytes(), Local: c.GetLocal(),
		RestoreMillis: c.GetRestoreMillis(), SavedMillis: c.GetSavedMillis(), StoredBytes: c.GetStoredBytes(), StoreMillis: c.GetStoreMillis(),
	}
}
