package apigateway_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/passport/passporttest"
	"github.com/formicary/formicary/libs/pki"
	"github.com/formicary/formicary/libs/rpc"
	"github.com/formicary/formicary/libs/testkit"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	apigateway "github.com/formicary/formicary/services/api-gateway"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// answer is what a fake peer does for a call: it sends messages and returns the end.
type answer func(ctx context.Context, req proto.Message, send func(proto.Message) error) error

// call is what a fake peer got.
type call struct {
	peer, method string
	caller       access.Caller
	req          proto.Message
}

// peers are the services behind the gateway: each answers every method, with an empty message unless a test says more.
type peers struct {
	mu    sync.Mutex
	on    map[string]answer
	calls []call
}

// when sets the answer of a method.
func (p *peers) when(method string, a answer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.on[method] = a
}

// last returns the newest call.
func (p *peers) last(t testing.TB) call {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.calls) == 0 {
		t.Fatal("no peer was called")
	}
	return p.calls[len(p.calls)-1]
}

func (p *peers) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.calls)
}

func (p *peers) handle(peer string) grpc.StreamHandler {
	return func(_ any, ss grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(ss)
		in, out, err := types(method)
		if err != nil {
			return err
		}
		if err := ss.RecvMsg(in); err != nil {
			return err
		}
		p.mu.Lock()
		if method != jobv1.LimitService_ListLimits_FullMethodName { // the gateway asks for it by itself
			p.calls = append(p.calls, call{peer, method, access.From(ss.Context()), in})
		}
		a := p.on[method]
		p.mu.Unlock()
		if a == nil {
			return ss.SendMsg(out)
		}
		return a(ss.Context(), in, func(m proto.Message) error { return ss.SendMsg(m) })
	}
}

// types returns empty messages for the request and the answer of a method.
func types(method string) (in, out proto.Message, err error) {
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(strings.ReplaceAll(method[1:], "/", ".")))
	if err != nil {
		return nil, nil, err
	}
	m := d.(protoreflect.MethodDescriptor)
	it, err := protoregistry.GlobalTypes.FindMessageByName(m.Input().FullName())
	if err != nil {
		return nil, nil, err
	}
	ot, err := protoregistry.GlobalTypes.FindMessageByName(m.Output().FullName())
	if err != nil {
		return nil, nil, err
	}
	return it.New().Interface(), ot.New().Interface(), nil
}

// one answers with m.
func one(m proto.Message) answer {
	return func(_ context.Context, _ proto.Message, send func(proto.Message) error) error { return send(m) }
}

// fails answers with err.
func fails(err error) answer {
	return func(context.Context, proto.Message, func(proto.Message) error) error { return err }
}

var names = [...]string{"job-manager", "resource-manager", "scheduler", "supervisor"}

// world is a running gateway between fake peers and a real NATS.
type world struct {
	t       testing.TB
	peers   *peers
	nats    *nats.Conn
	http    *http.Client
	base    string
	network *rpc.Memory
	grpc    *grpc.ClientConn
	direct  *grpc.ClientConn // job-manager, not by way of the gateway
	svc     *apigateway.Service
	pool    *pgxpool.Pool
}

type setting struct {
	conf  apigateway.Config
	log   *slog.Logger
	meter metric.Meter
	// workers serves /ws/ants.
	workers http.Handler
	// nats is that of another gateway; nil makes one.
	nats *nats.Conn
	// pool is that of another gateway; nil makes one.
	pool *pgxpool.Pool
}

// gatewayIdentity signs for all gateways of the process.
var gatewayIdentity = sync.OnceValue(func() pki.Source {
	id, err := passporttest.Authority().Issue(pki.Name{Kind: pki.Service, ID: "api-gateway"}, time.Hour)
	if err != nil {
		panic(err)
	}
	return pki.Fixed(id)
})

func start(t testing.TB, set ...func(*setting)) *world {
	t.Helper()
	s := &setting{conf: apigateway.DefaultConfig(), log: slog.New(slog.DiscardHandler), meter: noop.Meter{}}
	for _, f := range set {
		f(s)
	}
	w := &world{t: t, peers: &peers{on: map[string]answer{}}, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}}
	network := rpc.NewMemory()
	conns := map[string]*grpc.ClientConn{}
	for _, name := range names {
		server := rpc.NewServer(slog.New(slog.DiscardHandler), passporttest.Checker().Admit, grpc.UnknownServiceHandler(w.peers.handle(name)))
		lis := network.Listen(name)
		testkit.Run(t, func(ctx context.Context) error { return rpc.Serve(ctx, server, lis, time.Second) })
		conns[name] = dial(t, network, name, passporttest.Service("api-gateway"))
	}
	if w.nats = s.nats; w.nats == nil {
		w.nats, _ = testkit.NATS(t)
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.base = "http://" + lis.Addr().String()
	if s.pool == nil {
		s.pool = testkit.Pool(t, apigateway.Schema, apigateway.Migrate)
	}
	w.pool = s.pool
	w.svc, err = apigateway.New(s.conf, apigateway.Deps{
		Pool: s.pool, Identity: gatewayIdentity(), Roots: passporttest.Authority().Roots, NATS: w.nats, JobManager: conns["job-manager"], ResourceManager: conns["resource-manager"], Scheduler: conns["scheduler"],
		Supervisor: conns["supervisor"], Workers: s.workers, HTTP: lis, GRPC: network.Listen("gateway"), Log: s.log, Meter: s.meter,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.network, w.grpc, w.direct = network, dial(t, network, "gateway"), conns["job-manager"]
	t.Cleanup(w.http.CloseIdleConnections)
	testkit.Run(t, w.svc.Run)
	return w
}

func dial(t testing.TB, network *rpc.Memory, name string, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, err := network.Dial(name, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// reply is an HTTP answer that was read.
type reply struct {
	code   int
	header http.Header
	body   string
}

// do makes a request; headers are "Name: value".
func (w *world) do(verb, path, body string, headers ...string) reply {
	w.t.Helper()
	res := w.open(w.t.Context(), verb, path, strings.NewReader(body), headers...)
	defer func() { _ = res.Body.Close() }()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return reply{res.StatusCode, res.Header, string(raw)}
}

func (w *world) open(ctx context.Context, verb, path string, body io.Reader, headers ...string) *http.Response {
	w.t.Helper()
	req, err := http.NewRequestWithContext(ctx, verb, w.base+path, body)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, h := range headers {
		k, v, _ := strings.Cut(h, ": ")
		if k == "Host" {
			req.Host = v
		}
		req.Header.Add(k, v)
	}
	res, err := w.http.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

// lines opens a stream and returns a function that reads its next line; "" is the end.
func (w *world) lines(path string, headers ...string) func() string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	res := w.open(ctx, http.MethodGet, path, nil, headers...)
	w.t.Cleanup(func() { cancel(); _ = res.Body.Close() })
	if res.StatusCode != http.StatusOK {
		raw, _ := io.ReadAll(res.Body)
		w.t.Fatalf("%s: %s: %s", path, res.Status, raw)
	}
	scan := bufio.NewScanner(res.Body)
	scan.Buffer(nil, 1<<20)
	return func() string {
		if !scan.Scan() {
			return ""
		}
		return scan.Text()
	}
}

// event is a line of a stream of events.
type event struct {
	ID        string `json:"id"`
	Kind      string `json:"kind"`
	RequestID string `json:"request_id"`
	Run       int    `json:"run"`
	Version   string `json:"version"`
	State     string `json:"state"`
	Task      string `json:"task"`
	Message   string `json:"message"`
}

// brief is what tests compare.
func (e event) brief() string {
	return strings.TrimSpace(strings.Join(strings.Fields(fmt.Sprintf("%s %s %s", e.Kind, e.Task, e.State)), " "))
}

// events opens a stream of events as NDJSON and returns a function that reads the next; ok is false at the end.
func (w *world) events(query string, headers ...string) func() (e event, ok bool) {
	w.t.Helper()
	next := w.lines("/api/v1/events"+query, append([]string{"Accept: application/x-ndjson"}, headers...)...)
	return func() (event, bool) {
		line := next()
		if line == "" {
			return event{}, false
		}
		var m struct {
			Result event
			Error  *struct{ Message string }
		}
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			w.t.Fatalf("%q: %v", line, err)
		}
		if m.Error != nil {
			return event{Kind: "error", Message: m.Error.Message}, true
		}
		return m.Result, true
	}
}

// want reads events until each of the wanted ones has come in this order; heartbeats are passed over.
func want(t testing.TB, next func() (event, bool), briefs ...string) []event {
	t.Helper()
	var got []event
	for _, b := range briefs {
		e, ok := next()
		for ok && e.Kind == "heartbeat" {
			e, ok = next()
		}
		if !ok || e.brief() != b {
			t.Fatalf("got %q (%v), want %q; before: %v", e.brief(), e, b, got)
		}
		got = append(got, e)
	}
	return got
}

// changed publishes what job-manager tells of a request.
func (w *world) changed(id string, run int32, version int64, state jobv1.JobRequest_State) {
	w.t.Helper()
	w.publish("formicary.event.job.changed", &jobv1.RequestChanges{Changes: []*jobv1.RequestChanged{{RequestId: id, OrgId: "default", JobType: "etl", Run: run, Version: version, State: state}}})
}

func (w *world) publish(subject string, m proto.Message) {
	w.t.Helper()
	raw, err := proto.Marshal(m)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.nats.Publish(subject, raw); err != nil {
		w.t.Fatal(err)
	}
}
