// Package doorbell keeps the consumers through which ants hear that an attempt waits for them: one durable consumer
// per ant on the stream TASKS. Ants only bind to theirs, so what a lost stream took is made again here.
package doorbell

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/formicary/formicary/libs/bus"
)

const (
	prefix  = "ant-"
	ackWait = 30 * time.Second
	// idleFor is how long a doorbell that no ant listens to is kept. The server removes it then: so nobody here has to
	// decide that an ant is gone, while it may be registering.
	idleFor = 20 * time.Minute
	// correctEvery is how often all doorbells are looked at; otherwise they are only counted.
	correctEvery = 5 * time.Minute
	// perRound bounds the doorbells that one look makes or corrects. A look asks the server for their names in pages of
	// 256.
	perRound = 500
)

func subject(antID string) string { return "formicary.task." + antID }

// config of an ant's consumer. What waits for an acknowledgement is bounded by the ant's slots.
func config(antID string) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable: prefix + antID, FilterSubject: subject(antID), AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: ackWait, MaxDeliver: -1, MaxAckPending: -1, InactiveThreshold: idleFor,
	}
}

// same says that a consumer has the wanted settings.
func same(have jetstream.ConsumerConfig, antID string) bool {
	want := config(antID)
	return have.FilterSubject == want.FilterSubject && have.AckPolicy == want.AckPolicy && have.AckWait == want.AckWait &&
		have.MaxDeliver == want.MaxDeliver && have.MaxAckPending == want.MaxAckPending && have.InactiveThreshold == want.InactiveThreshold
}

// Ants tells of the ants that are not OFFLINE.
type Ants interface {
	Alive(ctx context.Context) ([]string, error)
	CountAlive(ctx context.Context) (int, error)
}

// Keeper keeps the consumers.
type Keeper struct {
	js   jetstream.JetStream
	ants Ants
	log  *slog.Logger

	corrected time.Time // when all were right
	stream    time.Time // when the stream was made that they belong to
}

// NewKeeper returns a keeper.
func NewKeeper(js jetstream.JetStream, ants Ants, log *slog.Logger) *Keeper {
	return &Keeper{js: js, ants: ants, log: log}
}

// Ensure makes or corrects the consumer of an ant.
func (k *Keeper) Ensure(ctx context.Context, antID string) error {
	if _, err := bus.EnsureConsumer(ctx, k.js, bus.Tasks, config(antID)); err != nil {
		return fmt.Errorf("doorbell of ant %s: %w", antID, err)
	}
	return nil
}

// Correct makes the consumers that are missing and corrects those that differ. It counts them only, unless some are
// missing, the stream is another one, or five minutes have passed: an ant that finds its own gone registers again.
func (k *Keeper) Correct(ctx context.Context) error {
	stream, err := k.js.Stream(ctx, bus.Tasks)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if err = bus.Provision(ctx, k.js); err == nil {
			stream, err = k.js.Stream(ctx, bus.Tasks)
		}
	}
	if err != nil {
		return fmt.Errorf("find stream %s: %w", bus.Tasks, err)
	}
	info := stream.CachedInfo()
	alive, err := k.ants.CountAlive(ctx)
	if err != nil {
		return err
	}
	if info.Created.Equal(k.stream) && info.State.Consumers >= alive && time.Since(k.corrected) < correctEvery {
		return nil
	}
	k.corrected = time.Time{} // until all are right
	wrong, err := k.wrong(ctx, stream)
	if err != nil {
		return err
	}
	var failed error // one bad ant does not keep the others from being served
	for _, id := range wrong[:min(len(wrong), perRound)] {
		failed = errors.Join(failed, k.Ensure(ctx, id))
	}
	if failed == nil && len(wrong) <= perRound {
		k.corrected, k.stream = time.Now(), info.Created
	}
	return failed
}

// wrong returns the ants whose consumer is missing or differs, and those of consumers that differ and belong to nobody:
// they get what ends them.
func (k *Keeper) wrong(ctx context.Context, stream jetstream.Stream) ([]string, error) {
	alive, err := k.ants.Alive(ctx)
	if err != nil {
		return nil, err
	}
	right := map[string]bool{}
	var wrong []string
	list := stream.ListConsumers(ctx)
	for c := range list.Info() {
		id, ours := strings.CutPrefix(c.Name, prefix)
		switch {
		case !ours:
		case same(c.Config, id) && c.Delivered.Stream <= stream.CachedInfo().State.LastSeq:
			right[id] = true
		default:
			wrong = append(wrong, id)
			right[id] = true // in the list already
		}
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("list consumers of %s: %w", bus.Tasks, err)
	}
	for _, id := range alive {
		if !right[id] {
			wrong = append(wrong, id)
		}
	}
	return wrong, nil
}
