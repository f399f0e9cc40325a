// Package forward passes the calls of people on to the services that answer them.
//
// Calls over gRPC are passed on as the bytes that came: the gateway neither decodes nor validates what the owner of
// the service decodes and validates anyway, and a new RPC needs no code here. Calls from the REST handlers come in
// decoded form and go straight to the owner's connection, not by way of the gateway's own gRPC server.
package forward

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/services/api-gateway/internal/gate"
)

// Peer is a service of the colony and what of it people may call.
type Peer struct {
	// Name said in errors.
	Name string
	Conn grpc.ClientConnInterface
	// Services are the full names of its proto services that are passed on.
	Services []string
}

// Audit writes down the calls of REST handlers; those over gRPC pass the interceptors of the server.
type Audit interface {
	Unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error)
	Open(ctx context.Context, desc *grpc.StreamDesc, method string, open func() (grpc.ClientStream, error)) (grpc.ClientStream, error)
}

// Forwarder passes calls on.
type Forwarder struct {
	gate     *gate.Gate
	audit    Audit
	timeout  time.Duration
	peers    map[string]Peer // by proto service
	services []protoreflect.ServiceDescriptor
}

// New returns a forwarder to the peers. Calls without a deadline get the timeout; streams none.
func New(g *gate.Gate, audit Audit, timeout time.Duration, peers ...Peer) (*Forwarder, error) {
	f := &Forwarder{gate: g, audit: audit, timeout: timeout, peers: map[string]Peer{}}
	for _, p := range peers {
		for _, name := range p.Services {
			d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
			if err != nil {
				return nil, fmt.Errorf("find service %s: %w", name, err)
			}
			sd, ok := d.(protoreflect.ServiceDescriptor)
			if !ok {
				return nil, fmt.Errorf("%s is no service", name)
			}
			f.peers[name] = p
			f.services = append(f.services, sd)
		}
	}
	return f, nil
}

// Invoke calls the owner of the method for a REST handler.
func (f *Forwarder) Invoke(ctx context.Context, method string, in, out any, opts ...grpc.CallOption) error {
	ctx, err := f.gate.Admit(ctx, method)
	if err != nil {
		return err
	}
	_, err = f.audit.Unary(ctx, in, &grpc.UnaryServerInfo{FullMethod: method}, func(ctx context.Context, in any) (any, error) {
		return out, f.call(ctx, method, in, out, opts...)
	})
	return err
}

// NewStream opens a stream at the owner of the method for a REST handler. It is released when ctx ends.
func (f *Forwarder) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	admitted, release, err := f.gate.AdmitStream(ctx, method)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, release)
	return f.audit.Open(admitted, desc, method, func() (grpc.ClientStream, error) { return f.open(admitted, desc, method, opts...) })
}

// Admitted returns a connection for calls that the gateway makes for a caller whom the gate has let in already.
func (f *Forwarder) Admitted() grpc.ClientConnInterface { return admitted{f} }

type admitted struct{ f *Forwarder }

func (a admitted) Invoke(ctx context.Context, method string, in, out any, opts ...grpc.CallOption) error {
	return a.f.call(ctx, method, in, out, opts...)
}

func (a admitted) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return a.f.open(ctx, desc, method, opts...)
}

func (f *Forwarder) call(ctx context.Context, method string, in, out any, opts ...grpc.CallOption) error {
	p, err := f.owner(method)
	if err != nil {
		return err
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.timeout)
		defer cancel()
	}
	return p.explain(ctx, p.Conn.Invoke(ctx, method, in, out, opts...))
}

func (f *Forwarder) open(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	p, err := f.owner(method)
	if err != nil {
		return nil, err
	}
	s, err := p.Conn.NewStream(ctx, desc, method, opts...)
	if err != nil {
		return nil, p.explain(ctx, err)
	}
	return &stream{s, p}, nil
}

func (f *Forwarder) owner(method string) (Peer, error) {
	service, _, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	p, ok := f.peers[service]
	if !ok {
		return Peer{}, status.Errorf(codes.Unimplemented, "%s is not served here", service)
	}
	return p, nil
}

// stream explains the errors of a peer's stream.
type stream struct {
	grpc.ClientStream
	peer Peer
}

func (s *stream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err == io.EOF { //nolint:errorlint // the end of a stream is this very value
		return err
	}
	return s.peer.explain(s.Context(), err)
}

// explain says in the caller's words what the transport says in its own: the address of a peer is not the caller's
// business, and a stream that the gateway ended did not fail.
func (p Peer) explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); errs.CodeOf(cause) != errs.CodeUnknown {
		return cause
	}
	if errs.CodeOf(err) == errs.CodeUnavailable && errs.Reason(err) == "" {
		return errs.Unavailable("PEER_UNAVAILABLE", "%s does not answer just now; try again", p.Name)
	}
	// The bytes of a call over gRPC come from outside: it is the caller's fault when the service cannot read them.
	if s := status.Convert(err); s.Code() == codes.Internal && strings.HasPrefix(s.Message(), "grpc: error unmarshalling request") {
		return errs.Invalid("REQUEST_MALFORMED", "the request cannot be read: its bytes are no message of this method, or a text in it is no UTF-8")
	}
	return err
}
