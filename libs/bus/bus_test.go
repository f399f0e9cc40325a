package bus_test

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/formicary/formicary/libs/bus"
	"github.com/formicary/formicary/libs/bus/embedded"
	"github.com/formicary/formicary/libs/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// seen collects payloads.
type seen struct {
	mu  sync.Mutex
	got map[string]int
}

func (s *seen) handle(_ context.Context, batch []jetstream.Msg) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range batch {
		s.got[string(m.Data())]++
	}
	bus.Ack(batch)
	return nil
}

func (s *seen) has(payload string) func() bool {
	return func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.got[payload] > 0
	}
}

var consumer = jetstream.ConsumerConfig{Durable: "c", AckPolicy: jetstream.AckExplicitPolicy, AckWait: 5 * time.Second}

func TestConsumerSurvivesTheLossOfItsStream(t *testing.T) {
	_, js := testkit.NATS(t)
	s := &seen{got: map[string]int{}}
	testkit.Run(t, func(ctx context.Context) error {
		return bus.Consume(ctx, testkit.Logger(t), js, bus.Consumption{Stream: bus.Results, Consumer: consumer, Handle: s.handle})
	})
	for i := range 100 {
		if _, err := js.Publish(t.Context(), "formicary.result.0", fmt.Appendf(nil, "before-%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Eventually(t, 10*time.Second, "messages before", s.has("before-99"))
	if err := js.DeleteStream(t.Context(), bus.Results); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 20*time.Second, "a message after", func() bool {
		_, err := js.Publish(t.Context(), "formicary.result.0", []byte("after"))
		return err == nil && s.has("after")()
	})
}

func TestStaleConsumerIsMadeAgain(t *testing.T) {
	dir := t.TempDir()
	srv, err := embedded.Start(embedded.Options{StoreDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Stop()
	nc, err := srv.Connect("t")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := bus.JetStream(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := bus.Provision(t.Context(), js); err != nil {
		t.Fatal(err)
	}
	if _, err := bus.EnsureConsumer(t.Context(), js, bus.Results, consumer); err != nil {
		t.Fatal(err)
	}
	if _, err := bus.EnsureConsumer(t.Context(), js, bus.Results, consumer); err != nil {
		t.Fatalf("a second time: %v", err)
	}
}

func TestAFailedBatchComesAgain(t *testing.T) {
	_, js := testkit.NATS(t)
	s := &seen{got: map[string]int{}}
	failed := false
	testkit.Run(t, func(ctx context.Context) error {
		return bus.Consume(ctx, testkit.Logger(t), js, bus.Consumption{Stream: bus.Results, Consumer: consumer, Handle: func(ctx context.Context, b []jetstream.Msg) error {
			if !failed {
				failed = true
				panic("poison")
			}
			return s.handle(ctx, b)
		}})
	})
	if _, err := js.Publish(t.Context(), "formicary.result.0", []byte("x")); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 10*time.Second, "the message comes again", s.has("x"))
}

// TestAStreamOfAnotherStorageIsMadeAgain: the server never changes the storage of a stream.
func TestAStreamOfAnotherStorageIsMadeAgain(t *testing.T) {
	_, js := testkit.NATS(t)
	if err := js.DeleteStream(t.Context(), bus.Tasks); err != nil {
		t.Fatal(err)
	}
	old := jetstream.StreamConfig{Name: bus.Tasks, Subjects: []string{"formicary.task.*"}, Retention: jetstream.WorkQueuePolicy, Storage: jetstream.FileStorage}
	if _, err := js.CreateStream(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	if err := bus.Provision(t.Context(), js); err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), bus.Tasks)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.CachedInfo().Config.Storage; got != jetstream.MemoryStorage {
		t.Errorf("storage %s", got)
	}
}

// TestOneUnreachableAntDoesNotFillTheDoorbells: what nobody takes is bounded for each ant, also in a stream that another
// version made and that holds more.
func TestOneUnreachableAntDoesNotFillTheDoorbells(t *testing.T) {
	_, js := testkit.NATS(t)
	if err := js.DeleteStream(t.Context(), bus.Tasks); err != nil {
		t.Fatal(err)
	}
	const before = 2000
	s, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: bus.Tasks, Subjects: []string{"formicary.task.*"}, Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew,
		Storage: jetstream.MemoryStorage, MaxBytes: 16 << 20, MaxMsgSize: 1024, Duplicates: 2 * time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	for range before {
		if _, err := js.PublishAsync("formicary.task.idle", []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(20 * time.Second):
		t.Fatal("the doorbells were not published")
	}
	if err := bus.Provision(t.Context(), js); err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := info.State.Msgs; n == 0 || n > 1024 {
		t.Errorf("%d doorbells of one ant are kept, want at most 1024", n)
	}
	if info.Config.MaxAge != 2*time.Minute {
		t.Errorf("doorbells are kept for %s", info.Config.MaxAge)
	}
	for i := range 1100 {
		_, err = js.Publish(t.Context(), "formicary.task.idle", []byte("x"))
		if err != nil && i < 10 {
			t.Logf("refused after %d more: %v", i, err)
		}
	}
	if err == nil {
		t.Error("the ant that pulls nothing has no bound")
	}
	if _, err := js.Publish(t.Context(), "formicary.task.other", []byte("x")); err != nil {
		t.Errorf("a doorbell of another ant is refused: %v", err)
	}
}

// TestProvisionLeavesWhatIsRight: an update of a stream races in the server with the making of consumers.
func TestProvisionLeavesWhatIsRight(t *testing.T) {
	nc, js := testkit.NATS(t)
	updates, err := nc.SubscribeSync("$JS.EVENT.ADVISORY.STREAM.UPDATED.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := bus.Provision(t.Context(), js); err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), bus.Logs)
	if err != nil {
		t.Fatal(err)
	}
	wrong := s.CachedInfo().Config
	wrong.MaxAge = 3 * time.Minute
	if _, err := js.UpdateStream(t.Context(), wrong); err != nil {
		t.Fatal(err)
	}
	if err := bus.Provision(t.Context(), js); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if s, err = js.Stream(t.Context(), bus.Logs); err != nil || s.CachedInfo().Config.MaxAge == 3*time.Minute {
		t.Errorf("the settings were not corrected: %v", err)
	}
	testkit.Eventually(t, 10*time.Second, "the two updates are told", func() bool {
		n, _, err := updates.Pending()
		return err == nil && n >= 2
	})
	if n, _, _ := updates.Pending(); n != 2 {
		t.Errorf("%d updates, want that of the test and the correction", n)
	}
}

// TestARestartOfTheServerHeals: queues in memory are gone with it; consumers make them again and go on.
func TestARestartOfTheServerHeals(t *testing.T) {
	dir := t.TempDir()
	srv, err := embedded.Start(embedded.Options{StoreDir: dir, Host: "127.0.0.1", Port: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Stop() })
	url := srv.URL()
	_, port, err := net.SplitHostPort(strings.TrimPrefix(url, "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	nc, err := bus.Connect(url, "t")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := bus.JetStream(nc)
	if err != nil {
		t.Fatal(err)
	}
	s := &seen{got: map[string]int{}}
	testkit.Run(t, func(ctx context.Context) error {
		return bus.Consume(ctx, testkit.Logger(t), js, bus.Consumption{Stream: bus.Results, Consumer: consumer, Handle: s.handle})
	})
	testkit.Eventually(t, 10*time.Second, "a message before", func() bool {
		_, err := js.Publish(t.Context(), "formicary.result.0", []byte("before"))
		return err == nil && s.has("before")()
	})
	srv.Stop()
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	if srv, err = embedded.Start(embedded.Options{StoreDir: dir, Host: "127.0.0.1", Port: n}); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	testkit.Eventually(t, 10*time.Second, "a message after", func() bool {
		_, err := js.Publish(t.Context(), "formicary.result.0", []byte("after"))
		return err == nil && s.has("after")()
	})
	t.Logf("flowing %s after the server was back", time.Since(back))
}
