package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/formicary/formicary/libs/run"
)

// Consumption says what to consume and how.
type Consumption struct {
	// Stream and Consumer name the source; the consumer is made or corrected first. Bind leaves it to somebody else
	// to make: then it is only looked up by its durable name.
	Stream   string
	Consumer jetstream.ConsumerConfig
	Bind     bool
	// Max is the largest batch; 0 means 256.
	Max int
	// Handle gets everything that has piled up, at least one message. It acknowledges what it settled; what it leaves
	// comes again after the consumer's AckWait. An error or panic hands the whole batch back after a second.
	Handle func(context.Context, []jetstream.Msg) error
	// Missing, if set, is called when a bound consumer or its stream does not exist.
	Missing func(context.Context)
	// Listening, if set, is called with nil when messages would be heard from now on, and with the reason when they would
	// not.
	Listening func(error)
}

const (
	retryPause   = 500 * time.Millisecond
	heartbeat    = 2 * time.Second
	pullExpiry   = 10 * time.Second
	handBackWait = time.Second
	maxRest      = 5 * time.Millisecond
)

// Consume handles batches until ctx ends. A pull is always outstanding, so a message that finds the consumer idle is
// handled at once. Loss of the connection, the consumer or the stream is survived.
func Consume(ctx context.Context, log *slog.Logger, js jetstream.JetStream, c Consumption) error {
	if c.Max <= 0 {
		c.Max = 256
	}
	if c.Consumer.AckPolicy == jetstream.AckExplicitPolicy && c.Consumer.MaxDeliver == 0 {
		c.Consumer.MaxDeliver = -1
	}
	for ctx.Err() == nil {
		err := run.Safely(ctx, func(ctx context.Context) error { return consumeOnce(ctx, log, js, c) })
		if ctx.Err() != nil {
			break
		}
		if c.Listening != nil {
			c.Listening(err)
		}
		log.Warn("consumer starts over", "stream", c.Stream, "consumer", c.Consumer.Durable, "error", err)
		if c.Bind && c.Missing != nil {
			c.Missing(ctx)
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryPause):
		}
	}
	return nil //nolint:nilerr // the end of ctx is no error
}

var errLost = errors.New("the connection to NATS is lost")

// consumeOnce consumes until something is wrong with the source.
func consumeOnce(ctx context.Context, log *slog.Logger, js jetstream.JetStream, c Consumption) error {
	// While the connection is lost the library waits in silence: nobody would hear that nothing is heard.
	conn := js.Conn()
	lost := conn.StatusChanged(nats.RECONNECTING)
	defer conn.RemoveStatusListener(lost)
	cons, err := source(ctx, js, c)
	if err != nil {
		return err
	}
	broken := make(chan error, 1)
	msgs := make(chan jetstream.Msg, 2*c.Max)
	stopped := make(chan struct{})
	feed, err := cons.Consume(func(m jetstream.Msg) {
		select {
		case msgs <- m:
		case <-stopped:
			_ = m.Nak()
		}
	},
		jetstream.PullMaxMessages(2*c.Max), jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(heartbeat),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			select {
			case broken <- err:
			default:
			}
		}))
	if err != nil {
		return fmt.Errorf("consume %s: %w", c.Stream, err)
	}
	defer func() {
		close(stopped)
		feed.Stop()
		<-feed.Closed()
		for _, m := range drain(msgs, nil, cap(msgs)) {
			_ = m.Nak()
		}
	}()
	if c.Listening != nil {
		c.Listening(nil)
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-broken:
			return err
		case <-lost:
			return errLost
		case <-feed.Closed():
			return fmt.Errorf("consumer of %s was closed", c.Stream)
		case first := <-msgs:
			batch := drain(msgs, []jetstream.Msg{first}, c.Max)
			began := time.Now()
			handle(ctx, log, c, batch)
			if len(batch) > 1 {
				gather(ctx, min(time.Since(began), maxRest))
			}
		}
	}
}

// gather rests after a batch of several messages, about as long as it took: under load what comes meanwhile makes the
// next batch larger and so the cost of each message smaller. A lone message never waits.
func gather(ctx context.Context, d time.Duration) {
	rest := time.NewTimer(d)
	defer rest.Stop()
	select {
	case <-rest.C:
	case <-ctx.Done():
	}
}

func source(ctx context.Context, js jetstream.JetStream, c Consumption) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, provisionTime)
	defer cancel()
	if c.Bind {
		cons, err := js.Consumer(ctx, c.Stream, c.Consumer.Durable)
		if err != nil {
			return nil, fmt.Errorf("find consumer %s of %s: %w", c.Consumer.Durable, c.Stream, err)
		}
		return cons, nil
	}
	return EnsureConsumer(ctx, js, c.Stream, c.Consumer)
}

// drain appends what is buffered, up to a total of limit.
func drain(msgs <-chan jetstream.Msg, batch []jetstream.Msg, limit int) []jetstream.Msg {
	for len(batch) < limit {
		select {
		case m := <-msgs:
			batch = append(batch, m)
		default:
			return batch
		}
	}
	return batch
}

func handle(ctx context.Context, log *slog.Logger, c Consumption, batch []jetstream.Msg) {
	err := run.Safely(ctx, func(ctx context.Context) error { return c.Handle(ctx, batch) })
	if err == nil {
		return
	}
	if ctx.Err() == nil {
		log.Error("batch failed", "stream", c.Stream, "consumer", c.Consumer.Durable, "messages", len(batch), "error", err)
	}
	for _, m := range batch {
		_ = m.NakWithDelay(handBackWait) // one that was settled already only says so
	}
}

// Ack acknowledges every message of the batch.
func Ack(batch []jetstream.Msg) {
	for _, m := range batch {
		_ = m.Ack() // lost acknowledgements bring the message again, and receivers are idempotent
	}
}
