package ant_test

import (
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/formicary/formicary/libs/bus"
	"github.com/formicary/formicary/libs/bus/embedded"
	"github.com/formicary/formicary/libs/testkit"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	"github.com/formicary/formicary/services/ant"
)

// startBus starts a NATS server of the ant alone.
func startBus(t *testing.T, dir string, port int) *embedded.Server {
	t.Helper()
	s, err := embedded.Start(embedded.Options{StoreDir: dir, Host: "127.0.0.1", Port: port})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestAntThatDoorbellsDoNotReachSaysSo: while doorbells do not reach the ant its beats say why, and the first one after
// says that they do can again.
func TestAntThatDoorbellsDoNotReachSaysSo(t *testing.T) {
	c := newColony(t)
	dir := t.TempDir()
	server := startBus(t, dir, -1)
	t.Cleanup(func() { server.Stop() })
	_, p, err := net.SplitHostPort(strings.TrimPrefix(server.URL(), "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(p)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := bus.Connect(server.URL(), "ant")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := bus.JetStream(nc)
	if err != nil {
		t.Fatal(err)
	}
	listen := func() {
		t.Helper()
		testkit.Eventually(t, 20*time.Second, "the doorbell is made", func() bool {
			_, err := bus.EnsureConsumer(t.Context(), js, bus.Tasks, jetstream.ConsumerConfig{Durable: "ant-" + antID, FilterSubject: "formicary.task." + antID, AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: -1})
			return err == nil
		})
	}
	listen()
	deps := c.deps()
	deps.NATS, deps.JS = nc, js
	service, err := ant.New(c.config(), deps)
	if err != nil {
		t.Fatal(err)
	}
	testkit.Run(t, service.Run)
	last := func() (b *antv1.HeartbeatRequest) {
		c.do(func() {
			if len(c.beats) > 0 {
				b = c.beats[len(c.beats)-1]
			}
		})
		return b
	}
	testkit.Eventually(t, 10*time.Second, "a beat", func() bool { return last() != nil && last().GetGeneration() > 0 })
	if why := last().GetUnreachable(); why != "" {
		t.Errorf("deaf at the start: %s", why)
	}
	server.Stop()
	testkit.Eventually(t, 60*time.Second, "it says that it is deaf", func() bool { return last().GetUnreachable() != "" })
	t.Logf("it says: %s", last().GetUnreachable())
	server = startBus(t, dir, port)
	listen()
	testkit.Eventually(t, 60*time.Second, "it hears again", func() bool { return last().GetUnreachable() == "" })
}

// TestClaimsThatFailTogetherAreMadeApart: an answer that is too large, or one attempt that cannot be answered, keeps no
// other attempt from being claimed.
func TestClaimsThatFailTogetherAreMadeApart(t *testing.T) {
	c := newColony(t)
	const bells, each = 40, 5
	c.do(func() { c.claimMost, c.poison = 50, uuid.NewString() })
	for i := range bells {
		bell := &antv1.Doorbell{}
		for range each {
			bell.Uids = append(bell.Uids, uuid.NewString())
		}
		if i == bells/2 {
			bell.Uids[0] = c.poison
		}
		data, err := proto.Marshal(bell)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.js.Publish(t.Context(), "formicary.task."+antID, data); err != nil {
			t.Fatal(err)
		}
	}
	c.start(c.config())
	testkit.Eventually(t, 20*time.Second, "all but those of one bell are claimed", c.is(func() bool { return len(c.claims) == (bells-1)*each }))
	con, err := c.js.Consumer(t.Context(), bus.Tasks, "ant-"+antID)
	if err != nil {
		t.Fatal(err)
	}
	if n := con.CachedInfo().Delivered.Consumer; n >= 2*bells { // the one bell comes again and again
		t.Errorf("%d deliveries of %d doorbells: some waited for the one that fails", n, bells)
	}
}

// TestManyDoorbellsAreClaimedInCallsThatAreTaken: no call names more attempts than supervisor takes.
func TestManyDoorbellsAreClaimedInCallsThatAreTaken(t *testing.T) {
	c := newColony(t)
	const bells, each = 48, 25
	for range bells {
		bell := &antv1.Doorbell{}
		for range each {
			bell.Uids = append(bell.Uids, uuid.NewString())
		}
		data, err := proto.Marshal(bell)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.js.Publish(t.Context(), "formicary.task."+antID, data); err != nil {
			t.Fatal(err)
		}
	}
	c.start(c.config())
	testkit.Eventually(t, 20*time.Second, "all are claimed", c.is(func() bool { return len(c.claims) >= bells*each }))
	con, err := c.js.Consumer(t.Context(), bus.Tasks, "ant-"+antID)
	if err != nil {
		t.Fatal(err)
	}
	if n := con.CachedInfo().Delivered.Consumer; n != bells {
		t.Errorf("%d deliveries of %d doorbells: some calls were refused", n, bells)
	}
	testkit.Eventually(t, 10*time.Second, "a beat tells that doorbells were heard", c.is(func() bool {
		return len(c.beats) > 0 && c.beats[len(c.beats)-1].GetHeard() > 0
	}))
}

// TestAWorkThatIsNotReadyKeepsNoOther: an attempt whose work cannot be handed out yet is asked for again, and what stands
// beside it in the same call begins at once.
func TestAWorkThatIsNotReadyKeepsNoOther(t *testing.T) {
	c := newColony(t)
	slow, quick := uuid.NewString(), uuid.NewString()
	c.do(func() {
		c.postpone = map[string]int{slow: 2}
		for _, uid := range []string{slow, quick} {
			w := script("true")
			w.Uid = uid
			c.works[uid] = w
		}
	})
	data, err := proto.Marshal(&antv1.Doorbell{Uids: []string{slow, quick}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.js.Publish(t.Context(), "formicary.task."+antID, data); err != nil {
		t.Fatal(err)
	}
	c.start(c.config())
	if r := c.result(quick); r.GetOutcome() != antv1.Result_SUCCEEDED {
		t.Errorf("%v", r)
	}
	c.do(func() {
		if len(c.results[slow]) > 0 {
			t.Error("the other waited for it")
		}
	})
	if r := c.result(slow); r.GetOutcome() != antv1.Result_SUCCEEDED {
		t.Errorf("%v", r)
	}
}
