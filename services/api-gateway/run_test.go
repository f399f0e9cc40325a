package apigateway_test

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/metric/noop"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/passport/passporttest"
	"github.com/formicary/formicary/libs/rpc"
	"github.com/formicary/formicary/libs/testkit"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	apigateway "github.com/formicary/formicary/services/api-gateway"
)

func streamOf(m protoreflect.MethodDescriptor) *grpc.StreamDesc {
	return &grpc.StreamDesc{StreamName: string(m.Name()), ServerStreams: true}
}

// TestStop ends a gateway with streams and a call under way: streams end at once and say why, the call is finished.
func TestStop(t *testing.T) {
	network := rpc.NewMemory()
	p := &peers{on: map[string]answer{}}
	server := rpc.NewServer(slog.New(slog.DiscardHandler), passporttest.Checker().Admit, grpc.UnknownServiceHandler(p.handle("any")))
	plis := network.Listen("any")
	testkit.Run(t, func(ctx context.Context) error { return rpc.Serve(ctx, server, plis, time.Second) })
	conn := dial(t, network, "any", passporttest.Service("api-gateway"))
	nc, _ := testkit.NATS(t)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	svc, err := apigateway.New(apigateway.DefaultConfig(), apigateway.Deps{
		Pool: testkit.Pool(t, apigateway.Schema, apigateway.Migrate), Identity: gatewayIdentity(), Roots: passporttest.Authority().Roots, NATS: nc, JobManager: conn, ResourceManager: conn, Scheduler: conn, Supervisor: conn,
		HTTP: lis, GRPC: network.Listen("gateway"), Log: slog.New(slog.DiscardHandler), Meter: noop.Meter{},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- svc.Run(ctx) }()
	w := &world{t: t, peers: p, nats: nc, base: "http://" + lis.Addr().String(), http: &http.Client{Transport: &http.Transport{}}}
	w.grpc = dial(t, network, "gateway")
	defer w.http.CloseIdleConnections()

	events := w.events("")
	want(t, events, "hello")
	watch, err := jobv1.NewEventServiceClient(w.grpc).WatchEvents(t.Context(), &jobv1.WatchEventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	begun, finish := make(chan struct{}), make(chan struct{})
	p.when(jobs+"GetJobRequest", func(_ context.Context, _ proto.Message, send func(proto.Message) error) error {
		close(begun)
		<-finish
		return send(&jobv1.GetJobRequestResponse{Request: &jobv1.JobRequest{Id: id}})
	})
	answered := make(chan reply, 1)
	go func() { answered <- w.do("GET", "/api/v1/jobs/requests/"+id, "") }()
	<-begun

	began := time.Now()
	stop()
	if e, ok := events(); !ok || e.Kind != "error" || !strings.Contains(e.Message, "the gateway stops") {
		t.Errorf("HTTP stream: %+v", e)
	}
	if _, err := watch.Recv(); errs.Reason(err) != "GATEWAY_STOPS" {
		t.Errorf("gRPC stream: %v", err)
	}
	close(finish)
	if got := <-answered; got.code != http.StatusOK || !strings.Contains(got.body, id) {
		t.Errorf("call under way: %d %s", got.code, got.body)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("stopped after %s", took)
	}
}

func TestPeerThatIsAway(t *testing.T) {
	network := rpc.NewMemory()
	conn, err := rpc.Dial("127.0.0.1:1") // nobody listens there
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	nc, _ := testkit.NATS(t)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	svc, err := apigateway.New(apigateway.DefaultConfig(), apigateway.Deps{
		Pool: testkit.Pool(t, apigateway.Schema, apigateway.Migrate), Identity: gatewayIdentity(), Roots: passporttest.Authority().Roots, NATS: nc, JobManager: conn, ResourceManager: conn, Scheduler: conn, Supervisor: conn,
		HTTP: lis, GRPC: network.Listen("gateway"), Log: slog.New(slog.DiscardHandler), Meter: noop.Meter{},
	})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, base: "http://" + lis.Addr().String(), http: &http.Client{Transport: &http.Transport{}}}
	t.Cleanup(w.http.CloseIdleConnections)
	testkit.Run(t, svc.Run)
	for _, path := range []string{"/api/v1/ants", "/api/v1/events?request_id=" + id, "/api/v1/jobs/requests/" + id + "/tasks/a/log"} {
		got := w.do("GET", path, "", "Accept: application/x-ndjson")
		if got.code != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" || strings.Contains(got.body, "127.0.0.1") {
			t.Errorf("%s: %d %s", path, got.code, got.body)
		}
	}
	if got := w.do("GET", "/readyz", ""); got.code != http.StatusServiceUnavailable || !strings.Contains(got.body, "job-manager") {
		t.Errorf("%d %s", got.code, got.body)
	}
}
