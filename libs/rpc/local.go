package rpc

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Local calls services of its own process as a server of this package would: admitted, validated, and with what a caller
// may see of errors. Register them as with a server. It has no streams.
type Local struct {
	intercept grpc.UnaryServerInterceptor
	methods   map[string]localMethod
}

type localMethod struct {
	impl    any
	handler grpc.MethodHandler
}

// NewLocal returns a connection to services that are registered with it. Calls that are admitted pass then.
func NewLocal(log *slog.Logger, admit Admit, then grpc.UnaryServerInterceptor) *Local {
	outer := unaryServer(log, admit)
	return &Local{func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		return outer(ctx, req, info, func(ctx context.Context, req any) (any, error) { return then(ctx, req, info, next) })
	}, map[string]localMethod{}}
}

// RegisterService implements grpc.ServiceRegistrar.
func (l *Local) RegisterService(d *grpc.ServiceDesc, impl any) {
	for _, m := range d.Methods {
		l.methods["/"+d.ServiceName+"/"+m.MethodName] = localMethod{impl, m.Handler}
	}
}

// Has says whether a method is served here.
func (l *Local) Has(method string) bool {
	_, ok := l.methods[method]
	return ok
}

// Invoke implements grpc.ClientConnInterface.
func (l *Local) Invoke(ctx context.Context, method string, in, out any, _ ...grpc.CallOption) error {
	m, ok := l.methods[method]
	if !ok {
		return status.Errorf(codes.Unimplemented, "there is no method %s", strings.TrimPrefix(method, "/"))
	}
	res, err := m.handler(m.impl, ctx, func(to any) error { return copyMessage(to, in) }, l.intercept)
	if err != nil {
		return FromStatus(err)
	}
	return copyMessage(out, res)
}

func copyMessage(to, from any) error {
	dst, ok := to.(proto.Message)
	src, also := from.(proto.Message)
	if !ok || !also {
		return fmt.Errorf("copy a %T to a %T: want messages", from, to)
	}
	proto.Merge(dst, src)
	return nil
}

// NewStream implements grpc.ClientConnInterface.
func (l *Local) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, status.Error(codes.Unimplemented, "no service of this process has streams")
}
