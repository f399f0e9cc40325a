package auditlog

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/rpc"
)

func nameOf(full string) protoreflect.FullName {
	return protoreflect.FullName(strings.ReplaceAll(strings.TrimPrefix(full, "/"), "/", "."))
}

// call is one that is audited.
type call struct {
	log    *Log
	method *method
	ctx    context.Context //nolint:containedctx // it is that of the call, whose life this value shares
	began  time.Time
	key    []byte

	mu       sync.Mutex
	event    *Event
	in       protoreflect.Message
	answered bool
	over     bool
	stored   chan struct{} // closed when the intent is stored, or is not: err
	err      error
}

// call returns one that begins now, or nil when the method is not audited.
func (l *Log) call(ctx context.Context, full string) *call {
	m, ok := l.methods[full]
	if !ok {
		return nil
	}
	return &call{log: l, method: m, ctx: ctx, began: time.Now()}
}

// event of a call of ctx.
func (l *Log) event(ctx context.Context, m *method) *Event {
	who := access.From(ctx)
	e := &Event{
		ID: uuid.Must(uuid.NewV7()), At: time.Now(), Org: who.Org, Actor: who.User, ActorKind: string(who.Kind), Credential: who.Credential,
		Method: m.name, Permission: m.permission, ObjectKind: m.kind, RequestID: requestID(ctx),
	}
	if l.o.From != nil {
		e.Address, e.Agent = l.o.From(ctx)
	}
	return e
}

const requestIDKey = "x-request-id"

// requestID of a call over gRPC, or of one that a REST handler makes.
func requestID(ctx context.Context) string {
	in, _ := metadata.FromIncomingContext(ctx)
	out, _ := metadata.FromOutgoingContext(ctx)
	for _, md := range [...]metadata.MD{in, out} {
		if id := md.Get(requestIDKey); len(id) > 0 {
			return id[0]
		}
	}
	return ""
}

// begin stores the intent of a call with its first request, beside the call unless the log is poor.
func (c *call) begin(req any) error {
	c.mu.Lock()
	if c.event != nil {
		c.mu.Unlock()
		return nil
	}
	e := c.log.event(c.ctx, c.method)
	c.event, c.stored = e, make(chan struct{})
	c.in = decode(req, c.method.in)
	e.ObjectID = name(c.in, nil)
	key, err := c.log.digestKey(c.ctx)
	c.key, e.RequestDigest = key, digest(key, c.in)
	e.clean()
	c.mu.Unlock()
	if err != nil {
		c.settle(unavailable())
		return unavailable()
	}
	if c.method.public { // written when it has ended: before, nobody knows who it is
		c.settle(nil)
		return nil
	}
	c.log.mu.Lock()
	c.log.open[e.ID] = c.began
	c.log.mu.Unlock()
	go func() { c.settle(c.log.store(c.ctx, e)) }()
	if c.log.poor.Load() {
		return c.wait()
	}
	return nil
}

func (c *call) settle(err error) {
	c.err = err
	close(c.stored)
}

// wait returns when the intent is stored.
func (c *call) wait() error {
	<-c.stored
	return c.err
}

// answer waits for the intent before something is shown.
func (c *call) answer() error {
	if err := c.begin(nil); err != nil {
		return err
	}
	if err := c.wait(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answered = true
	return nil
}

// end joins the outcome. Its error is to be given to the caller instead of the answer.
func (c *call) end(res any, err error) error {
	took := time.Since(c.began)
	berr := c.begin(nil)
	c.mu.Lock()
	if c.over {
		c.mu.Unlock()
		return nil
	}
	c.over = true
	if c.answered && errors.Is(c.ctx.Err(), context.Canceled) {
		err = nil // a caller who has heard enough
	}
	c.mu.Unlock()
	if berr == nil {
		berr = c.wait()
	}
	e := *c.event // what the intent holds may be being stored
	e.Took = took
	e.judge(err)
	var out protoreflect.Message
	if err == nil && res != nil {
		if out = decode(res, c.method.out); name(c.in, out) != "" {
			e.ObjectID = name(c.in, out)
		}
		e.AfterDigest = digest(c.key, object(out))
	}
	if c.method.public {
		return c.endPublic(&e, out)
	}
	e.clean()
	c.log.add(Ended{&e, berr == nil})
	return berr
}

// endPublic writes the event of a call that needs no caller: a login, most of all.
func (c *call) endPublic(e *Event, out protoreflect.Message) error {
	if pending := field(out, "pending"); pending != nil && out.Get(pending).Bool() {
		return nil // a poll that has heard nothing
	}
	session := object(out)
	if user := text(session, "user"); e.Actor == "" && user != "" {
		e.Actor, e.ActorKind, e.Credential = user, string(access.Person), text(session, "id")
	}
	e.clean()
	if e.Actor == "" {
		if c.log.allowed(c.ctx, e.Address) {
			c.log.add(Ended{e, false})
		}
		return nil
	}
	err := c.err
	if err == nil {
		err = c.log.store(c.ctx, e)
	}
	c.log.add(Ended{e, err == nil})
	return err
}

// judge sets the outcome.
func (e *Event) judge(err error) {
	if err == nil {
		e.Code, e.Outcome = "OK", OK
		return
	}
	s := rpc.ToStatus(err)
	e.Code, e.Reason = code.Code(s.Code()).String(), errs.Reason(err)
	switch s.Code() {
	case codes.PermissionDenied, codes.Unauthenticated:
		e.Outcome = Refused
	case codes.Canceled, codes.DeadlineExceeded:
		e.Outcome = Unknown
	default:
		e.Outcome = Failed
	}
}

// Refuse writes that a call was not let in.
func (l *Log) Refuse(ctx context.Context, full string, who access.Caller, err error) {
	rule, known := l.o.Rules[full]
	refused := errs.CodeOf(err) == errs.CodeDenied || errs.CodeOf(err) == errs.CodeUnauthenticated || errs.Reason(err) == "ORG_NOT_FOUND"
	if !known || !refused {
		return
	}
	m := l.methods[full]
	if m == nil {
		m = &method{name: full[1:], permission: rule.Permission, kind: kindOf(nameOf(full).Name())}
	}
	e := l.event(access.With(ctx, who), m)
	e.judge(err)
	e.Outcome = Refused
	e.clean()
	if l.allowed(ctx, e.Address) {
		l.add(Ended{e, false})
	}
}

var errPanicked = errors.New("the call panicked")

// Unary audits calls: a grpc.UnaryServerInterceptor behind the one that admits.
func (l *Log) Unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (res any, err error) {
	c := l.call(ctx, info.FullMethod)
	if c == nil {
		return next(ctx, req)
	}
	if err := c.begin(req); err != nil {
		_ = c.end(nil, err)
		return nil, err
	}
	err = errPanicked
	defer func() {
		if aerr := c.end(res, err); aerr != nil && err == nil {
			res, err = nil, aerr
		}
	}()
	res, err = next(ctx, req)
	return res, err
}

// Stream audits streams: a grpc.StreamServerInterceptor behind the one that admits.
func (l *Log) Stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	c := l.call(ss.Context(), info.FullMethod)
	if c == nil {
		return next(srv, ss)
	}
	s := &serverStream{ServerStream: ss, call: c}
	err = errPanicked
	defer func() {
		if aerr := c.end(s.last(), err); aerr != nil && err == nil {
			err = aerr
		}
	}()
	return next(srv, s)
}

type serverStream struct {
	grpc.ServerStream
	call *call
	mu   sync.Mutex
	sent any // the first answer
}

func (s *serverStream) last() any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent
}

func (s *serverStream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	return s.call.begin(m)
}

func (s *serverStream) SendMsg(m any) error {
	if s.last() == nil {
		if err := s.call.answer(); err != nil {
			return err
		}
		s.mu.Lock()
		s.sent = m
		s.mu.Unlock()
	}
	return s.ServerStream.SendMsg(m)
}

// Open audits a stream that the gateway opens for a REST handler. It ends with ctx.
func (l *Log) Open(ctx context.Context, desc *grpc.StreamDesc, full string, open func() (grpc.ClientStream, error)) (grpc.ClientStream, error) {
	c := l.call(ctx, full)
	if c == nil {
		return open()
	}
	cs, err := open()
	if err != nil {
		_ = c.end(nil, err)
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = c.end(nil, context.Cause(ctx)) })
	return &clientStream{ClientStream: cs, call: c, one: !desc.ServerStreams}, nil
}

type clientStream struct {
	grpc.ClientStream
	call *call
	one  bool // there is one answer
}

func (s *clientStream) SendMsg(m any) error {
	if err := s.call.begin(m); err != nil {
		return err
	}
	return s.ClientStream.SendMsg(m)
}

func (s *clientStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	switch {
	case errors.Is(err, io.EOF):
		if aerr := s.call.end(nil, nil); aerr != nil {
			return aerr
		}
		return err
	case err != nil:
		_ = s.call.end(nil, err)
		return err
	case s.one:
		return s.call.end(m, nil)
	}
	return s.call.answer()
}
