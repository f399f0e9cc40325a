package bus_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/formicary/formicary/libs/bus"
	"github.com/formicary/formicary/libs/testkit"
)

// message is one that the bus has delivered, with what became of it.
type message struct {
	jetstream.Msg
	id        uint64
	delivered uint64
	acked     bool
	again     time.Time // when it comes again
}

func (m *message) Metadata() (*jetstream.MsgMetadata, error) {
	return &jetstream.MsgMetadata{Stream: "S", Sequence: jetstream.SequencePair{Stream: m.id}, NumDelivered: m.delivered}, nil
}

func (m *message) Nak() error { return m.NakWithDelay(0) }

func (m *message) NakWithDelay(d time.Duration) error {
	m.again = time.Now().Add(d)
	return nil
}

var (
	errContent = errors.New("content")
	errOpaque  = errors.New("opaque")
	errSlow    = errors.New("slow")
	errAway    = errors.New("away")
)

// bench plays the bus for a careful handler.
type bench struct {
	*bus.Careful[*message]
	msgs    []*message
	calls   int
	counted map[string]int
	buried  []uint64
}

// newBench hands n messages to fail, which says how a batch goes.
func newBench(t *testing.T, n int, fail func(batch []uint64) error) *bench {
	b := &bench{counted: map[string]int{}}
	for i := range n {
		b.msgs = append(b.msgs, &message{id: uint64(i + 1)})
	}
	b.Careful = &bus.Careful[*message]{
		Log: testkit.Logger(t), Kind: "k",
		Handle: func(_ context.Context, items []bus.Item[*message]) error {
			b.calls++
			ids := make([]uint64, len(items))
			for i, it := range items {
				ids[i] = it.Value.id
			}
			if err := fail(ids); err != nil {
				return err
			}
			for _, it := range items {
				it.Value.acked = true
			}
			return nil
		},
		Fault: func(err error) bus.Fault {
			switch {
			case errors.Is(err, errOpaque):
				return bus.Opaque
			case errors.Is(err, errSlow):
				return bus.Slow
			case errors.Is(err, errAway):
				return bus.Away
			}
			return bus.Content
		},
		Failed: func(_ context.Context, _, key, _ string) (int, error) {
			b.counted[key]++
			return b.counted[key], nil
		},
		GiveUp: func(_ context.Context, it bus.Item[*message], _ error) {
			it.Value.acked = true
			b.buried = append(b.buried, it.Value.id)
		},
	}
	return b
}

// round delivers what is due.
func (b *bench) round(t *testing.T) (left int) {
	t.Helper()
	var items []bus.Item[*message]
	for _, m := range b.msgs {
		if !m.acked {
			left++
			if !m.again.After(time.Now()) {
				m.delivered++
				items = append(items, bus.Item[*message]{Msg: m, Value: m})
			}
		}
	}
	if err := b.Do(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	return left
}

// rounds delivers for a time.
func (b *bench) rounds(t *testing.T, d time.Duration) {
	t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end) && b.round(t) > 0; {
		time.Sleep(100 * time.Millisecond)
	}
}

func (b *bench) open() (ids []uint64) {
	for _, m := range b.msgs {
		if !m.acked {
			ids = append(ids, m.id)
		}
	}
	return ids
}

func TestABadMessageIsGivenUpAlone(t *testing.T) {
	for _, kind := range []error{errContent, errOpaque} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, 100, func(ids []uint64) error {
				if slices.Contains(ids, 42) {
					return kind
				}
				return nil
			})
			b.round(t)
			if open := b.open(); !slices.Equal(open, []uint64{42}) || len(b.counted) != 1 {
				t.Errorf("%v are open, %v counted", open, b.counted)
			}
			if b.calls > 20 {
				t.Errorf("%d calls for one bad message of 100", b.calls)
			}
			b.msgs = append(b.msgs, &message{id: 101})
			for range 20 { // others keep coming, so it is seen that it is this one's fault
				b.msgs = append(b.msgs, &message{id: uint64(len(b.msgs) + 1)})
				b.rounds(t, time.Second)
			}
			if !slices.Equal(b.buried, []uint64{42}) || len(b.open()) > 0 {
				t.Errorf("%v are buried, %v open", b.buried, b.open())
			}
		})
	}
}

// TestNoMessageIsAtFault: what is slow, away or fails everywhere comes again, however often, and is never counted.
func TestNoMessageIsAtFault(t *testing.T) {
	for _, kind := range []error{errOpaque, errSlow, errAway} {
		synctest.Test(t, func(t *testing.T) {
			broken := true
			b := newBench(t, 50, func([]uint64) error {
				if broken {
					return kind
				}
				return nil
			})
			b.rounds(t, 10*time.Minute)
			if len(b.open()) != 50 || len(b.counted) > 0 || len(b.buried) > 0 {
				t.Errorf("%s: %d are open, %v counted, %v buried", kind, len(b.open()), b.counted, b.buried)
			}
			if b.calls > 50*60 {
				t.Errorf("%s: %d calls in ten minutes: there is no patience", kind, b.calls)
			}
			broken = false
			b.rounds(t, 2*time.Minute)
			if len(b.open()) > 0 {
				t.Errorf("%s: %v are open when all is well again", kind, b.open())
			}
		})
	}
}

// TestSlowBatchesBecomeSmaller: each call that is too slow takes its whole time, so a batch must not start at its full size
// each time.
func TestSlowBatchesBecomeSmaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 256, func(ids []uint64) error {
			if len(ids) > 4 || slices.Contains(ids, 7) {
				time.Sleep(20 * time.Second)
				return errSlow
			}
			return nil
		})
		began := time.Now()
		b.rounds(t, 3*time.Minute)
		if open := b.open(); !slices.Equal(open, []uint64{7}) {
			t.Errorf("%v are open after %s", open, time.Since(began))
		}
		if len(b.counted) > 0 {
			t.Errorf("%v are counted", b.counted)
		}
	})
}

// TestWhatIsAwayIsNotTriedAgainAtOnce, neither in halves nor for the rest of the batch.
func TestWhatIsAwayIsNotTriedAgainAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 100, func([]uint64) error { return errAway })
		b.round(t)
		if b.calls != 1 {
			t.Errorf("%d calls", b.calls)
		}
	})
}
