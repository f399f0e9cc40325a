package ant_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/metric/noop"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/formicary/formicary/libs/bus"
	"github.com/formicary/formicary/libs/bus/embedded"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/logfile"
	"github.com/formicary/formicary/libs/passport/passporttest"
	"github.com/formicary/formicary/libs/rpc"
	"github.com/formicary/formicary/libs/testkit"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	"github.com/formicary/formicary/services/ant"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const antID = "a1"

// colony is everything that an ant talks to.
type colony struct {
	antv1.UnimplementedRegistrationServiceServer
	antv1.UnimplementedAttemptServiceServer

	t       testing.TB
	nc      *nats.Conn
	js      jetstream.JetStream
	natsURL string
	network *rpc.Memory
	blobs   *httptest.Server
	caches  *caches

	mu         sync.Mutex
	generation int64
	sessions   []string
	works      map[string]*antv1.Work // DISPATCHED: given to the first claim
	claims     []string
	settle     bool // Sync settles what has a result here
	results    map[string][]*antv1.Result
	syncs      []*antv1.SyncRequest
	syncError  error
	beatError  error
	claimError error
	claimMost  int            // more are refused, as when their answer is too large; 0: none
	poison     string         // a claim that names it fails
	postpone   map[string]int // attempt → how often it is to be asked for again
	uploadCode int
	logs       map[string]string
	plain      bool // it is a supervisor that reads no records of logs
	large      bool // logs are too large to be looked at
	beats      []*antv1.HeartbeatRequest
	left       int
	drain      bool // an operator's wish
	ants       map[string]*antv1.RegisterRequest
	refused    int                    // Syncs of old sessions
	current    map[string]string      // ant → its newest session
	taken      map[string]*antv1.Work // RUNNING
	owner      map[string]string      // of what is RUNNING, the session
}

func newColony(t testing.TB) *colony {
	c := &colony{
		t: t, network: rpc.NewMemory(), works: map[string]*antv1.Work{}, results: map[string][]*antv1.Result{}, logs: map[string]string{}, ants: map[string]*antv1.RegisterRequest{}, settle: true,
		current: map[string]string{}, taken: map[string]*antv1.Work{}, owner: map[string]string{},
	}
	c.startNATS()
	c.blobs = httptest.NewServer(http.HandlerFunc(c.put))
	t.Cleanup(c.blobs.Close)
	server := rpc.NewServer(testkit.Logger(t), passporttest.Checker().Admit)
	antv1.RegisterRegistrationServiceServer(server, c)
	antv1.RegisterAttemptServiceServer(server, c)
	c.caches = newCaches(t)
	antv1.RegisterCacheServiceServer(server, c.caches)
	lis := c.network.Listen("colony")
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(lis)
	}()
	t.Cleanup(func() { server.Stop(); <-done })
	testkit.Run(t, func(ctx context.Context) error {
		return bus.Consume(ctx, testkit.Logger(t), c.js, bus.Consumption{
			Stream: bus.Results, Handle: c.take,
			Consumer: jetstream.ConsumerConfig{Durable: "results", FilterSubject: "formicary.result.*", AckPolicy: jetstream.AckExplicitPolicy},
		})
	})
	return c
}

// startNATS starts a server that workers in other processes reach.
func (c *colony) startNATS() {
	s, err := embedded.Start(embedded.Options{StoreDir: c.t.TempDir(), Host: "127.0.0.1", Port: -1})
	if err != nil {
		c.t.Fatal(err)
	}
	c.natsURL = s.URL()
	if c.nc, err = s.Connect(c.t.Name()); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { c.nc.Close(); s.Stop() })
	if c.js, err = bus.JetStream(c.nc); err == nil {
		err = bus.Provision(c.t.Context(), c.js)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *colony) take(_ context.Context, msgs []jetstream.Msg) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range msgs {
		r := &antv1.Result{}
		if err := proto.Unmarshal(m.Data(), r); err != nil {
			c.t.Errorf("result: %v", err)
		}
		c.results[r.GetUid()] = append(c.results[r.GetUid()], r)
	}
	bus.Ack(msgs)
	return nil
}

func (c *colony) put(w http.ResponseWriter, r *http.Request) {
	sum := sha256.New()
	var kept sink
	n, err := io.Copy(io.MultiWriter(sum, &kept), r.Body)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil || n != r.ContentLength || r.Method != http.MethodPut {
		c.t.Errorf("%s of %d bytes, content length %d: %v", r.Method, n, r.ContentLength, err)
	}
	if c.uploadCode != 0 {
		w.WriteHeader(c.uploadCode)
		return
	}
	c.logs[r.URL.Path[1:]] = string(kept.b)
	if !c.plain && !c.large {
		c.logs[r.URL.Path[1:]], c.logs[r.URL.Path[1:]+".records"] = c.unpack(kept.b)
	}
	c.logs[r.URL.Path[1:]+".sha256"] = hex.EncodeToString(sum.Sum(nil))
}

// Range makes a source of a stored log.
func (s sink) Range(_ context.Context, offset, length int64) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(s.b[offset : offset+length])), nil
}

// unpack returns the text and the records of a stored log.
func (c *colony) unpack(raw []byte) (text, records string) {
	r, err := logfile.Open(c.t.Context(), sink{raw}, int64(len(raw)))
	if err != nil {
		c.t.Error(err)
		return "", ""
	}
	var all []byte
	err = r.Records(c.t.Context(), 0, func(p logfile.Piece) (bool, error) {
		all = append(all, p.Records...)
		return false, nil
	})
	if err != nil {
		c.t.Error(err)
	}
	return c.text(all), string(all)
}

func (c *colony) text(records []byte) string {
	text, err := logfile.AppendText(nil, records, logfile.Merged)
	if err != nil {
		c.t.Error(err)
	}
	return string(text)
}

// sink keeps the first megabyte.
type sink struct{ b []byte }

func (s *sink) Write(p []byte) (int, error) {
	if len(s.b) < 1<<20 {
		s.b = append(s.b, p...)
	}
	return len(p), nil
}

func (c *colony) Register(ctx context.Context, r *antv1.RegisterRequest) (*antv1.RegisterResponse, error) {
	_, err := c.js.CreateOrUpdateConsumer(ctx, bus.Tasks, jetstream.ConsumerConfig{
		Durable: "ant-" + r.GetAntId(), FilterSubject: "formicary.task." + r.GetAntId(), AckPolicy: jetstream.AckExplicitPolicy, AckWait: 5 * time.Second, MaxDeliver: -1,
	})
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation++
	c.ants[r.GetAntId()] = r
	c.beatError, c.syncError = nil, nil
	c.sessions = append(c.sessions, uuid.NewString())
	c.current[r.GetAntId()] = c.sessions[len(c.sessions)-1]
	return &antv1.RegisterResponse{Session: c.sessions[len(c.sessions)-1], Generation: c.generation}, nil
}

func (c *colony) Heartbeat(_ context.Context, r *antv1.HeartbeatRequest) (*antv1.HeartbeatResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.beats = append(c.beats, r)
	return &antv1.HeartbeatResponse{Draining: c.drain}, c.beatError
}

func (c *colony) Leave(_ context.Context, r *antv1.LeaveRequest) (*antv1.LeaveResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left++
	delete(c.ants, r.GetAntId())
	return &antv1.LeaveResponse{}, nil
}

func (c *colony) Claim(_ context.Context, r *antv1.ClaimRequest) (*antv1.ClaimResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.claimError != nil {
		return nil, c.claimError
	}
	switch {
	case c.claimMost > 0 && len(r.GetUids()) > c.claimMost:
		return nil, errs.Exhausted("TOO_LARGE", "the answer is too large")
	case slices.Contains(r.GetUids(), c.poison):
		return nil, errors.New("it cannot be encoded")
	}
	res := &antv1.ClaimResponse{}
	for _, uid := range r.GetUids() {
		if c.postpone[uid] > 0 && r.GetPartial() {
			c.postpone[uid]--
			res.Works = append(res.Works, &antv1.Work{Uid: uid, Later: "its host is slow"})
			continue
		}
		c.claims = append(c.claims, uid)
		w := c.works[uid]
		switch {
		case w != nil:
			c.taken[uid], c.owner[uid] = w, r.GetSession()
		case c.taken[uid] != nil && c.owner[uid] == r.GetSession():
			w = c.taken[uid]
		default:
			w = &antv1.Work{Uid: uid, Refused: "not live"}
		}
		if !c.plain {
			w.LogFormat = antv1.LogFormat_LOG_FORMAT_RECORDS
		}
		delete(c.works, uid)
		res.Works = append(res.Works, w)
	}
	return res, nil
}

func (c *colony) Sync(_ context.Context, r *antv1.SyncRequest) (*antv1.SyncResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.syncError != nil {
		return nil, c.syncError
	}
	if c.current[r.GetAntId()] != r.GetSession() {
		c.refused++
		return nil, aborted("SESSION_SUPERSEDED")
	}
	c.syncs = append(c.syncs, r)
	for _, uid := range r.GetRunning() {
		if c.taken[uid] != nil && r.GetFirst() {
			c.owner[uid] = r.GetSession()
		}
	}
	res := &antv1.SyncResponse{}
	for _, uid := range r.GetSpooled() {
		if c.settle && len(c.results[uid]) > 0 {
			res.Settled = append(res.Settled, uid)
		}
	}
	return res, nil
}

func (c *colony) CreateLogUpload(_ context.Context, r *antv1.CreateLogUploadRequest) (*antv1.CreateLogUploadResponse, error) {
	return &antv1.CreateLogUploadResponse{Url: c.blobs.URL + "/" + r.GetUid(), Key: r.GetUid()}, nil
}

// config is one whose beats are short.
func (c *colony) config() ant.Config {
	conf := ant.DefaultConfig()
	conf.ID, conf.Dir, conf.Egress.Private = antID, c.t.TempDir(), true
	conf.Beat, conf.FenceAfter, conf.ResendAfter, conf.UploadPatience, conf.DrainTimeout = 50*time.Millisecond, 5*time.Second, 500*time.Millisecond, 300*time.Millisecond, 5*time.Second
	return conf
}

func (c *colony) new(conf ant.Config) *ant.Service {
	c.t.Helper()
	s, err := ant.New(conf, c.deps())
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

func (c *colony) deps() ant.Deps {
	c.t.Helper()
	conn, err := c.network.Dial("colony", passporttest.Everybody(grpc.WithUserAgent("ant"))...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = conn.Close() })
	return ant.Deps{NATS: c.nc, JS: c.js, ResourceManager: conn, Supervisor: conn, Log: testkit.Logger(c.t), Meter: noop.Meter{}}
}

// running is an ant that can be ended.
type running struct {
	end  context.CancelFunc
	done chan error
}

func (c *colony) start(conf ant.Config) *running {
	c.t.Helper()
	s := c.new(conf)
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{end: cancel, done: make(chan error, 1)}
	go func() { r.done <- s.Run(ctx) }()
	c.t.Cleanup(func() {
		cancel()
		if err := <-r.done; err != nil {
			c.t.Errorf("the ant ended with %v", err)
		}
	})
	return r
}

// wait returns what Run returned.
func (r *running) wait(t testing.TB) error {
	t.Helper()
	select {
	case err := <-r.done:
		r.done <- nil
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("the ant does not end")
		return nil
	}
}

// script is work for the shell.
func script(lines ...string) *antv1.Work {
	return &antv1.Work{Spec: &antv1.Spec{Method: "SHELL", Script: lines}, RequestId: "job-1", Run: 1, JobType: "test", Task: "build", Attempt: 1, IdempotencyKey: "key-1", Grace: durationpb.New(2 * time.Second)}
}

// dispatch makes work claimable and rings.
func (c *colony) dispatch(w *antv1.Work) string {
	c.t.Helper()
	return c.dispatchTo(antID, w)
}

func (c *colony) dispatchTo(ant string, w *antv1.Work) string {
	c.t.Helper()
	w.Uid = uuid.NewString()
	c.mu.Lock()
	c.works[w.Uid] = w
	c.mu.Unlock()
	c.ringAt(ant, w.Uid)
	return w.Uid
}

func (c *colony) ring(uid string) {
	c.t.Helper()
	c.ringAt(antID, uid)
}

func (c *colony) ringAt(ant, uid string) {
	c.t.Helper()
	data, err := proto.Marshal(&antv1.Doorbell{Uids: []string{uid}})
	if err == nil {
		_, err = c.js.Publish(c.t.Context(), "formicary.task."+ant, data)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// do changes or reads the fake under its lock.
func (c *colony) do(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

func (c *colony) is(f func() bool) func() bool {
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return f()
	}
}

// result waits for the first result of an attempt.
func (c *colony) result(uid string) *antv1.Result {
	c.t.Helper()
	return c.resultWithin(15*time.Second, uid)
}

func (c *colony) resultWithin(limit time.Duration, uid string) *antv1.Result {
	c.t.Helper()
	var r *antv1.Result
	testkit.Eventually(c.t, limit, "result of "+uid, c.is(func() bool {
		if len(c.results[uid]) > 0 {
			r = c.results[uid][0]
		}
		return r != nil
	}))
	return r
}

// isRunning waits until a Sync lists the attempt as running.
func (c *colony) isRunning(uid string) {
	c.t.Helper()
	testkit.Eventually(c.t, 10*time.Second, "attempt runs", c.is(func() bool {
		return len(c.syncs) > 0 && slices.Contains(c.syncs[len(c.syncs)-1].GetRunning(), uid)
	}))
}

// settled waits until a Sync lists nothing any more.
func (c *colony) settled() {
	c.t.Helper()
	c.do(func() { c.syncs = nil })
	testkit.Eventually(c.t, 10*time.Second, "everything is settled", c.is(func() bool {
		return len(c.syncs) > 0 && len(c.syncs[len(c.syncs)-1].GetRunning())+len(c.syncs[len(c.syncs)-1].GetSpooled()) == 0
	}))
}

var errGone = errs.Unavailable("GONE", "not there")

func aborted(reason string) error { return errs.Aborted(reason, "%s", reason) }

func same(t testing.TB, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}
