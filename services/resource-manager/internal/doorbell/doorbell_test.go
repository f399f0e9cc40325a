package doorbell_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/formicary/formicary/libs/bus"
	"github.com/formicary/formicary/libs/testkit"
	"github.com/formicary/formicary/services/resource-manager/internal/doorbell"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// ants are alive.
type ants []string

func (a ants) Alive(context.Context) ([]string, error) { return a, nil }

func (a ants) CountAlive(context.Context) (int, error) { return len(a), nil }

// TestManyDoorbellsAreBoundedWork: a look at doorbells that are right costs one question, one that mends them a bounded
// number.
func TestManyDoorbellsAreBoundedWork(t *testing.T) {
	nc, js := testkit.NATS(t)
	var asked atomic.Int64
	sub, err := nc.Subscribe("$JS.API.>", func(*nats.Msg) { asked.Add(1) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sub.Unsubscribe() })
	const n = 700
	all := make(ants, n)
	for i := range all {
		all[i] = fmt.Sprintf("a%d", i)
	}
	k := doorbell.NewKeeper(js, all, testkit.Logger(t))
	look := func() (questions, doorbells int) {
		t.Helper()
		asked.Store(0)
		if err := k.Correct(t.Context()); err != nil {
			t.Fatal(err)
		}
		questions = int(asked.Load())
		s, err := js.Stream(t.Context(), bus.Tasks)
		if err != nil {
			t.Fatal(err)
		}
		return questions, s.CachedInfo().State.Consumers
	}
	for i, want := range []struct{ doorbells, most int }{{500, 1600}, {n, 700}, {n, 1}, {n, 1}} {
		if questions, doorbells := look(); doorbells != want.doorbells || questions > want.most {
			t.Errorf("look %d: %d doorbells by %d questions, want %d by at most %d", i, doorbells, questions, want.doorbells, want.most)
		}
	}
	s, err := js.Stream(t.Context(), bus.Tasks)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteConsumer(t.Context(), "ant-a7"); err != nil {
		t.Fatal(err)
	}
	if questions, doorbells := look(); doorbells != n || questions > 10 {
		t.Errorf("one was missing: %d doorbells by %d questions", doorbells, questions)
	}
	if err := js.DeleteStream(t.Context(), bus.Tasks); err != nil {
		t.Fatal(err)
	}
	if _, doorbells := look(); doorbells != 500 {
		t.Errorf("the stream was lost: %d doorbells after one look", doorbells)
	}
}

// TestADoorbellWithoutAnAntEnds: the server removes it when nobody listens, also one that an older version made.
func TestADoorbellWithoutAnAntEnds(t *testing.T) {
	_, js := testkit.NATS(t)
	s, err := js.Stream(t.Context(), bus.Tasks)
	if err != nil {
		t.Fatal(err)
	}
	old := jetstream.ConsumerConfig{Durable: "ant-x", FilterSubject: "formicary.task.x", AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: -1, MaxAckPending: -1}
	if _, err := s.CreateConsumer(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	if err := doorbell.NewKeeper(js, ants{"a"}, testkit.Logger(t)).Correct(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ant-a", "ant-x"} {
		c, err := s.Consumer(t.Context(), name)
		if err != nil || c.CachedInfo().Config.InactiveThreshold <= 0 {
			t.Errorf("%s: %v, it stays for ever", name, err)
		}
	}
}
