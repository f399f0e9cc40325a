package bus

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/formicary/formicary/libs/run"
)

// Fault says what the error of a batch tells of its messages.
type Fault int

// The faults.
const (
	// Content: some message of the batch is at fault.
	Content Fault = iota
	// Opaque: something broke elsewhere, and it was not told what. A message is at fault when it fails alone while others
	// of its batch do not.
	Opaque
	// Slow: it took too long. Fewer messages at once may work; no message is at fault.
	Slow
	// Away: something that all messages need is away; no message is at fault.
	Away
)

// Item is a message that could be read.
type Item[T any] struct {
	Msg   jetstream.Msg
	Value T
}

// Careful handles messages of one kind so that none keeps the others from being handled: a batch that fails is tried in
// halves. A message is given up only after it has failed alone, by its own fault, several times; that is recorded, since
// how often the bus has delivered it says nothing: slowness, restarts and what is away deliver it again, too.
type Careful[T any] struct {
	Log  *slog.Logger
	Kind string
	// Handle applies items and settles their messages, or fails as a whole and settles none.
	Handle func(context.Context, []Item[T]) error
	Fault  func(error) Fault
	// Failed records a failure and returns how often the message has failed.
	Failed func(ctx context.Context, kind, key, reason string) (int, error)
	// GiveUp settles a message that can never be handled.
	GiveUp func(context.Context, Item[T], error)

	// limit is how many are handled at once, 0 for all: fewer after a batch that was too slow, more with every one that was
	// not, but for a while not as many as were too slow.
	limit, tooMany int
	slowAt         time.Time
	// workedAt is when something was handled last, failedAt when what failed without a reason did so.
	workedAt time.Time
	failedAt map[string]time.Time
}

const (
	maxFailures = 5
	batchMax    = 1024 // from here on there is no limit
	// roundTime ends a round: what it did not get to comes again at once. It stays below the wait for acknowledgements.
	roundTime   = 15 * time.Second
	shrink      = 8
	firstPause  = 500 * time.Millisecond // after a recorded failure; it doubles
	awayPause   = time.Second
	longestWait = time.Minute
	slowKept    = time.Minute      // how long the size is avoided that was too slow
	failedKept  = 10 * time.Minute // longer than any pause
)

// Do handles what has piled up. It is not called twice at a time.
func (c *Careful[T]) Do(ctx context.Context, items []Item[T]) error {
	now := time.Now()
	r := &round[T]{Careful: c, began: now, until: now.Add(roundTime)}
	for len(items) > 0 && ctx.Err() == nil {
		n := len(items)
		if c.limit > 0 {
			n = min(n, c.limit)
		}
		r.do(ctx, items[:n])
		items = items[n:]
	}
	r.judge(ctx)
	return ctx.Err()
}

// round is one call of Do.
type round[T any] struct {
	*Careful[T]
	began time.Time
	until time.Time
	// away ends the round: nothing more is tried.
	away bool
	// opaque are messages that failed alone: what became of the others tells whose fault it was.
	opaque []failure[T]
}

type failure[T any] struct {
	item Item[T]
	err  error
}

func (r *round[T]) do(ctx context.Context, items []Item[T]) {
	if r.away || time.Now().After(r.until) {
		for _, it := range items {
			_ = it.Msg.Nak()
		}
		return
	}
	err := run.Safely(ctx, func(ctx context.Context) error { return r.Handle(ctx, items) })
	if err == nil {
		r.workedAt = time.Now()
		r.grow()
		return
	}
	fault := r.Fault(err)
	switch {
	case ctx.Err() != nil:
		return // the messages come again when their time is over
	case fault == Away:
		r.away = true
		r.Log.Warn("batch is handed back: something is away", "kind", r.Kind, "messages", len(items), "error", err)
		for _, it := range items {
			_ = it.Msg.NakWithDelay(awayPause)
		}
	case len(items) == 1:
		r.alone(ctx, items[0], fault, err)
	default:
		r.Log.Warn("batch failed, its halves are tried", "kind", r.Kind, "messages", len(items), "error", err)
		if fault != Content {
			r.limit, r.tooMany, r.slowAt = max(len(items)/shrink, 1), len(items), time.Now()
		}
		half := len(items) / 2
		r.do(ctx, items[:half])
		r.do(ctx, items[half:])
	}
}

func (c *Careful[T]) grow() {
	next := 2 * c.limit // 0 stays: no limit
	switch {
	case next >= c.tooMany && time.Since(c.slowAt) < slowKept:
	case next >= batchMax:
		c.limit = 0
	default:
		c.limit = next
	}
}

// alone decides about a message that was tried by itself.
func (r *round[T]) alone(ctx context.Context, it Item[T], fault Fault, err error) {
	switch fault {
	case Content:
		r.count(ctx, it, err)
	case Opaque:
		r.opaque = append(r.opaque, failure[T]{it, err})
	case Slow, Away:
		r.wait(it, err)
	}
}

// judge decides about messages that failed without a reason. One is at fault when others were handled after it had failed
// before, or beside it.
func (r *round[T]) judge(ctx context.Context) {
	now := time.Now()
	for _, f := range r.opaque {
		key := MessageKey(f.item.Msg)
		since, again := r.failedAt[key]
		if !again {
			since = r.began
		}
		if r.failedAt == nil {
			r.failedAt = map[string]time.Time{}
		}
		r.failedAt[key] = now
		if !r.workedAt.Before(since) {
			r.count(ctx, f.item, f.err)
		} else {
			r.wait(f.item, f.err)
		}
	}
	maps.DeleteFunc(r.failedAt, func(_ string, at time.Time) bool { return now.Sub(at) > failedKept })
}

// wait lets a message come again that is not at fault, the later the more often it came.
func (r *round[T]) wait(it Item[T], err error) {
	pause := awayPause
	if meta, merr := it.Msg.Metadata(); merr == nil {
		pause = min(awayPause*time.Duration(meta.NumDelivered), longestWait) // #nosec G115 -- a count
	}
	r.Log.Warn("message comes again", "kind", r.Kind, "key", MessageKey(it.Msg), "pause", pause, "error", err)
	_ = it.Msg.NakWithDelay(pause)
}

// count records a failure. The message comes again, or is given up.
func (r *round[T]) count(ctx context.Context, it Item[T], err error) {
	n, rerr := r.Failed(ctx, r.Kind, MessageKey(it.Msg), err.Error())
	switch {
	case rerr != nil:
		r.wait(it, fmt.Errorf("%w; it was not recorded: %w", err, rerr))
	case n >= maxFailures:
		r.GiveUp(ctx, it, err)
	default:
		r.Log.Warn("message failed", "kind", r.Kind, "key", MessageKey(it.Msg), "failures", n, "error", err)
		_ = it.Msg.NakWithDelay(min(firstPause<<(n-1), longestWait))
	}
}

// MessageKey names a message: the same for each of its deliveries, and for no other, also after the stream was lost.
func MessageKey(m jetstream.Msg) string {
	meta, err := m.Metadata()
	if err != nil {
		return m.Subject()
	}
	return fmt.Sprintf("%s/%d/%d", meta.Stream, meta.Sequence.Stream, meta.Timestamp.UnixNano())
}
