// Package hosts asks ants over the bus what runs on their hosts.
package hosts

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
)

const subject = "formicary.executors."

// Hosts of ants.
type Hosts struct{ nc *nats.Conn }

// New returns the hosts of the ants at nc.
func New(nc *nats.Conn) *Hosts { return &Hosts{nc} }

// Ask calls all the ants at once and returns their reports, in the same order, when all have answered or ctx ends. One that
// does not answer has a report with a fault.
func (h *Hosts) Ask(ctx context.Context, ants []string, call *antv1.ExecutorCall) ([]*antv1.ExecutorReport, error) {
	payload, err := proto.Marshal(call)
	if err != nil {
		return nil, fmt.Errorf("encode call: %w", err)
	}
	inbox := h.nc.NewInbox() + "."
	answers, err := h.nc.SubscribeSync(inbox + "*")
	if err != nil {
		return nil, fmt.Errorf("ask ants: %w", err)
	}
	defer func() { _ = answers.Unsubscribe() }()
	reports := make([]*antv1.ExecutorReport, len(ants))
	for i, id := range ants {
		reports[i] = &antv1.ExecutorReport{Fault: "it does not answer"}
		if err := h.nc.PublishRequest(subject+id, inbox+strconv.Itoa(i), payload); err != nil {
			return nil, fmt.Errorf("ask ant %s: %w", id, err)
		}
	}
	for range ants {
		m, err := answers.NextMsgWithContext(ctx)
		if errors.Is(err, nats.ErrNoResponders) {
			continue
		}
		if err != nil {
			break // the others do not answer
		}
		i, err := strconv.Atoi(strings.TrimPrefix(m.Subject, inbox))
		if err != nil || i < 0 || i >= len(ants) {
			continue
		}
		r := &antv1.ExecutorReport{}
		if err := proto.Unmarshal(m.Data, r); err != nil {
			r = &antv1.ExecutorReport{Fault: "its answer cannot be read: " + err.Error()}
		}
		reports[i] = r
	}
	return reports, nil
}
