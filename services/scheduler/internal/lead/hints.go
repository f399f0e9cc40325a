package lead

import (
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/formicary/formicary/libs/run"
)

// Hints wake the leader. They are plain NATS messages: a lost one costs the time until the next sweep, and many are
// one wake-up.
type Hints struct {
	submitted run.Signal // something became pending
	freed     run.Signal // a gate may have opened
	ants      run.Signal // the fleet changed
}

// NewHints returns hints that nothing sets yet.
func NewHints() *Hints {
	return &Hints{submitted: run.NewSignal(), freed: run.NewSignal(), ants: run.NewSignal()}
}

// Listen subscribes on nc and returns how to end that.
func (h *Hints) Listen(nc *nats.Conn) (stop func(), err error) {
	var subs []*nats.Subscription
	stop = func() {
		for _, s := range subs {
			_ = s.Unsubscribe() // fails only when the connection is closed, which ends it too
		}
	}
	for subject, signal := range map[string]run.Signal{
		"formicary.event.job.submitted":     h.submitted,
		"formicary.event.job.changed":       h.freed,
		"formicary.event.execution.changed": h.freed,
		"formicary.live.ant":                h.ants,
	} {
		sub, err := nc.Subscribe(subject, func(*nats.Msg) { signal.Set() })
		if err != nil {
			stop()
			return nil, fmt.Errorf("subscribe to %s: %w", subject, err)
		}
		subs = append(subs, sub)
	}
	return stop, nil
}
