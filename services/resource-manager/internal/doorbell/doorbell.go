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
	"github.com/formicary/formicary/services/resource-manager/internal/ant"
)

const (
	prefix  = "ant-"
	ackWait = 30 * time.Second
	// correctEvery is how often also consumers that exist are corrected.
	correctEvery = 5 * time.Minute
)

func subject(antID string) string { return "formicary.task." + antID }

// config of an ant's consumer. What waits for an acknowledgement is bounded by the ant's slots.
func config(antID string) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable: prefix + antID, FilterSubject: subject(antID), AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: ackWait, MaxDeliver: -1, MaxAckPending: -1,
	}
}

// States tells of the ants that exist.
type States interface {
	States(ctx context.Context) (map[string]ant.State, error)
}

// Keeper keeps the consumers.
type Keeper struct {
	js     jetstream.JetStream
	states States
	log    *slog.Logger

	corrected time.Time           // when all were
	orphans   map[string]struct{} // consumers without an ant at the last look
}

// NewKeeper returns a keeper.
func NewKeeper(js jetstream.JetStream, states States, log *slog.Logger) *Keeper {
	return &Keeper{js: js, states: states, log: log}
}

// Ensure makes or corrects the consumer of an ant.
func (k *Keeper) Ensure(ctx context.Context, antID string) error {
	if _, err := bus.EnsureConsumer(ctx, k.js, bus.Tasks, config(antID)); err != nil {
		return fmt.Errorf("doorbell of ant %s: %w", antID, err)
	}
	return nil
}

// Remove deletes the consumer of an ant and what waits for it.
func (k *Keeper) Remove(ctx context.Context, antID string) error {
	stream, err := k.js.Stream(ctx, bus.Tasks)
	if err == nil {
		err = stream.DeleteConsumer(ctx, prefix+antID)
	}
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("remove doorbell of ant %s: %w", antID, err)
	}
	if err := stream.Purge(ctx, jetstream.WithPurgeSubject(subject(antID))); err != nil {
		return fmt.Errorf("purge doorbells of ant %s: %w", antID, err)
	}
	return nil
}

// Correct makes the consumers that are missing and removes those that have had no ant at two looks; every five
// minutes it corrects the others too. It looks at names only otherwise: one question for the whole stream.
func (k *Keeper) Correct(ctx context.Context) error {
	states, err := k.states.States(ctx)
	if err != nil {
		return err
	}
	names, err := k.names(ctx)
	if err != nil {
		return err
	}
	all := time.Since(k.corrected) >= correctEvery
	var failed error // one bad ant does not keep the others from being served
	for id, state := range states {
		if _, exists := names[id]; exists && !all || state == ant.Offline {
			continue
		}
		failed = errors.Join(failed, k.Ensure(ctx, id))
	}
	if all && failed == nil {
		k.corrected = time.Now()
	}
	return errors.Join(failed, k.removeOrphans(ctx, names, states))
}

// names returns the ants that have a consumer. A stream that is missing is made, without any.
func (k *Keeper) names(ctx context.Context) (map[string]struct{}, error) {
	stream, err := k.js.Stream(ctx, bus.Tasks)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, bus.Provision(ctx, k.js)
	}
	if err != nil {
		return nil, fmt.Errorf("find stream %s: %w", bus.Tasks, err)
	}
	names := map[string]struct{}{}
	list := stream.ConsumerNames(ctx)
	for name := range list.Name() {
		if id, ok := strings.CutPrefix(name, prefix); ok {
			names[id] = struct{}{}
		}
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("list consumers of %s: %w", bus.Tasks, err)
	}
	return names, nil
}

// removeOrphans removes consumers without an ant. Register makes the consumer before the ant's row, so one look is not
// enough.
func (k *Keeper) removeOrphans(ctx context.Context, names map[string]struct{}, states map[string]ant.State) error {
	seen := map[string]struct{}{}
	var failed error
	for id := range names {
		if _, known := states[id]; known {
			continue
		}
		if _, before := k.orphans[id]; !before {
			seen[id] = struct{}{}
			continue
		}
		k.log.Info("doorbell without an ant is removed", "ant", id)
		failed = errors.Join(failed, k.Remove(ctx, id))
	}
	k.orphans = seen
	return failed
}
