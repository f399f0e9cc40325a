package events

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
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
	Inlet
	deliver    Deliver
	supervisor *Supervisor
}

// NewNotices returns a consumer. s keeps what no message told of.
func NewNotices(in Inlet, d Deliver, s *Supervisor) *Notices {
	return &Notices{Inlet: in, deliver: d, supervisor: s}
}

// Run consumes until ctx ends.
func (c *Notices) Run(ctx context.Context) error {
	handler := careful(&c.Inlet, "notice", c.apply)
	return bus.Consume(ctx, c.Log, c.JS, bus.Consumption{
		Stream: bus.Events,
		Consumer: jetstream.ConsumerConfig{
			Durable: noticesName, FilterSubject: subjectNotice, AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait, MaxAckPending: maxAckPending,
		},
		Handle: func(ctx context.Context, msgs []jetstream.Msg) error { return handler.Do(ctx, c.read(ctx, msgs)) },
	})
}

// read reads messages. One that cannot be read is kept for a person, and what can be read of it is delivered all the same.
func (c *Notices) read(ctx context.Context, msgs []jetstream.Msg) []bus.Item[[]notify.Delivery] {
	var all []bus.Item[[]notify.Delivery]
	for _, m := range msgs {
		some, err := deliveries(m.Data())
		if err != nil {
			c.poison(ctx, m, err)
		}
		if len(some) > 0 {
			all = append(all, bus.Item[[]notify.Delivery]{Msg: m, Value: some})
		}
	}
	return all
}

// apply stores what messages ask for.
func (c *Notices) apply(ctx context.Context, items []bus.Item[[]notify.Delivery]) error {
	var all []notify.Delivery
	for _, it := range items {
		all = append(all, it.Value...)
	}
	if err := c.deliver(ctx, all); err != nil {
		return err
	}
	for _, it := range items {
		_ = it.Msg.Ack() // a lost acknowledgement brings it again, and it is stored then
	}
	return nil
}

// unheardPages bounds one round of Unheard; what is left is for the next.
const unheardPages = 50

// Unheard takes from supervisor the notices that nobody has confirmed, and confirms them once they are stored. Those that a
// message told of are stored already, and stay as they are.
func (c *Notices) Unheard(ctx context.Context) error {
	var stored []string
	for range unheardPages {
		some, err := c.supervisor.TakeNotices(ctx, stored)
		if status.Code(err) == codes.Unimplemented {
			return nil // an older supervisor
		}
		if err != nil || len(some) == 0 {
			return err
		}
		if err := c.store(ctx, some); err != nil {
			return err
		}
		stored = stored[:0]
		for _, n := range some {
			stored = append(stored, n.GetId())
		}
	}
	_, err := c.supervisor.TakeNotices(ctx, stored)
	return err
}

// store stores notices, or each by itself when that is refused. One that can never be stored is kept for a person.
func (c *Notices) store(ctx context.Context, some []*executionv1.TaskNotice) error {
	var all []notify.Delivery
	for _, n := range some {
		ds, err := ofNotice(n)
		if err != nil { // what can be read of it is delivered all the same
			if err := c.keep(ctx, n, err); err != nil {
				return err
			}
		}
		all = append(all, ds...)
	}
	err := c.deliver(ctx, all)
	if err == nil || fault(err) != bus.Content {
		return err
	}
	for _, n := range some {
		ds, _ := ofNotice(n)
		err := c.deliver(ctx, ds)
		if err != nil && fault(err) == bus.Content {
			err = c.keep(ctx, n, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *Notices) keep(ctx context.Context, n *executionv1.TaskNotice, reason error) error {
	payload, err := proto.Marshal(&executionv1.TaskNotices{Notices: []*executionv1.TaskNotice{n}})
	if err != nil {
		return fmt.Errorf("encode notice %s: %w", n.GetId(), err)
	}
	c.Log.Error("notice is put into quarantine", "id", n.GetId(), "error", reason)
	return c.Quarantine(ctx, subjectNotice, payload, 0, reason.Error())
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
		At: m.GetTime().AsTime(), StartedAt: moment(m.GetStartedAt()), EndedAt: moment(m.GetEndedAt()),
	})
}
