package auditapi

import (
	"context"
	"fmt"
	"io"

	"buf.build/go/protovalidate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/formicary/formicary/libs/errs"
	identityv1 "github.com/formicary/formicary/proto/gen/formicary/identity/v1"
	"github.com/formicary/formicary/services/api-gateway/internal/auditlog"
	"github.com/formicary/formicary/services/api-gateway/internal/gate"
)

// Beside serves the audit log to REST handlers of this process, and leaves all other calls to conn. Its calls pass the gate
// and the log as those over gRPC do.
func Beside(conn grpc.ClientConnInterface, s *Server, g *gate.Gate, log *auditlog.Log) grpc.ClientConnInterface {
	return &beside{conn, s, g, log}
}

type beside struct {
	grpc.ClientConnInterface
	server *Server
	gate   *gate.Gate
	log    *auditlog.Log
}

// Invoke implements grpc.ClientConnInterface.
func (b *beside) Invoke(ctx context.Context, method string, in, out any, opts ...grpc.CallOption) error {
	if method != identityv1.AuditService_ListAuditEvents_FullMethodName {
		return b.ClientConnInterface.Invoke(ctx, method, in, out, opts...)
	}
	ctx, err := b.gate.Admit(ctx, method)
	if err != nil {
		return err
	}
	req, ok := in.(*identityv1.ListAuditEventsRequest)
	to, also := out.(*identityv1.ListAuditEventsResponse)
	if !ok || !also {
		return fmt.Errorf("%T and %T are no messages of %s", in, out, method)
	}
	if err := valid(req); err != nil {
		return err
	}
	res, err := b.server.ListAuditEvents(ctx, req)
	if err != nil {
		return err
	}
	proto.Merge(to, res)
	return nil
}

func valid(m proto.Message) error {
	if err := protovalidate.Validate(m); err != nil {
		return errs.Invalid("REQUEST_INVALID", "%s", err)
	}
	return nil
}

// NewStream implements grpc.ClientConnInterface.
func (b *beside) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	var serve func(*local) error
	switch method {
	case identityv1.AuditService_ExportAuditEvents_FullMethodName:
		serve = func(l *local) error {
			req := &identityv1.ExportAuditEventsRequest{}
			if err := l.request(req); err != nil {
				return err
			}
			return b.server.ExportAuditEvents(req, &grpc.GenericServerStream[identityv1.ExportAuditEventsRequest, identityv1.ExportAuditEventsResponse]{ServerStream: serverSide{l}})
		}
	case identityv1.AuditService_VerifyAuditLog_FullMethodName:
		serve = func(l *local) error {
			req := &identityv1.VerifyAuditLogRequest{}
			if err := l.request(req); err != nil {
				return err
			}
			return b.server.VerifyAuditLog(req, &grpc.GenericServerStream[identityv1.VerifyAuditLogRequest, identityv1.VerifyAuditLogResponse]{ServerStream: serverSide{l}})
		}
	default:
		return b.ClientConnInterface.NewStream(ctx, desc, method, opts...)
	}
	admitted, release, err := b.gate.AdmitStream(ctx, method)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, release)
	return b.log.Open(admitted, desc, method, func() (grpc.ClientStream, error) {
		return &local{ctx: admitted, serve: serve, messages: make(chan proto.Message)}, nil
	})
}

// local is a stream of answers inside the process: the client's side. The server works while ctx lives.
type local struct {
	grpc.ClientStream
	ctx      context.Context //nolint:containedctx // a stream has one
	serve    func(*local) error
	in       proto.Message
	messages chan proto.Message // closed at the end: err
	err      error
}

func (l *local) request(to proto.Message) error {
	proto.Merge(to, l.in)
	return valid(to)
}

// Context implements grpc.ClientStream.
func (l *local) Context() context.Context { return l.ctx }

// SendMsg begins the call.
func (l *local) SendMsg(m any) error {
	in, ok := m.(proto.Message)
	if !ok {
		return fmt.Errorf("%T is no message", m)
	}
	l.in = in
	go func() {
		defer close(l.messages)
		l.err = l.serve(l)
	}()
	return nil
}

// CloseSend implements grpc.ClientStream.
func (l *local) CloseSend() error { return nil }

// RecvMsg implements grpc.ClientStream.
func (l *local) RecvMsg(m any) error {
	got, ok := <-l.messages
	if !ok {
		if l.err != nil {
			return l.err
		}
		return io.EOF
	}
	to, ok := m.(proto.Message)
	if !ok {
		return fmt.Errorf("%T is no message", m)
	}
	proto.Merge(to, got)
	return nil
}

// serverSide is the other side of the stream.
type serverSide struct{ l *local }

func (s serverSide) Context() context.Context { return s.l.ctx }

func (s serverSide) SendMsg(m any) error {
	msg, ok := m.(proto.Message)
	if !ok {
		return fmt.Errorf("%T is no message", m)
	}
	select {
	case s.l.messages <- msg:
		return nil
	case <-s.l.ctx.Done():
		return context.Cause(s.l.ctx)
	}
}

func (serverSide) RecvMsg(any) error            { return io.EOF }
func (serverSide) SetHeader(metadata.MD) error  { return nil }
func (serverSide) SendHeader(metadata.MD) error { return nil }
func (serverSide) SetTrailer(metadata.MD)       {}
