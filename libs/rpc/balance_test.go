package rpc_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/rpc"
)

// The methods of the service that replicas answer: one may be made twice, the other may not.
const (
	read  = "/replica.Replica/Read"
	write = "/replica.Replica/Write"
)

var describe = sync.OnceValue(func() error {
	method := func(name string, level descriptorpb.MethodOptions_IdempotencyLevel) *descriptorpb.MethodDescriptorProto {
		return &descriptorpb.MethodDescriptorProto{
			Name: &name, InputType: new(".grpc.health.v1.HealthCheckRequest"), OutputType: new(".grpc.health.v1.HealthCheckResponse"),
			Options: &descriptorpb.MethodOptions{IdempotencyLevel: &level},
		}
	}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: new("replica.proto"), Package: new("replica"), Syntax: new("proto3"),
		Dependency: []string{grpc_health_v1.File_grpc_health_v1_health_proto.Path()},
		Service: []*descriptorpb.ServiceDescriptorProto{{Name: new("Replica"), Method: []*descriptorpb.MethodDescriptorProto{
			method("Read", descriptorpb.MethodOptions_NO_SIDE_EFFECTS), method("Write", descriptorpb.MethodOptions_IDEMPOTENCY_UNKNOWN),
		}}},
	}, protoregistry.GlobalFiles)
	if err != nil {
		return err
	}
	return protoregistry.GlobalFiles.RegisterFile(file)
})

// replica is one server of several.
type replica struct {
	addr  string
	calls atomic.Int64
	stop  func()
}

// startReplica serves on a port of its own. answer, if set, is asked for the error of each call.
func startReplica(t *testing.T, answer func(context.Context) error, opts ...grpc.ServerOption) *replica {
	t.Helper()
	if err := describe(); err != nil {
		t.Fatal(err)
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &replica{addr: lis.Addr().String()}
	call := func(_ any, ctx context.Context, dec func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
		in := &grpc_health_v1.HealthCheckRequest{}
		if err := dec(in); err != nil {
			return nil, err
		}
		return intercept(ctx, in, &grpc.UnaryServerInfo{FullMethod: read}, func(ctx context.Context, _ any) (any, error) {
			r.calls.Add(1)
			if answer != nil {
				return &grpc_health_v1.HealthCheckResponse{}, answer(ctx)
			}
			return &grpc_health_v1.HealthCheckResponse{}, nil
		})
	}
	s := rpc.NewServer(slog.New(slog.NewTextHandler(io.Discard, nil)), everybody, opts...)
	s.RegisterService(&grpc.ServiceDesc{ServiceName: "replica.Replica", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{
		{MethodName: "Read", Handler: call}, {MethodName: "Write", Handler: call},
	}}, r)
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(lis) }()
	r.stop = sync.OnceFunc(func() { s.Stop(); <-done })
	t.Cleanup(r.stop)
	return r
}

func connect(t *testing.T, addr string, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, err := rpc.Dial(addr, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func call(ctx context.Context, conn *grpc.ClientConn, method string) error {
	return conn.Invoke(ctx, method, &grpc_health_v1.HealthCheckRequest{}, &grpc_health_v1.HealthCheckResponse{})
}

// until makes calls until a condition holds.
func until(t *testing.T, conn *grpc.ClientConn, what string, cond func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for !cond() {
		if err := call(ctx, conn, read); err != nil {
			t.Fatalf("until %s: %v", what, err)
		}
	}
}

func TestCallsAreSpreadOverTheAddresses(t *testing.T) {
	a, b := startReplica(t, nil), startReplica(t, nil)
	conn := connect(t, a.addr+", "+b.addr)
	until(t, conn, "both are connected", func() bool { return a.calls.Load() > 0 && b.calls.Load() > 0 })
	a.calls.Store(0)
	b.calls.Store(0)
	for range 100 {
		if err := call(t.Context(), conn, read); err != nil {
			t.Fatal(err)
		}
	}
	if a.calls.Load() != 50 || b.calls.Load() != 50 {
		t.Errorf("%d calls went to one and %d to the other", a.calls.Load(), b.calls.Load())
	}
}

// TestNewReplicaIsNoticed adds a replica to what DNS answers. Nobody tells the client: it asks again when a connection
// has come of age.
func TestNewReplicaIsNoticed(t *testing.T) {
	age := grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: 100 * time.Millisecond})
	a, b, c := startReplica(t, nil, age), startReplica(t, nil, age), startReplica(t, nil, age)
	endpoints := func(of ...*replica) (s resolver.State) {
		for _, r := range of {
			s.Endpoints = append(s.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: r.addr}}})
		}
		return s
	}
	asked := make(chan struct{}, 1)
	dns := manual.NewBuilderWithScheme("names")
	dns.InitialState(endpoints(a, b))
	dns.ResolveNowCallback = func(resolver.ResolveNowOptions) {
		select {
		case asked <- struct{}{}:
		default:
		}
	}
	conn := connect(t, "names:///replica", grpc.WithResolvers(dns))
	until(t, conn, "both are connected", func() bool { return a.calls.Load() > 0 && b.calls.Load() > 0 })
	until(t, conn, "DNS is asked again", func() bool { return len(asked) > 0 })
	dns.UpdateState(endpoints(a, b, c))
	until(t, conn, "the third gets calls", func() bool { return c.calls.Load() > 0 })
}

func TestDeadReplicaFailsNoRepeatableCall(t *testing.T) {
	hold := make(chan struct{})
	a := startReplica(t, func(context.Context) error { <-hold; return nil })
	b := startReplica(t, nil)
	conn := connect(t, a.addr+","+b.addr)
	const callers = 32
	failed := make(chan error, callers)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range callers {
		go func() {
			var err error
			for ctx.Err() == nil && err == nil {
				err = call(t.Context(), conn, read)
			}
			failed <- err
		}()
	}
	for a.calls.Load() < callers { // all of them end up at the replica that does not answer
		select {
		case err := <-failed:
			t.Fatal(err)
		case <-time.After(time.Millisecond):
		}
	}
	a.stop() // its connections break with all calls under way
	close(hold)
	before := b.calls.Load()
	until(t, conn, "the other one goes on", func() bool { return b.calls.Load() > before+1000 })
	cancel()
	for range callers {
		if err := <-failed; err != nil {
			t.Errorf("a call failed: %v", err)
		}
	}
}

func TestCallsThatMayNotBeRepeatedAreMadeOnce(t *testing.T) {
	shut := startReplica(t, func(context.Context) error { return errs.ErrShutdown })
	conn := connect(t, shut.addr)
	for method, want := range map[string]int64{read: 5, write: 1} {
		shut.calls.Store(0)
		if err := call(t.Context(), conn, method); errs.Reason(err) != "SHUTTING_DOWN" {
			t.Errorf("%s: %v", method, err)
		}
		if got := shut.calls.Load(); got != want {
			t.Errorf("%s was called %d times, want %d", method, got, want)
		}
	}
}

// TestWorkEndedByShutdownIsUnavailable tells the end of the server's own work from that of the call.
func TestWorkEndedByShutdownIsUnavailable(t *testing.T) {
	for name, err := range map[string]error{"a batch": errs.ErrShutdown, "a cancelled context": context.Canceled} {
		r := startReplica(t, func(context.Context) error { return err })
		if err := call(t.Context(), connect(t, r.addr), write); errs.CodeOf(err) != errs.CodeUnavailable || errs.Reason(err) != "SHUTTING_DOWN" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestServeThatEndsBeforeItBegins(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 50 {
		s := rpc.NewServer(slog.New(slog.DiscardHandler), everybody)
		if err := rpc.Serve(ctx, s, rpc.NewMemory().Listen("x"), time.Second); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTriesDoNotMultiply: of a chain of servers whose last one is away each is asked as often as the outermost caller tries.
func TestTriesDoNotMultiply(t *testing.T) {
	last := startReplica(t, func(context.Context) error { return errs.ErrShutdown })
	next := func(to *replica) func(context.Context) error {
		conn := connect(t, to.addr)
		return func(ctx context.Context) error { return call(ctx, conn, read) }
	}
	middle := startReplica(t, next(last))
	first := startReplica(t, next(middle))
	conn := connect(t, first.addr)
	for _, c := range []struct {
		method string
		want   [3]int64
	}{
		{read, [3]int64{5, 5, 5}},
		{write, [3]int64{1, 5, 5}}, // who may not try again leaves it to the next one
	} {
		for _, r := range []*replica{first, middle, last} {
			r.calls.Store(0)
		}
		if err := call(t.Context(), conn, c.method); errs.Reason(err) != "SHUTTING_DOWN" {
			t.Errorf("%s: %v", c.method, err)
		}
		if got := [3]int64{first.calls.Load(), middle.calls.Load(), last.calls.Load()}; got != c.want {
			t.Errorf("%s: the servers were called %v times, want %v", c.method, got, c.want)
		}
	}
}
