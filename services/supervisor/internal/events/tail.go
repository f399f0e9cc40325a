package events

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/formicary/formicary/libs/bus"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
)

// Chunk is a piece of a log on its way.
type Chunk struct {
	Offset  int64
	Line    int64 // how many lines ended before it
	Data    []byte
	Records bool // data is records: libs/logfile
	End     bool // the last one
}

// Tail reads logs from the bus while their attempts run.
type Tail struct{ JS jetstream.JetStream }

const (
	tailKept   = 30 * time.Second // the bus forgets the reader that long after it went away
	tailExpiry = 5 * time.Second
)

// Read sends the chunks of an attempt's log to out, from the first that the bus still has. It returns when the reader
// fails or ctx ends; without follow also when everything that was there at the beginning is sent.
func (t *Tail) Read(ctx context.Context, uid uuid.UUID, follow bool, out chan<- Chunk) error {
	cons, err := t.JS.CreateConsumer(ctx, bus.Logs, jetstream.ConsumerConfig{
		FilterSubject: "formicary.log." + uid.String(), AckPolicy: jetstream.AckNonePolicy, DeliverPolicy: jetstream.DeliverAllPolicy,
		InactiveThreshold: tailKept, MemoryStorage: true,
	})
	if err != nil {
		return fmt.Errorf("read log of attempt %s: %w", uid, err)
	}
	left := cons.CachedInfo().NumPending
	if left == 0 && !follow {
		return nil
	}
	msgs, err := cons.Messages(jetstream.PullExpiry(tailExpiry), jetstream.PullHeartbeat(tailExpiry/2))
	if err != nil {
		return fmt.Errorf("read log of attempt %s: %w", uid, err)
	}
	defer msgs.Stop()
	for {
		m, err := msgs.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("read log of attempt %s: %w", uid, err)
		}
		var c antv1.LogChunk
		if err := proto.Unmarshal(m.Data(), &c); err == nil {
			select {
			case out <- Chunk{c.GetOffset(), c.GetLine(), c.GetData(), c.GetFormat() == antv1.LogFormat_LOG_FORMAT_RECORDS, c.GetEnd()}:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if left--; left == 0 && !follow {
			return nil
		}
	}
}
