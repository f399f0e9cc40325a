package ant_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/formicary/formicary/libs/testkit"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	"github.com/formicary/formicary/services/ant"
	"github.com/formicary/formicary/services/ant/internal/wire"
	worker "github.com/formicary/formicary/services/ant/workers/go"
)

// bridge starts one and returns its URL.
func (c *colony) bridge(change func(*ant.BridgeConfig)) (url, dir string) {
	c.t.Helper()
	conf := ant.DefaultBridgeConfig()
	short := c.config()
	conf.Dir = short.Dir
	conf.Beat, conf.FenceAfter, conf.ResendAfter, conf.UploadPatience, conf.DrainTimeout = short.Beat, short.FenceAfter, short.ResendAfter, short.UploadPatience, short.DrainTimeout
	if change != nil {
		change(&conf)
	}
	b, err := ant.NewBridge(conf, c.deps())
	if err != nil {
		c.t.Fatal(err)
	}
	server := httptest.NewServer(b.Handler())
	c.t.Cleanup(server.Close)
	testkit.Run(c.t, b.Run)
	return "ws" + strings.TrimPrefix(server.URL, "http"), conf.Dir
}

// registered waits until an ant is known to the colony.
func (c *colony) registered(id string) *antv1.RegisterRequest {
	c.t.Helper()
	var r *antv1.RegisterRequest
	testkit.Eventually(c.t, 10*time.Second, id+" is registered", c.is(func() bool { r = c.ants[id]; return r != nil }))
	return r
}

func (c *colony) forgotten(id string) {
	c.t.Helper()
	testkit.Eventually(c.t, 10*time.Second, id+" has left", c.is(func() bool { return c.ants[id] == nil }))
}

// socket is a worker by hand.
type socket struct {
	t  *testing.T
	ws *websocket.Conn
}

func dial(t *testing.T, url string) *socket {
	t.Helper()
	ws, _, err := websocket.Dial(t.Context(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ws.CloseNow() })
	return &socket{t, ws}
}

func (s *socket) say(m *wire.Message) {
	s.t.Helper()
	data, err := wire.Encode(m)
	if err == nil {
		err = s.ws.Write(s.t.Context(), websocket.MessageText, data)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *socket) hear(want wire.Type) *wire.Message {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	defer cancel()
	_, data, err := s.ws.Read(ctx)
	if err != nil {
		s.t.Fatalf("want %s: %v", want, err)
	}
	m, err := wire.Decode(data)
	if err != nil || m.Type != want {
		s.t.Fatalf("want %s: %s, %v", want, data, err)
	}
	return m
}

// closed waits for the end of the connection.
func (s *socket) closed() websocket.CloseError {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	for {
		if _, _, err := s.ws.Read(ctx); err != nil {
			ended, _ := errors.AsType[websocket.CloseError](err)
			if ended.Code == 0 {
				s.t.Errorf("closed by %v", err)
			}
			return ended
		}
	}
}

// enter registers a worker by hand.
func enter(t *testing.T, url string, m *wire.Message) (*socket, *wire.Message) {
	t.Helper()
	s := dial(t, url)
	m.Type = wire.TypeRegister
	s.say(m)
	return s, s.hear(wire.TypeRegistered)
}

func remote(method string) *antv1.Work {
	w := script("a line")
	w.Spec.Method = method
	return w
}

func same3(t *testing.T, r *antv1.Result, outcome, class, message string) {
	t.Helper()
	same(t, "outcome", r.GetOutcome().String()+" "+r.GetFailureClass(), outcome+" "+class)
	if !strings.Contains(r.GetMessage(), message) {
		t.Errorf("message %q lacks %q", r.GetMessage(), message)
	}
}

// greet is a handler that uses everything.
func greet(_ context.Context, t worker.Task) (worker.Result, error) {
	t.Log("hello %s, password hunter2-hunter2", t.Environment["FORMICARY_TASK"])
	if t.Variables["fail"] != nil {
		return worker.Result{Outputs: map[string]any{"seen": true}}, &worker.Failure{ExitCode: 4, Code: "ERR_GREET", Message: "no"}
	}
	return worker.Result{ExitCode: 0, Outputs: map[string]any{"n": 42, "s": "x"}, Value: map[string]any{"key": t.IdempotencyKey}}, nil
}

func (c *colony) goWorker(conf worker.Config) {
	c.t.Helper()
	conf.Log = testkit.Logger(c.t)
	testkit.Run(c.t, func(ctx context.Context) error { return worker.Run(ctx, conf) })
}

func TestWorkerOverWebSocket(t *testing.T) {
	t.Parallel()
	c := newColony(t)
	url, _ := c.bridge(func(b *ant.BridgeConfig) { b.Token = "secret" })
	c.goWorker(worker.Config{ID: "w-1", URL: url, Tags: []string{"render", "a"}, Slots: 3, Token: "secret", Handler: greet})
	r := c.registered("w-1")
	same(t, "registration", fmt.Sprint(r.GetMethods(), r.GetTags(), r.GetSlots()), "[WEBSOCKET] [a render] 3")
	c.greetings(t, func(w *antv1.Work) string { return c.dispatchTo("w-1", w) }, "WEBSOCKET")
}

// greetings runs one task that succeeds and one that fails.
func (c *colony) greetings(t *testing.T, dispatch func(*antv1.Work) string, method string) {
	t.Helper()
	w := remote(method)
	w.Masks = []string{"hunter2-hunter2"}
	uid := dispatch(w)
	res := c.result(uid)
	same3(t, res, "SUCCEEDED", "", "")
	same(t, "outputs", res.GetOutputs(), map[string]string{"n": "42", "s": "x"})
	same(t, "body", res.GetBody(), `{"key":"key-1"}`)
	c.do(func() { same(t, "log", c.logs[res.GetLogKey()], "hello build, password ***\n") })
	w = remote(method)
	w.Spec.Variables = vars(t, map[string]any{"fail": true})
	res = c.result(dispatch(w))
	same3(t, res, "FAILED", "user", "ERR_GREET: no\nhello build")
	same(t, "code", res.GetExitCode(), 4)
	same(t, "outputs", res.GetOutputs(), map[string]string{"seen": "true"})
	c.settled()
}

func TestWorkerComesBackAndGoesOn(t *testing.T) {
	t.Parallel()
	c := newColony(t)
	url, _ := c.bridge(nil)
	s, hello := enter(t, url, &wire.Message{WorkerID: "w", Resume: []string{"old"}})
	same(t, "gone", hello.Gone, []string{"old"})
	c.registered("w")
	uid := c.dispatchTo("w", remote("WEBSOCKET"))
	task := s.hear(wire.TypeTask)
	same(t, "uid", task.UID, uid)
	same(t, "task", fmt.Sprint(task.Task.JobID, task.Task.Name, task.Task.Script), "job-1build[a line]")
	s.say(&wire.Message{Type: wire.TypeAccept, UID: uid})
	c.isRunning(uid)
	_ = s.ws.CloseNow()
	testkit.Eventually(t, 20*time.Second, "the method is unhealthy", c.is(func() bool {
		return len(c.beats) > 0 && slices.Equal(c.beats[len(c.beats)-1].GetUnhealthyMethods(), []string{"WEBSOCKET"})
	}))
	s, hello = enter(t, url, &wire.Message{WorkerID: "w", Resume: []string{uid, "old"}})
	same(t, "resumed", fmt.Sprint(hello.Resumed, hello.Gone), fmt.Sprintf("[%s] [old]", uid))
	s.say(&wire.Message{Type: wire.TypeReply, UID: uid, Status: wire.Completed})
	same3(t, c.result(uid), "SUCCEEDED", "", "")
	c.do(func() { same(t, "sessions", len(c.sessions), 1) })
}

func TestWorkerComesBackWithoutTheAttempt(t *testing.T) {
	t.Parallel()
	c := newColony(t)
	url, _ := c.bridge(nil)
	s, _ := enter(t, url, &wire.Message{WorkerID: "w"})
	c.registered("w")
	uid := c.dispatchTo("w", remote("WEBSOCKET"))
	s.hear(wire.TypeTask)
	s.say(&wire.Message{Type: wire.TypeAccept, UID: uid})
	c.isRunning(uid)
	_ = s.ws.CloseNow()
	enter(t, url, &wire.Message{WorkerID: "w"})
	same3(t, c.result(uid), "LOST", "infra", "without the attempt")
}

func TestWorkerStaysAway(t *testing.T) {
	t.Parallel()
	c := newColony(t)
	url, dir := c.bridge(func(b *ant.BridgeConfig) { b.Away = 300 * time.Millisecond })
	s, _ := enter(t, url, &wire.Message{WorkerID: "w"})
	c.registered("w")
	uid := c.dispatchTo("w", remote("WEBSOCKET"))
	s.hear(wire.TypeTask)
	s.say(&wire.Message{Type: wire.TypeAccept, UID: uid})
	c.isRunning(uid)
	_ = s.ws.CloseNow()
	same3(t, c.result(uid), "LOST", "infra", "")
	c.forgotten("w")
	// It is welcome again, and the spool of its ant with it.
	s, hello := enter(t, url, &wire.Message{WorkerID: "w", Resume: []string{uid}})
	same(t, "gone", hello.Gone, []string{uid})
	c.registered("w")
	c.settled()
	_ = s.ws.Close(websocket.StatusNormalClosure, "")
	c.forgotten("w")
	testkit.Eventually(t, 20*time.Second, "its directory is removed", func() bool {
		_, err := os.Stat(filepath.Join(dir, "w"))
		return os.IsNotExist(err)
	})
}

func TestGoodbyeNeedsNoGrace(t *testing.T) {
	t.Parallel()
	c := newColony(t)
	url, _ := c.bridge(func(b *ant.BridgeConfig) { b.Away = time.Hour })
	s, _ := enter(t, url, &wire.Message{WorkerID: "w"})
	c.registered("w")
	_ = s.ws.Close(websocket.StatusNormalClosure, "")
	c.forgotten("w")
}

func TestSecondConnectionSupersedes(t *testing.T) {
	t.Parallel()
	c := newColony(t)
	url, _ := c.bridge(nil)
	first, _ := enter(t, url, &wire.Message{WorkerID: "w"})
	c.registered("w")
	uid := c.dispatchTo("w", remote("WEBSOCKET"))
	first.hear(wire.TypeTask)
	first.say(&wire.Message{Type: wire.TypeAccept, UID: uid})
	c.isRunning(uid)
	second, _ := enter(t, url, &wire.Message{WorkerID: "w", Resume: []string{uid}})
	same(t, "code", first.closed().Code, websocket.StatusCode(4001))
	second.say(&wire.Message{Type: wire.TypeReply, UID: uid, Status: wire.Completed})
	same3(t, c.result(uid), "SUCCEEDED", "", "")
	third, _ := enter(t, url, &wire.Message{WorkerID: "w", Tags: []string{"other"}})
	same(t, "code", second.closed().Code, websocket.StatusCode(4001))
	testkit.Eventually(t, 20*time.Second, "it has registered anew", c.is(func() bool { return len(c.ants["w"].GetTags()) == 1 }))
	uid = c.dispatchTo("w", remote("WEBSOCKET"))
	same(t, "task", third.hear(wire.TypeTask).UID, uid)
	third.say(&wire.Message{Type: wire.TypeReply, UID: uid, Status: wire.Failed, ExitCode: 9})
	same(t, "code", c.result(uid).GetExitCode(), 9)
}

func TestAntOfAWorkerIsSuperseded(t *testing.T) {
	t.Parallel()
	c := newColony(t)
	url, _ := c.bridge(nil)
	s, _ := enter(t, url, &wire.Message{WorkerID: "w"})
	c.registered("w")
	c.do(func() { c.syncError = aborted("SESSION_SUPERSEDED") })
	same(t, "code", s.closed().Code, websocket.StatusCode(4001))
}

func TestCancelReachesTheWorker(t *testing.T) {
	t.Parallel()
	c := newColony(t)
	url, _ := c.bridge(nil)
	s, _ := enter(t, url, &wire.Message{WorkerID: "w", Slots: 2})
	c.registered("w")
	w := remote("WEBSOCKET")
	w.Timeout, w.Grace = durationpb.New(300*time.Millisecond), durationpb.New(5*time.Second)
	uid := c.dispatchTo("w", w)
	same(t, "timeout", s.hear(wire.TypeTask).Task.TimeoutSeconds, 0.3)
	s.say(&wire.Message{Type: wire.TypeAccept, UID: uid})
	m := s.hear(wire.TypeCancel)
	same(t, "cancel", fmt.Sprint(m.UID, m.GraceSeconds), uid+"5")
	s.say(&wire.Message{Type: wire.TypeReply, UID: uid, Status: wire.Failed, Message: "ended"})
	same3(t, c.result(uid), "TIMED_OUT", "timeout", "timed out after 300ms")
	// What the ant no longer knows is answered with a cancel.
	s.say(&wire.Message{Type: wire.TypeHeartbeat, UID: uid})
	same(t, "cancel", s.hear(wire.TypeCancel).UID, uid)
}

func TestSilentWorkerLosesTheAttempt(t *testing.T) {
	t.Parallel()
	c := newColony(t)
	url, _ := c.bridge(func(b *ant.BridgeConfig) { b.Silence, b.Accept = 300*time.Millisecond, 100*time.Millisecond })
	s, _ := enter(t, url, &wire.Message{WorkerID: "w"})
	c.registered("w")
	uid := c.dispatchTo("w", remote("WEBSOCKET"))
	s.hear(wire.TypeTask)
	s.hear(wire.TypeTask) // again
	s.say(&wire.Message{Type: wire.TypeAccept, UID: uid})
	same3(t, c.result(uid), "LOST", "infra", "said nothing")
}

func TestRefusedWorkers(t *testing.T) {
	t.Parallel()
	c := newColony(t)
	url, _ := c.bridge(func(b *ant.BridgeConfig) { b.Token, b.Reserved, b.MaxWorkers = "secret", []string{"ant-1"}, 1 })
	enter(t, url, &wire.Message{WorkerID: "first", Token: "secret"})
	for name, bad := range map[string]struct {
		text, want string
		code       websocket.StatusCode
	}{
		"token":    {`{"v":1,"type":"register","worker_id":"w","token":"guess"}`, "token", 4003},
		"id":       {`{"v":1,"type":"register","worker_id":"a/b","token":"secret"}`, "worker_id", 4003},
		"method":   {`{"v":1,"type":"register","worker_id":"w","methods":["SHELL"],"token":"secret"}`, "SHELL", 4003},
		"reserved": {`{"v":1,"type":"register","worker_id":"ant-1","token":"secret"}`, "that of an ant", 4003},
		"type":     {`{"v":1,"type":"accept"}`, "must be register", 4003},
		"version":  {`{"v":2,"type":"register"}`, "version 1", 4003},
		"no JSON":  {`hello`, "register of version 1", 4003},
		"too many": {`{"v":1,"type":"register","worker_id":"w","token":"secret"}`, "workers already", 1013},
	} {
		t.Run(name, func(t *testing.T) {
			s := dial(t, url)
			if err := s.ws.Write(t.Context(), websocket.MessageText, []byte(bad.text)); err != nil {
				t.Fatal(err)
			}
			if m := s.hear(wire.TypeError); !strings.Contains(m.Message, bad.want) {
				t.Errorf("message %q lacks %q", m.Message, bad.want)
			}
			same(t, "code", s.closed().Code, bad.code)
		})
	}
	err := worker.Run(t.Context(), worker.Config{ID: "w", URL: url, Token: "guess", Handler: greet})
	if err == nil || !strings.Contains(err.Error(), "sent away") {
		t.Errorf("worker ended with %v", err)
	}
}

func TestBadMessagesEndTheConnection(t *testing.T) {
	t.Parallel()
	c := newColony(t)
	url, _ := c.bridge(nil)
	for name, text := range map[string]string{"no JSON": "{", "too large": strings.Repeat(" ", wire.MaxMessage+1)} {
		s, _ := enter(t, url, &wire.Message{WorkerID: "w"})
		if err := s.ws.Write(t.Context(), websocket.MessageText, []byte(text)); err != nil {
			t.Fatal(err)
		}
		want := map[string]websocket.StatusCode{"no JSON": 1002, "too large": 1009}[name]
		same(t, name, s.closed().Code, want)
	}
}

func TestPagesOfOtherOriginsAreRefused(t *testing.T) {
	t.Parallel()
	c := newColony(t)
	url, _ := c.bridge(nil)
	_, res, err := websocket.Dial(t.Context(), url, &websocket.DialOptions{HTTPHeader: map[string][]string{"Origin": {"https://evil.example"}}})
	if err == nil || res == nil || res.StatusCode != 403 {
		t.Errorf("%v %v", res, err)
	}
}

// A worker that reads nothing is cut off; what it was to do is sent to its next connection.
func TestSlowReaderIsCutOff(t *testing.T) {
	t.Parallel()
	c := newColony(t)
	url, _ := c.bridge(func(b *ant.BridgeConfig) { b.Accept = 5 * time.Millisecond })
	s, _ := enter(t, url, &wire.Message{WorkerID: "w"})
	c.registered("w")
	w := remote("WEBSOCKET")
	w.Spec.Environment = map[string]string{"A": strings.Repeat("x", 900<<10)}
	uid := c.dispatchTo("w", w) // sent again and again
	testkit.Eventually(t, 30*time.Second, "it is cut off", c.is(func() bool {
		return len(c.beats) > 0 && len(c.beats[len(c.beats)-1].GetUnhealthyMethods()) == 1
	}))
	_ = s.ws.CloseNow()
	s, _ = enter(t, url, &wire.Message{WorkerID: "w"})
	s.ws.SetReadLimit(wire.MaxMessage)
	same(t, "task", s.hear(wire.TypeTask).UID, uid)
	s.say(&wire.Message{Type: wire.TypeReply, UID: uid, Status: wire.Completed})
	same3(t, c.result(uid), "SUCCEEDED", "", "")
}

func TestWorkerThatStopsGivesBack(t *testing.T) {
	t.Parallel()
	c := newColony(t)
	url, _ := c.bridge(nil)
	ctx, stop := context.WithCancel(t.Context())
	begun, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- worker.Run(ctx, worker.Config{ID: "w", URL: url, Handler: func(ctx context.Context, _ worker.Task) (worker.Result, error) {
			close(begun)
			<-ctx.Done()
			return worker.Result{}, ctx.Err()
		}})
	}()
	c.registered("w")
	uid := c.dispatchTo("w", remote("WEBSOCKET"))
	<-begun
	stop()
	same3(t, c.result(uid), "LOST", "infra", "gave the attempt back: the worker was stopped")
	if err := <-done; err != nil {
		t.Error(err)
	}
	c.forgotten("w")
}

// line is a connection to a bridge that can be cut.
type line struct {
	url string

	mu   sync.Mutex
	open []net.Conn
	dead map[net.Conn]bool // nothing comes out of these any more
}

func newLine(t *testing.T, url string) *line {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &line{url: "ws://" + lis.Addr().String()}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			in, err := lis.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", strings.TrimPrefix(url, "ws://"))
			if err != nil {
				_ = in.Close()
				continue
			}
			l.mu.Lock()
			l.open = append(l.open, in, out)
			l.mu.Unlock()
			for from, to := range map[net.Conn]net.Conn{in: out, out: in} {
				all.Go(func() {
					_, _ = io.Copy(writer(func(p []byte) (int, error) {
						if l.isDead(from) {
							return len(p), nil
						}
						return to.Write(p)
					}), from)
					if !l.isDead(from) {
						_ = to.Close()
					}
				})
			}
		}
	})
	t.Cleanup(func() {
		_ = lis.Close()
		l.cut()
		all.Wait()
	})
	return l
}

type writer func(p []byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// die swallows from now on what is said over the connections that are open: nobody hears of their end.
func (l *line) die() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = map[net.Conn]bool{}
	for _, c := range l.open {
		l.dead[c] = true
	}
}

func (l *line) isDead(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dead[c]
}

func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.open {
		_ = c.Close()
	}
	l.open = nil
}

// A line that is dead without a word is found by the worker also when it has nothing to do.
func TestWorkersNoticeADeadLine(t *testing.T) {
	t.Parallel()
	c := newColony(t)
	url, _ := c.bridge(func(b *ant.BridgeConfig) { b.Ping = time.Minute }) // the bridge does not notice
	toGo, toJS := newLine(t, url), newLine(t, url)
	c.goWorker(worker.Config{ID: "go", URL: toGo.url, Patience: 900 * time.Millisecond, Handler: func(context.Context, worker.Task) (worker.Result, error) {
		return worker.Result{}, nil
	}})
	c.jsWorker(t, []string{"WORKER_ID=js", "WORKER_PATIENCE=0.9"}, toJS.url)
	for id, line := range map[string]*line{"go": toGo, "js": toJS} {
		c.registered(id)
		line.die()
	}
	for _, id := range []string{"go", "js"} {
		same3(t, c.result(c.dispatchTo(id, remote("WEBSOCKET"))), "SUCCEEDED", "", "")
	}
}

// The reference worker connects again and goes on with what runs; what ends while the line is cut is told afterwards.
func TestGoWorkerComesBackAndGoesOn(t *testing.T) {
	t.Parallel()
	c := newColony(t)
	url, _ := c.bridge(nil)
	line := newLine(t, url)
	may := make(chan struct{})
	var calls atomic.Int32
	c.goWorker(worker.Config{ID: "w", URL: line.url, Slots: 2, Handler: func(_ context.Context, t worker.Task) (worker.Result, error) {
		calls.Add(1)
		<-may
		return worker.Result{Outputs: map[string]any{"uid": t.UID}}, nil
	}})
	c.registered("w")
	uids := []string{c.dispatchTo("w", remote("WEBSOCKET")), c.dispatchTo("w", remote("WEBSOCKET"))}
	testkit.Eventually(t, 10*time.Second, "both run", func() bool { return calls.Load() == 2 })
	line.cut()
	close(may)
	for _, uid := range uids {
		r := c.result(uid)
		same3(t, r, "SUCCEEDED", "", "")
		same(t, "outputs", r.GetOutputs()["uid"], uid)
	}
	same(t, "calls", calls.Load(), 2)
}

func TestBridgeDrains(t *testing.T) {
	t.Parallel()
	c := newColony(t)
	conf := ant.DefaultBridgeConfig()
	conf.Dir, conf.Beat = t.TempDir(), 50*time.Millisecond
	b, err := ant.NewBridge(conf, c.deps())
	if err != nil {
		t.Fatal(err)
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Serve(ctx, lis) }()
	url := "ws://" + lis.Addr().String() + ant.Path
	s, _ := enter(t, url, &wire.Message{WorkerID: "w"})
	c.registered("w")
	uid := c.dispatchTo("w", remote("WEBSOCKET"))
	s.hear(wire.TypeTask)
	s.say(&wire.Message{Type: wire.TypeAccept, UID: uid})
	c.isRunning(uid)
	end()
	testkit.Eventually(t, 20*time.Second, "drains", c.is(func() bool { return c.beats[len(c.beats)-1].GetDraining() }))
	s.say(&wire.Message{Type: wire.TypeReply, UID: uid, Status: wire.Completed})
	same3(t, c.result(uid), "SUCCEEDED", "", "")
	same(t, "code", s.closed().Code, websocket.StatusGoingAway)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, _, err := websocket.Dial(t.Context(), url, nil); err == nil {
		t.Error("a closed bridge takes workers")
	}
}

func TestAnOpenPortNeedsAToken(t *testing.T) {
	t.Parallel()
	conf := ant.DefaultBridgeConfig()
	conf.Dir = t.TempDir()
	b, err := ant.NewBridge(conf, newColony(t).deps())
	if err != nil {
		t.Fatal(err)
	}
	lis, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Serve(t.Context(), lis); err == nil || !strings.Contains(err.Error(), "set a token") {
		t.Error(err)
	}
}

func TestBridgeConfigReportsAllFaults(t *testing.T) {
	t.Parallel()
	err := ant.BridgeConfig{}.Validate()
	for _, want := range []string{"accept", "silence", "away", "ping", "max workers", "dir", "beat"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %s", err, want)
		}
	}
}
