package events

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/formicary/formicary/libs/bus"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	"github.com/formicary/formicary/services/job-manager/internal/request"
)

const (
	subjectExecution = "formicary.event.execution.changed"
	consumerName     = "job-manager"
	maxAckPending    = 8192
	ackWait          = 30 * time.Second
)

// Mirror applies what supervisor said of several requests in one transaction.
type Mirror func(ctx context.Context, said map[uuid.UUID]request.Execution) ([]request.Record, error)

// Consumer takes changes of executions from the stream.
type Consumer struct {
	Inlet
	mirror  Mirror
	applied func([]request.Record)
}

// NewConsumer returns a consumer. applied is called with the requests of every batch after its commit.
func NewConsumer(in Inlet, m Mirror, applied func([]request.Record)) *Consumer {
	return &Consumer{Inlet: in, mirror: m, applied: applied}
}

// Run consumes until ctx ends.
func (c *Consumer) Run(ctx context.Context) error {
	handler := careful(&c.Inlet, "execution", c.apply)
	return bus.Consume(ctx, c.Log, c.JS, bus.Consumption{
		Stream: bus.Events,
		Consumer: jetstream.ConsumerConfig{
			Durable: consumerName, FilterSubject: subjectExecution, AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait, MaxAckPending: maxAckPending,
		},
		Max:    1000,
		Handle: func(ctx context.Context, msgs []jetstream.Msg) error { return handler.Do(ctx, c.read(ctx, msgs)) },
	})
}

// change is what a message says of one run.
type change struct {
	id uuid.UUID
	e  request.Execution
}

// read reads messages. One that cannot be read is kept for a person, and what can be read of it is applied all the same.
func (c *Consumer) read(ctx context.Context, msgs []jetstream.Msg) []bus.Item[[]change] {
	all := make([]bus.Item[[]change], 0, len(msgs))
	for _, m := range msgs {
		changes, err := decode(m.Data())
		if err != nil {
			c.poison(ctx, m, err)
		}
		if len(changes) > 0 {
			all = append(all, bus.Item[[]change]{Msg: m, Value: changes})
		}
	}
	return all
}

// apply stores the newest change of every request and acknowledges the messages. Of a single message that cannot be
// stored each change is tried, so that a bad one does not hold up the others.
func (c *Consumer) apply(ctx context.Context, items []bus.Item[[]change]) error {
	var changes []change
	for _, it := range items {
		changes = append(changes, it.Value...)
	}
	err := c.store(ctx, changes)
	if err != nil && len(items) == 1 && fault(err) == bus.Content {
		err = nil
		for _, ch := range changes {
			err = errors.Join(err, c.store(ctx, []change{ch}))
		}
	}
	if err != nil {
		return err
	}
	for _, it := range items {
		_ = it.Msg.Ack() // a lost acknowledgement brings it again, and it is not newer then
	}
	return nil
}

// store mirrors the newest of the changes of every request.
func (c *Consumer) store(ctx context.Context, changes []change) error {
	if len(changes) == 0 {
		return nil
	}
	newest := make(map[uuid.UUID]request.Execution, len(changes))
	for _, ch := range changes {
		if known, ok := newest[ch.id]; !ok || ch.e.Newer(known) {
			newest[ch.id] = ch.e
		}
	}
	recs, err := c.mirror(ctx, newest)
	if err != nil {
		return err
	}
	c.applied(recs)
	return nil
}

// decode reads what a message says; the error tells of what could not be read.
func decode(payload []byte) ([]change, error) {
	var m executionv1.ExecutionChanges
	if err := proto.Unmarshal(payload, &m); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	if len(m.GetChanges()) == 0 {
		return nil, errors.New("it tells of nothing")
	}
	var bad error
	changes := make([]change, 0, len(m.GetChanges()))
	for _, one := range m.GetChanges() {
		id, e, err := FromProto(one)
		if err != nil {
			bad = errors.Join(bad, err)
			continue
		}
		changes = append(changes, change{id, e})
	}
	return changes, bad
}

// FromProto reads what supervisor says of a run.
func FromProto(m *executionv1.ExecutionChanged) (uuid.UUID, request.Execution, error) {
	id, err := uuid.Parse(m.GetRequestId())
	if err != nil {
		return id, request.Execution{}, fmt.Errorf("request_id %q: %w", m.GetRequestId(), err)
	}
	if m.GetRun() < 1 || m.GetVersion() < 1 {
		return id, request.Execution{}, fmt.Errorf("run %d, version %d", m.GetRun(), m.GetVersion())
	}
	if m.GetState() == executionv1.Execution_STATE_UNSPECIFIED || executionv1.Execution_State_name[int32(m.GetState())] == "" {
		return id, request.Execution{}, fmt.Errorf("state %d", m.GetState())
	}
	return id, request.Execution{
		Run: int(m.GetRun()), Version: m.GetVersion(), State: request.State(m.GetState().String()),
		ErrorCode: m.GetErrorCode(), ErrorMessage: m.GetErrorMessage(), StartedAt: moment(m.GetStartedAt()), EndedAt: moment(m.GetEndedAt()),
		RestartAt: moment(m.GetRestartAt()), RestartSoft: m.GetRestartSoft(), ResumeAt: moment(m.GetResumeAt()),
	}, nil
}

func moment(t *timestamppb.Timestamp) *time.Time {
	if t == nil {
		return nil
	}
	at := t.AsTime()
	return &at
}
