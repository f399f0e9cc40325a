package events

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/formicary/formicary/libs/bus"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	"github.com/formicary/formicary/services/job-manager/internal/notify"
)

const (
	subjectNotice = "formicary.event.execution.notice"
	noticesName   = "job-manager-notices"
)

// Deliver stores deliveries that are not stored yet, in one transaction.
type Deliver func(ctx context.Context, all []notify.Delivery) error

// Notices takes from the stream what people asked to be told about tasks.
type Notices struct {
	inlet
	deliver Deliver
}

// NewNotices returns a consumer.
func NewNotices(js jetstream.JetStream, log *slog.Logger, d Deliver, q Quarantine) *Notices {
	return &Notices{inlet: inlet{js, log, q}, deliver: d}
}

// Run consumes until ctx ends.
func (c *Notices) Run(ctx context.Context) error {
	return bus.Consume(ctx, c.log, c.js, bus.Consumption{
		Stream: bus.Events,
		Consumer: jetstream.ConsumerConfig{
			Durable: noticesName, FilterSubject: subjectNotice, AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait, MaxAckPending: maxAckPending,
		},
		Handle: c.handle,
	})
}

// handle stores what a batch of messages asks for. When the database refuses it each message is tried by itself.
func (c *Notices) handle(ctx context.Context, msgs []jetstream.Msg) error {
	var all []notify.Delivery
	var good []jetstream.Msg
	var parts [][]notify.Delivery
	for _, m := range msgs {
		some, err := deliveries(m.Data())
		if err != nil {
			c.poison(ctx, m, err) // what can be read of it is delivered all the same
		} else {
			good, parts = append(good, m), append(parts, some)
		}
		all = append(all, some...)
	}
	if len(all) == 0 {
		return nil
	}
	err := c.deliver(ctx, all)
	switch {
	case err == nil:
		bus.Ack(good)
		return nil
	case !refused(err):
		return err
	}
	for i, m := range good {
		if err := c.deliver(ctx, parts[i]); err != nil {
			c.giveBack(ctx, m, err)
			continue
		}
		_ = m.Ack() // a lost acknowledgement brings it again, and it is stored then
	}
	return nil
}

// deliveries reads a message; the error tells of what could not be read.
func deliveries(payload []byte) ([]notify.Delivery, error) {
	var m executionv1.TaskNotices
	if err := proto.Unmarshal(payload, &m); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	var bad error
	var all []notify.Delivery
	for _, one := range m.GetNotices() {
		some, err := ofNotice(one)
		if err != nil {
			bad = errors.Join(bad, fmt.Errorf("notice %s: %w", one.GetId(), err))
		}
		all = append(all, some...)
	}
	if len(all) == 0 && bad == nil {
		return nil, errors.New("it tells of nothing")
	}
	return all, bad
}

func ofNotice(m *executionv1.TaskNotice) ([]notify.Delivery, error) {
	id, err := uuid.Parse(m.GetId())
	if err != nil {
		return nil, fmt.Errorf("id: %w", err)
	}
	request, err := uuid.Parse(m.GetRequestId())
	if err != nil {
		return nil, fmt.Errorf("request_id: %w", err)
	}
	return notify.OfNotice(&notify.Notice{
		ID: id, RequestID: request, Run: int(m.GetRun()), OrgID: m.GetOrgId(), JobType: m.GetJobType(), Task: m.GetTask(), Kind: m.GetKind(),
		State: m.GetState(), ExitCode: int(m.GetExitCode()), Message: m.GetMessage(), Webhook: m.GetWebhook(), Recipients: m.GetRecipients(),
		At: m.GetTime().AsTime(),
	})
}
