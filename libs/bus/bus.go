// Package bus is the colony's use of NATS: which streams exist, how they are kept right and how batches are consumed.
//
// Everything in the bus can be made again from PostgreSQL. So streams and consumers are level-triggered: whoever finds
// them missing or different makes them right, and a consumer whose stream was lost starts over.
package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/formicary/formicary/libs/run"
)

// The streams.
const (
	Tasks   = "TASKS"   // formicary.task.<ant_id>: doorbells
	Results = "RESULTS" // formicary.result.<shard>: results on their way
	Events  = "EVENTS"  // formicary.event.>: domain events
	Logs    = "LOGS"    // formicary.log.<uid>: the live tail of logs
)

// Connect opens a connection that never gives up and keeps nothing while it is away: what matters is sent again from
// the database.
func Connect(url, name string, opts ...nats.Option) (*nats.Conn, error) {
	opts = append([]nats.Option{
		nats.Name(name), nats.MaxReconnects(-1), nats.ReconnectWait(100 * time.Millisecond), nats.ReconnectJitter(50*time.Millisecond, 50*time.Millisecond),
		nats.RetryOnFailedConnect(true), nats.ReconnectBufSize(-1), nats.PingInterval(5 * time.Second), nats.MaxPingsOutstanding(2),
	}, opts...)
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	return nc, nil
}

// JetStream returns the stream interface of nc with bounded waits.
func JetStream(nc *nats.Conn) (jetstream.JetStream, error) {
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(5*time.Second), jetstream.WithPublishAsyncMaxPending(4096), jetstream.WithPublishAsyncTimeout(5*time.Second))
	if err != nil {
		return nil, fmt.Errorf("open JetStream: %w", err)
	}
	return js, nil
}

const (
	mib        = 1 << 20
	eventsKept = time.Hour
	// Doorbells are rung again every few seconds while their attempts wait, at most for half a minute: older ones tell
	// of nothing. One ant that does not listen may hold 1 MiB of the stream.
	bellsKept     = 2 * time.Minute
	bellsPerAnt   = 1024
	dedupWindow   = 2 * time.Minute
	provisionTime = 20 * time.Second
)

// streams are the wanted settings. Work queues refuse new messages when full and never drop old ones. They are kept in
// memory: a queue that runs empty costs the file store a new file each time, and what a restart of the server loses is
// rung again by supervisor or sent again by the ant within seconds.
func streams() []jetstream.StreamConfig {
	return []jetstream.StreamConfig{
		{Name: Tasks, Subjects: []string{"formicary.task.*"}, Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew, Storage: jetstream.MemoryStorage, MaxBytes: 32 * mib, MaxMsgSize: 1024, MaxAge: bellsKept, MaxMsgsPerSubject: bellsPerAnt, DiscardNewPerSubject: true, Duplicates: dedupWindow},
		{Name: Results, Subjects: []string{"formicary.result.*"}, Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew, Storage: jetstream.MemoryStorage, MaxBytes: 64 * mib, Duplicates: dedupWindow},
		{Name: Events, Subjects: []string{"formicary.event.>"}, Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld, MaxAge: eventsKept, MaxBytes: 64 * mib, Duplicates: dedupWindow},
		{Name: Logs, Subjects: []string{"formicary.log.*"}, Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld, MaxAge: eventsKept, MaxBytes: 256 * mib, MaxMsgsPerSubject: 4096, NoAck: true},
	}
}

// Provision makes the streams that are missing and corrects the settings of those that differ.
func Provision(ctx context.Context, js jetstream.JetStream) error {
	ctx, cancel := context.WithTimeout(ctx, provisionTime)
	defer cancel()
	for _, want := range streams() {
		err := put(ctx, js, want)
		if err != nil && fixed(ctx, js, want) {
			if err = js.DeleteStream(ctx, want.Name); err == nil || errors.Is(err, jetstream.ErrStreamNotFound) {
				err = put(ctx, js, want)
			}
		}
		if err != nil {
			return fmt.Errorf("provision stream %s: %w", want.Name, err)
		}
	}
	return nil
}

// put makes a stream or corrects its settings. An update, even one that changes nothing, races in the server with
// consumers that are made meanwhile, so there is none where nothing differs.
func put(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig) error {
	s, err := js.Stream(ctx, want.Name)
	if err == nil && same(s.CachedInfo().Config, want) {
		return nil
	}
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		// creating what somebody else has just created with the same settings succeeds
		if _, err = js.CreateStream(ctx, want); !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return err
		}
	}
	_, err = js.UpdateStream(ctx, want)
	return err
}

// same says that a stream has the wanted settings. The server shows limits that are not set as -1, and fills in a window
// of duplicates.
func same(have, want jetstream.StreamConfig) bool {
	return slices.Equal(have.Subjects, want.Subjects) && have.Retention == want.Retention && have.Discard == want.Discard &&
		have.Storage == want.Storage && have.MaxBytes == want.MaxBytes && have.MaxAge == want.MaxAge &&
		(want.Duplicates == 0 || have.Duplicates == want.Duplicates) && have.NoAck == want.NoAck &&
		max(have.MaxMsgSize, 0) == want.MaxMsgSize && max(have.MaxMsgsPerSubject, 0) == want.MaxMsgsPerSubject &&
		have.DiscardNewPerSubject == want.DiscardNewPerSubject
}

// fixed says that the stream, as another version made it, differs in what the server never changes. What is in it can
// be made again.
func fixed(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig) bool {
	s, err := js.Stream(ctx, want.Name)
	if err != nil {
		return false
	}
	have := s.CachedInfo().Config
	return have.Storage != want.Storage || have.Retention != want.Retention
}

// KeepProvisioned calls Provision every five minutes until ctx ends.
func KeepProvisioned(ctx context.Context, log *slog.Logger, js jetstream.JetStream) error {
	return run.Loop(ctx, log, "streams", 5*time.Minute, run.NewSignal(), func(ctx context.Context) error {
		return Provision(ctx, js)
	})
}

// EnsureConsumer makes or corrects a durable consumer. One that has seen more than its stream holds belongs to a
// stream that was lost: it would acknowledge new messages without delivering them, so it is made again.
func EnsureConsumer(ctx context.Context, js jetstream.JetStream, stream string, conf jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	s, err := js.Stream(ctx, stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if err = Provision(ctx, js); err == nil {
			s, err = js.Stream(ctx, stream)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("find stream %s: %w", stream, err)
	}
	c, err := s.CreateOrUpdateConsumer(ctx, conf)
	if err != nil {
		return nil, fmt.Errorf("make consumer %s of %s: %w", conf.Durable, stream, err)
	}
	info, err := s.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("read stream %s: %w", stream, err)
	}
	if c.CachedInfo().Delivered.Stream <= info.State.LastSeq {
		return c, nil
	}
	if err := s.DeleteConsumer(ctx, conf.Durable); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil, fmt.Errorf("remove stale consumer %s of %s: %w", conf.Durable, stream, err)
	}
	if c, err = s.CreateOrUpdateConsumer(ctx, conf); err != nil {
		return nil, fmt.Errorf("make consumer %s of %s again: %w", conf.Durable, stream, err)
	}
	return c, nil
}
