// Package rpc makes gRPC servers and connections that all services use alike: panics stay inside, only typed errors
// cross the border, every call is admitted before anything else looks at it, and messages are validated by the rules in
// their protos. Lists share their page tokens.
package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"buf.build/go/protovalidate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/proto"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/errs"
)

// MaxMessage is the largest message that servers and clients accept, in bytes.
const MaxMessage = 32 << 20

// connectionAge is after which a client that is connected by TCP connects, and asks DNS, again: what it takes at most until
// it notices a new replica. Calls and streams under way are finished on the old connection, however long they take.
const connectionAge = 2 * time.Minute

// Admit decides about a call of a method before anything else looks at it. It returns the context that carries the caller, or
// why the call is refused.
type Admit func(ctx context.Context, method string) (context.Context, error)

// NewServer returns a server with health checking and the interceptors of this package before those of opts. Every call,
// unary or stream, passes admit first.
func NewServer(log *slog.Logger, admit Admit, opts ...grpc.ServerOption) *grpc.Server {
	opts = append([]grpc.ServerOption{
		grpc.ChainUnaryInterceptor(unaryServer(log, admit)),
		grpc.ChainStreamInterceptor(streamServer(log, admit)),
		grpc.MaxRecvMsgSize(MaxMessage),
		grpc.MaxSendMsgSize(MaxMessage),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: connectionAge}),
	}, opts...)
	s := grpc.NewServer(opts...)
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	return s
}

func unaryServer(log *slog.Logger, admit Admit) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (res any, err error) {
		defer func() { err = border(ctx, log, info.FullMethod, recover(), err) }()
		ctx, err = admit(incoming(ctx), info.FullMethod)
		if err != nil {
			return nil, err
		}
		if err := validate(req); err != nil {
			return nil, err
		}
		if err := access.CheckAnt(ctx, req); err != nil {
			return nil, err
		}
		return next(ctx, req)
	}
}

func streamServer(log *slog.Logger, admit Admit) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
		defer func() { err = border(ss.Context(), log, info.FullMethod, recover(), err) }()
		ctx, err := admit(incoming(ss.Context()), info.FullMethod)
		if err != nil {
			return err
		}
		return next(srv, &serverStream{ServerStream: ss, ctx: ctx})
	}
}

type serverStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *serverStream) Context() context.Context { return s.ctx }

func (s *serverStream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	if err := validate(m); err != nil {
		return err
	}
	return access.CheckAnt(s.ctx, m)
}

// border turns what a handler left behind into what the caller sees, and logs once what the caller does not see.
func border(ctx context.Context, log *slog.Logger, method string, panicked any, err error) error {
	if panicked != nil {
		err = fmt.Errorf("panic: %v\n%s", panicked, debug.Stack())
	}
	if err == nil {
		return nil
	}
	s := ToStatus(ending(ctx, err))
	if s.Code() == codes.Internal || s.Code() == codes.Unknown {
		log.ErrorContext(ctx, "call failed", "method", method, "error", err)
	} else if s.Code() == codes.Unavailable && s.Message() != err.Error() {
		log.WarnContext(ctx, "call could not be done", "method", method, "error", err)
	}
	return s.Err()
}

// ending tells the end of this server from that of the call: when work is cancelled whose caller still waits, it was not
// the caller, and another replica may do it.
func ending(ctx context.Context, err error) error {
	if errors.Is(err, context.Canceled) && ctx.Err() == nil && errs.CodeOf(err) == errs.CodeUnknown {
		return errs.ErrShutdown
	}
	return err
}

// validate applies the rules that stand in the message's proto, and the one for all texts.
func validate(m any) error {
	msg, ok := m.(proto.Message)
	if !ok {
		return nil
	}
	if err := CheckText(msg); err != nil {
		return err
	}
	err := protovalidate.Validate(msg)
	if err == nil {
		return nil
	}
	var bad *protovalidate.ValidationError
	if !errors.As(err, &bad) {
		return fmt.Errorf("validate %T: %w", m, err)
	}
	out := errs.Invalid("REQUEST_INVALID", "%s", bad.Error())
	for _, v := range bad.Violations {
		_ = out.WithViolations(errs.Violation{
			Field: protovalidate.FieldPathString(v.Proto.GetField()), Description: v.Proto.GetMessage(), Reason: v.Proto.GetRuleId(),
		})
	}
	return out
}
