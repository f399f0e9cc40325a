package apigateway_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/metric/noop"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/telemetry"
	"github.com/formicary/formicary/libs/testkit"
	identityv1 "github.com/formicary/formicary/proto/gen/formicary/identity/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	apigateway "github.com/formicary/formicary/services/api-gateway"
)

func TestOnlyLoopbackIsListenedOn(t *testing.T) {
	for _, c := range []struct {
		addr string
		ok   bool
	}{{"127.0.0.1:0", true}, {"127.0.0.9:0", true}, {"[::1]:0", true}, {"0.0.0.0:0", false}, {"[::]:0", false}, {":0", false}} {
		lis, err := net.Listen("tcp", c.addr)
		if err != nil {
			t.Logf("not tested here: %v", err)
			continue
		}
		loop, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range []apigateway.Deps{{HTTP: lis, GRPC: loop}, {HTTP: loop, GRPC: lis}} {
			d.Meter, d.Log = noop.Meter{}, testkit.Logger(t)
			_, err := apigateway.New(apigateway.DefaultConfig(), d)
			if c.ok != (err == nil) || !c.ok && !strings.Contains(err.Error(), "without --auth") {
				t.Errorf("%s: %v", c.addr, err)
			}
		}
		_, _ = lis.Close(), loop.Close()
	}
}

func TestConfigReportsAllFaults(t *testing.T) {
	err := apigateway.Config{MaxBody: 1, MaxStreams: -1}.Validate()
	if err == nil || strings.Contains(err.Error(), "MaxBody") || strings.Count(err.Error(), "must be positive") != 10 {
		t.Error(err)
	}
	if err := apigateway.DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
}

func TestForeignPagesAreRefused(t *testing.T) {
	w := start(t)
	port := w.base[strings.LastIndex(w.base, ":"):]
	for _, c := range []struct {
		name, verb string
		headers    []string
		code       int
		reason     string
	}{
		{"rebound name", "GET", []string{"Host: evil.example"}, 421, "HOST_REFUSED"},
		{"rebound name with port", "POST", []string{"Host: evil.example" + port}, 421, "HOST_REFUSED"},
		{"looks like it", "GET", []string{"Host: localhost.evil.example"}, 421, "HOST_REFUSED"},
		{"address of another interface", "GET", []string{"Host: 192.168.0.1" + port}, 421, "HOST_REFUSED"},
		{"any address", "GET", []string{"Host: 0.0.0.0" + port}, 421, "HOST_REFUSED"},
		{"localhost", "GET", []string{"Host: localhost" + port}, 200, ""},
		{"name below localhost", "GET", []string{"Host: formicary.localhost"}, 200, ""},
		{"IPv6", "GET", []string{"Host: [::1]" + port}, 200, ""},
		{"another origin", "POST", []string{"Origin: https://evil.example"}, 403, "CROSS_ORIGIN"},
		{"another site", "POST", []string{"Sec-Fetch-Site: cross-site"}, 403, "CROSS_ORIGIN"},
		{"another port here", "POST", []string{"Origin: http://127.0.0.1:1"}, 403, "CROSS_ORIGIN"},
		{"own origin", "POST", []string{"Origin: " + w.base}, 200, ""},
		{"own page", "POST", []string{"Sec-Fetch-Site: same-origin"}, 200, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			body := ""
			if c.verb == "POST" {
				body = `{"job_type":"x"}`
			}
			got := w.do(c.verb, "/api/v1/jobs/requests", body, c.headers...)
			if got.code != c.code || c.reason != "" && reason(t, got) != c.reason {
				t.Errorf("%d %s", got.code, got.body)
			}
		})
	}
}

// TestEveryMethodOfTheColony walks all RPCs: each names its access, what is not for people is refused to them, and
// what is for people is answered.
func TestEveryMethodOfTheColony(t *testing.T) {
	pool := testkit.Pool(t, apigateway.Schema, apigateway.Migrate)
	w := start(t, func(s *setting) { s.pool, s.conf.LocalUsers = pool, true })
	methods, open := 0, 0
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		if !strings.HasPrefix(string(f.Package()), "formicary.") {
			return true
		}
		for i := range f.Services().Len() {
			for j := range f.Services().Get(i).Methods().Len() {
				m := f.Services().Get(i).Methods().Get(j)
				access, _ := proto.GetExtension(m.Options(), identityv1.E_Access).(*identityv1.Access)
				if access == nil {
					t.Errorf("%s has no access option", m.FullName())
					continue
				}
				if (access.GetPermission() == "") != (access.GetInternal() || access.GetAnt() || access.GetPublic()) {
					t.Errorf("%s: permission or internal, ant, public: %v", m.FullName(), access)
				}
				methods++
				before := w.peers.count()
				err := invoke(t, w, m)
				if access.GetInternal() || access.GetAnt() {
					if errs.CodeOf(err) != errs.CodeDenied || w.peers.count() != before {
						t.Errorf("%s is not refused: %v", m.FullName(), err)
					}
					continue
				}
				open++
				// An empty request may break a rule of the proto; then it was the owner who said so.
				// What the gateway answers itself may also say that there is no such thing.
				own := f.Package() == "formicary.identity.v1" && errs.Reason(err) != "" && errs.CodeOf(err) != errs.CodeDenied
				if err != nil && errs.Reason(err) != "REQUEST_INVALID" && !own {
					t.Errorf("%s: %v", m.FullName(), err)
				}
			}
		}
		return true
	})
	if methods < 30 || open < 20 {
		t.Errorf("only %d methods seen, %d open", methods, open)
	}
}

func invoke(t *testing.T, w *world, m protoreflect.MethodDescriptor) error {
	t.Helper()
	full := "/" + string(m.Parent().FullName()) + "/" + string(m.Name())
	in, out, err := types(full)
	if err != nil {
		t.Fatal(err)
	}
	if !m.IsStreamingServer() {
		return w.grpc.Invoke(t.Context(), full, in, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	s, err := w.grpc.NewStream(ctx, streamOf(m), full)
	if err != nil {
		return err
	}
	if err := s.SendMsg(in); err != nil {
		return err
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	if err := s.RecvMsg(out); !errors.Is(err, io.EOF) {
		return err
	}
	return nil // a stream of nothing
}

func TestUnknownMethodsAndHealth(t *testing.T) {
	w := start(t)
	err := w.grpc.Invoke(t.Context(), "/formicary.job.v1.JobRequestService/Nothing", &jobv1.GetJobRequestRequest{}, &jobv1.GetJobRequestResponse{})
	if status.Code(err) != codes.Unimplemented {
		t.Error(err)
	}
	res, err := grpc_health_v1.NewHealthClient(w.grpc).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil || res.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Error(res, err)
	}
}

func TestErrorsPassThroughGRPC(t *testing.T) {
	w := start(t)
	want := errs.Invalid("PARAMS_INVALID", "bad").WithViolations(errs.Violation{Field: "a", Description: "b", Reason: "C"}).WithMeta("k", "v")
	w.peers.when(jobs+"SubmitJob", fails(want))
	_, err := jobv1.NewJobRequestServiceClient(w.grpc).SubmitJob(t.Context(), &jobv1.SubmitJobRequest{JobType: "x"})
	var got *errs.Error
	if !errors.As(err, &got) || got.Reason != want.Reason || got.Message != want.Message || len(got.Violations) != 1 || got.Violations[0] != want.Violations[0] || got.Meta["k"] != "v" {
		t.Errorf("%#v", err)
	}
}

func TestMetrics(t *testing.T) {
	metrics, err := telemetry.NewMetrics()
	if err != nil {
		t.Fatal(err)
	}
	w := start(t, func(s *setting) { s.meter = metrics.Meter("test") })
	w.do("GET", "/api/v1/jobs/requests/x", "")
	w.do("GET", "/nothing", "")
	want(t, w.events(""), "hello")
	rec := &recorder{header: http.Header{}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	telemetry.NewOps(metrics).Handler().ServeHTTP(rec, req)
	for _, line := range []string{
		`formicary_http_request_duration_seconds_count{method="GET",route="/api/v1/jobs/requests/{id}",status="200"} 1`,
		`formicary_http_request_duration_seconds_count{method="other",route="other",status="404"} 1`,
		"formicary_streams 1",
	} {
		if !strings.Contains(rec.body.String(), line) {
			t.Errorf("no line %s in\n%s", line, rec.body.String())
		}
	}
}

type recorder struct {
	header http.Header
	body   strings.Builder
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(int)             {}
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }
