package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/rpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// answers is a service whose unary call returns what the test wants.
type answers struct {
	grpc_health_v1.UnimplementedHealthServer
	check func(context.Context) error
}

func (a *answers) Check(ctx context.Context, _ *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	return &grpc_health_v1.HealthCheckResponse{}, a.check(ctx)
}

func (a *answers) Watch(_ *grpc_health_v1.HealthCheckRequest, s grpc.ServerStreamingServer[grpc_health_v1.HealthCheckResponse]) error {
	return a.check(s.Context())
}

// serve starts a server with its own health service in place of the built-in one.
func serve(t *testing.T, check func(context.Context) error) grpc_health_v1.HealthClient {
	t.Helper()
	net := rpc.NewMemory()
	conn, err := net.Dial("x")
	if err != nil {
		t.Fatal(err)
	}
	s := rpc.NewServer(slog.New(slog.NewTextHandler(io.Discard, nil)), everybody)
	desc := grpc_health_v1.Health_ServiceDesc
	desc.ServiceName = "test.Health"
	s.RegisterService(&desc, &answers{check: check})
	lis := net.Listen("x")
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(lis) }()
	t.Cleanup(func() { _ = conn.Close(); s.Stop(); <-done })
	return grpc_health_v1.NewHealthClient(renamed{conn})
}

// renamed sends the health calls to the service under test.
type renamed struct{ *grpc.ClientConn }

func (r renamed) Invoke(ctx context.Context, method string, in, out any, opts ...grpc.CallOption) error {
	return r.ClientConn.Invoke(ctx, strings.Replace(method, "grpc.health.v1.", "test.", 1), in, out, opts...)
}

// state is an error of a database.
type state string

func (s state) Error() string    { return "secret" }
func (s state) SQLState() string { return string(s) }

func TestErrorsAtTheBorder(t *testing.T) {
	typed := errs.Invalid("BAD", "bad %d", 1).WithViolations(errs.Violation{Field: "f", Description: "d", Reason: "R"})
	for _, c := range []struct {
		name   string
		err    error
		reason string
		code   codes.Code
		text   string
	}{
		{"typed", fmt.Errorf("secret: %w", typed), "BAD", codes.InvalidArgument, "bad 1"},
		{"untyped", errors.New("secret"), "", codes.Internal, "internal error"},
		{"wrapped status", fmt.Errorf("secret: %w", status.Error(codes.NotFound, "x")), "", codes.Internal, "internal error"},
		{"connection ended", fmt.Errorf("secret: %w", state("57P01")), "AWAY", codes.Unavailable, "a server that it needs is away for a moment; try again"},
		{"too many connections", state("53300"), "AWAY", codes.Unavailable, "a server that it needs is away for a moment; try again"},
		{"connection failure", state("08006"), "AWAY", codes.Unavailable, "a server that it needs is away for a moment; try again"},
		{"cut", fmt.Errorf("secret: %w", io.ErrUnexpectedEOF), "AWAY", codes.Unavailable, "a server that it needs is away for a moment; try again"},
		{"broken pipe", fmt.Errorf("secret: %w", &net.OpError{Op: "write", Err: syscall.EPIPE}), "AWAY", codes.Unavailable, "a server that it needs is away for a moment; try again"},
		{"bad content", state("22021"), "", codes.Internal, "internal error"},
		{"a constraint", state("23505"), "", codes.Internal, "internal error"},
		{"a slow statement", state("57014"), "", codes.DeadlineExceeded, "not done in time"},
		{"cancelled, but not by the caller", context.Canceled, "SHUTTING_DOWN", codes.Unavailable, "this server is ending; try again"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := serve(t, func(context.Context) error { return c.err })
			_, err := h.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
			if got := errs.Reason(err); got != c.reason {
				t.Errorf("reason %q, want %q", got, c.reason)
			}
			if got := rpc.ToStatus(err); got.Code() != c.code || got.Message() != c.text {
				t.Errorf("status %v %q, want %v %q", got.Code(), got.Message(), c.code, c.text)
			}
		})
	}
}

func TestPanicStaysInside(t *testing.T) {
	h := serve(t, func(context.Context) error { panic("secret") })
	_, err := h.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
}

func BenchmarkUnary(b *testing.B) {
	net := rpc.NewMemory()
	conn, _ := net.Dial("x")
	defer func() { _ = conn.Close() }()
	s := rpc.NewServer(slog.New(slog.DiscardHandler), everybody)
	go func() { _ = s.Serve(net.Listen("x")) }()
	defer s.Stop()
	h := grpc_health_v1.NewHealthClient(conn)
	for b.Loop() {
		if _, err := h.Check(b.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil {
			b.Fatal(err)
		}
	}
}

// everybody is an rpc.Admit that lets all in.
func everybody(ctx context.Context, _ string) (context.Context, error) { return ctx, nil }

// TestNothingPassesAdmit: neither calls nor streams reach a handler, nor the rules of their messages, before they are admitted.
func TestNothingPassesAdmit(t *testing.T) {
	network := rpc.NewMemory()
	conn, err := network.Dial("x")
	if err != nil {
		t.Fatal(err)
	}
	asked := map[string]bool{}
	s := rpc.NewServer(slog.New(slog.DiscardHandler), func(_ context.Context, method string) (context.Context, error) {
		asked[method] = true
		return nil, errs.Unauthenticated("CALLER_MISSING", "no")
	})
	lis := network.Listen("x")
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(lis) }()
	t.Cleanup(func() { _ = conn.Close(); s.Stop(); <-done })
	h := grpc_health_v1.NewHealthClient(conn)
	if _, err := h.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); errs.Reason(err) != "CALLER_MISSING" {
		t.Errorf("call: %v", err)
	}
	w, err := h.Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err == nil {
		_, err = w.Recv()
	}
	if errs.Reason(err) != "CALLER_MISSING" || len(asked) != 2 {
		t.Errorf("stream: %v, asked %v", err, asked)
	}
}
