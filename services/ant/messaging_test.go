package ant_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/formicary/formicary/libs/testkit"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	"github.com/formicary/formicary/services/ant/internal/wire"
	worker "github.com/formicary/formicary/services/ant/workers/go"
)

func vars(t *testing.T, m map[string]any) *structpb.Struct {
	t.Helper()
	s, err := structpb.NewStruct(m)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sendTo is work for a queue.
func sendTo(queue, reply string) *antv1.Work {
	w := remote("MESSAGING")
	w.Spec.MessagingRequestQueue, w.Spec.MessagingReplyQueue = queue, reply
	return w
}

// queue is a worker by hand.
type queue struct {
	t    *testing.T
	nc   *nats.Conn
	sub  *nats.Subscription
	stop *nats.Subscription
}

func (c *colony) queue(t *testing.T, subject string) *queue {
	t.Helper()
	sub, err := c.nc.SubscribeSync(subject)
	if err != nil {
		t.Fatal(err)
	}
	stop, err := c.nc.SubscribeSync(subject + ".cancel")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sub.Unsubscribe(); _ = stop.Unsubscribe() })
	return &queue{t, c.nc, sub, stop}
}

func (q *queue) next(sub *nats.Subscription, want wire.Type) *wire.Message {
	q.t.Helper()
	msg, err := sub.NextMsg(10 * time.Second)
	if err != nil {
		q.t.Fatalf("want %s: %v", want, err)
	}
	m, err := wire.Decode(msg.Data)
	if err != nil || m.Type != want {
		q.t.Fatalf("want %s: %s, %v", want, msg.Data, err)
	}
	return m
}

func (q *queue) say(subject string, m *wire.Message) {
	q.t.Helper()
	data, err := wire.Encode(m)
	if err == nil {
		err = q.nc.Publish(subject, data)
	}
	if err != nil {
		q.t.Fatal(err)
	}
}

// probe is the name of a task that only asks whether a worker is there.
const probe = "probe"

// listens waits until a worker answers. A task that nobody listens for is sent again only after 10 s.
func (c *colony) listens(t *testing.T, queue string) {
	t.Helper()
	inbox := nats.NewInbox()
	sub, err := c.nc.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	data, err := wire.Encode(&wire.Message{Type: wire.TypeTask, UID: inbox, ReplyTo: inbox, Task: &wire.Task{Name: probe}})
	if err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 30*time.Second, "a worker listens", func() bool {
		if err := c.nc.Publish(queue, data); err != nil {
			t.Fatal(err)
		}
		_, err := sub.NextMsg(50 * time.Millisecond)
		return err == nil
	})
}

func TestWorkerOverNATS(t *testing.T) {
	t.Parallel()
	for _, reply := range []string{"", "greetings.done"} {
		t.Run("reply queue "+reply, func(t *testing.T) {
			c := newColony(t)
			c.start(c.config())
			for i := range 2 {
				c.goWorker(worker.Config{ID: fmt.Sprint("w-", i), URL: c.natsURL, Queue: "greetings", Handler: greet})
			}
			c.listens(t, "greetings")
			c.greetings(t, func(w *antv1.Work) string {
				w.Spec.MessagingRequestQueue, w.Spec.MessagingReplyQueue = "greetings", reply
				return c.dispatch(w)
			}, "MESSAGING")
		})
	}
}

func TestManyMessages(t *testing.T) {
	t.Parallel()
	c := newColony(t)
	c.start(c.config())
	var handled atomic.Int32
	for i := range 2 {
		c.goWorker(worker.Config{ID: fmt.Sprint("w-", i), URL: c.natsURL, Queue: "many", Slots: 200, Handler: func(_ context.Context, t worker.Task) (worker.Result, error) {
			if t.Name != probe {
				handled.Add(1)
			}
			return worker.Result{}, nil
		}})
	}
	c.listens(t, "many")
	var uids []string
	for range 200 {
		uids = append(uids, c.dispatch(sendTo("many", "")))
	}
	for _, uid := range uids {
		same3(t, c.result(uid), "SUCCEEDED", "", "")
	}
	if n := handled.Load(); n != 200 {
		t.Errorf("%d handled", n)
	}
	c.settled()
}

func TestStrangersChangeNothing(t *testing.T) {
	t.Parallel()
	c := newColony(t)
	c.start(c.config())
	q := c.queue(t, "orders")
	uid := c.dispatch(sendTo("orders", "orders.done"))
	other := c.dispatch(sendTo("orders", ""))
	task, second := q.next(q.sub, wire.TypeTask), q.next(q.sub, wire.TypeTask)
	if task.UID == other {
		task, second = second, task
	}
	same(t, "task", fmt.Sprint(task.UID, task.ReplyTo), uid+"orders.done")
	same(t, "own subject", strings.HasPrefix(second.ReplyTo, "_INBOX."), true)
	q.say(task.ReplyTo, &wire.Message{Type: wire.TypeAccept, UID: uid, Worker: "a"})
	done := &wire.Message{Type: wire.TypeReply, UID: uid, Worker: "b", Status: wire.Failed}
	q.say(task.ReplyTo, done) // another worker
	same(t, "cancel", q.stopOf("b", task, uid), uid)
	done.Worker = "a"
	q.say(second.ReplyTo, done) // the subject of another attempt
	done.UID = "00000000-0000-4000-8000-000000000000"
	q.say(task.ReplyTo, done) // an attempt of nobody
	for _, text := range []string{"", "nonsense", `{"v":3}`, `{"v":1,"type":"reply"}`} {
		if err := c.nc.Publish(task.ReplyTo, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	q.say(task.ReplyTo, &wire.Message{
		Type: wire.TypeReply, UID: uid, Worker: "a", Status: wire.Completed, ExitCode: 3, Outputs: map[string]json.RawMessage{"k": json.RawMessage(`"v"`)},
	})
	r := c.result(uid)
	same3(t, r, "SUCCEEDED", "", "")
	same(t, "code and outputs", fmt.Sprint(r.GetExitCode(), r.GetOutputs()), "3 map[k:v]")
	q.say(second.ReplyTo, &wire.Message{Type: wire.TypeReply, UID: other, Status: wire.Completed})
	same3(t, c.result(other), "SUCCEEDED", "", "")
}

// stopOf lets a second worker accept and returns what it is told to stop.
func (q *queue) stopOf(worker string, task *wire.Message, uid string) string {
	q.t.Helper()
	q.say(task.ReplyTo, &wire.Message{Type: wire.TypeAccept, UID: uid, Worker: worker})
	m := q.next(q.stop, wire.TypeCancel)
	same(q.t, "worker", m.Worker, worker)
	return m.UID
}

// A worker that was slow to take a task must not do what another one has done meanwhile.
func TestLateWorkersAreTold(t *testing.T) {
	t.Parallel()
	c := newColony(t)
	c.start(c.config())
	q := c.queue(t, "late")
	uid := c.dispatch(sendTo("late", ""))
	task := q.next(q.sub, wire.TypeTask)
	q.say(task.ReplyTo, &wire.Message{Type: wire.TypeReply, UID: uid, Worker: "a", Status: wire.Completed})
	same3(t, c.result(uid), "SUCCEEDED", "", "")
	for _, typ := range []wire.Type{wire.TypeAccept, wire.TypeHeartbeat} {
		q.say(task.ReplyTo, &wire.Message{Type: typ, UID: uid, Worker: "b"})
		m := q.next(q.stop, wire.TypeCancel)
		same(t, "cancel", m.UID+m.Worker, uid+"b")
	}
}

func TestStopIsTold(t *testing.T) {
	t.Parallel()
	c := newColony(t)
	c.start(c.config())
	q := c.queue(t, "slow")
	w := sendTo("slow", "")
	w.Timeout, w.Grace = durationpb.New(200*time.Millisecond), durationpb.New(300*time.Millisecond)
	uid := c.dispatch(w)
	task := q.next(q.sub, wire.TypeTask)
	q.say(task.ReplyTo, &wire.Message{Type: wire.TypeAccept, UID: uid, Worker: "a"})
	m := q.next(q.stop, wire.TypeCancel)
	same(t, "cancel", fmt.Sprint(m.UID, m.Worker, m.GraceSeconds), uid+"a0.3")
	same3(t, c.result(uid), "TIMED_OUT", "timeout", "timed out after 200ms")
}

func TestCancelEndsTheHandler(t *testing.T) {
	t.Parallel()
	c := newColony(t)
	c.start(c.config())
	ended := make(chan error, 1)
	c.goWorker(worker.Config{ID: "w", URL: c.natsURL, Queue: "slow", Handler: func(ctx context.Context, t worker.Task) (worker.Result, error) {
		if t.Name == probe {
			return worker.Result{}, nil
		}
		<-ctx.Done()
		ended <- ctx.Err()
		return worker.Result{}, ctx.Err()
	}})
	c.listens(t, "slow")
	w := sendTo("slow", "")
	w.Timeout = durationpb.New(500 * time.Millisecond)
	uid := c.dispatch(w)
	if err := <-ended; err == nil {
		t.Error("ended by itself")
	}
	same3(t, c.result(uid), "TIMED_OUT", "timeout", "timed out")
}

func TestRestartedAntStopsItsWorkers(t *testing.T) {
	t.Parallel()
	c := newColony(t)
	conf := c.config()
	conf.DrainTimeout = 0
	r := c.start(conf)
	q := c.queue(t, "slow")
	uid := c.dispatch(sendTo("slow", ""))
	q.next(q.sub, wire.TypeTask)
	c.isRunning(uid)
	r.end()
	if err := r.wait(t); err != nil {
		t.Fatal(err)
	}
	same(t, "cancel", q.next(q.stop, wire.TypeCancel).UID, uid)
	same3(t, c.result(uid), "LOST", "infra", "shut down")
}

func TestForbiddenSubjects(t *testing.T) {
	t.Parallel()
	c := newColony(t)
	c.start(c.config())
	for _, w := range []*antv1.Work{
		sendTo("", ""), sendTo("formicary.result.0", ""), sendTo("$SYS.REQ.ACCOUNT.PING", ""), sendTo("_INBOX.x", ""), sendTo("a.*", ""),
		sendTo("ok", "formicary.result.0"), sendTo("ok", "$JS.API"), sendTo("ok", "_INBOX.y"), sendTo("ok", "x.>"), sendTo("ok", "ok"),
	} {
		same3(t, c.result(c.dispatch(w)), "FAILED", "rejected", "messaging_")
	}
}

func TestOperatorsDrain(t *testing.T) {
	t.Parallel()
	c := newColony(t)
	c.start(c.config())
	uid := c.dispatch(script("sleep 0.3"))
	c.isRunning(uid)
	c.do(func() { c.drain, c.beats = true, nil })
	c.result(uid) // what runs may end
	c.heartbeats(2)
	next := c.dispatch(script("true"))
	c.heartbeats(3)
	c.do(func() { same(t, "begun while draining", len(c.results[next]), 0) })
	c.do(func() { c.drain = false })
	same(t, "outcome", c.result(next).GetOutcome(), antv1.Result_SUCCEEDED)
}

// heartbeats waits for n more.
func (c *colony) heartbeats(n int) {
	c.t.Helper()
	var from int
	c.do(func() { from = len(c.beats) })
	testkit.Eventually(c.t, 10*time.Second, "heartbeats", c.is(func() bool { return len(c.beats) >= from+n }))
}
