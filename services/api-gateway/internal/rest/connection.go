package rest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/formicary/formicary/libs/errs"
)

// connection adapts the calls of the generated handlers: of the request's headers only its id travels on, its caller is in the context,
// the Idempotency-Key becomes a field, and a stream shows its first error before the answer has begun.
type connection struct{ to grpc.ClientConnInterface }

// Invoke makes a call.
func (c connection) Invoke(ctx context.Context, method string, in, out any, opts ...grpc.CallOption) error {
	md, _ := metadata.FromOutgoingContext(ctx)
	if err := setKey(in, md.Get(idempotencyKey)); err != nil {
		return err
	}
	return c.to.Invoke(only(ctx, md), method, in, out, opts...)
}

// NewStream opens a stream of answers.
func (c connection) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	md, _ := metadata.FromOutgoingContext(ctx)
	out, err := output(method)
	if err != nil {
		return nil, err
	}
	s, err := c.to.NewStream(only(ctx, md), desc, method, opts...)
	if err != nil {
		return nil, err
	}
	return &stream{ClientStream: s, first: out}, nil
}

// only keeps the request id of what the HTTP request brought.
func only(ctx context.Context, md metadata.MD) context.Context {
	return metadata.NewOutgoingContext(ctx, metadata.MD{strings.ToLower(requestID): md.Get(requestID)})
}

// setKey sets the field idempotency_key if the message has it. Who gives two keys believes in one of them: it is not for us
// to say in which.
func setKey(in any, keys []string) error {
	m, ok := in.(proto.Message)
	if !ok || len(keys) == 0 {
		return nil
	}
	f := m.ProtoReflect().Descriptor().Fields().ByName("idempotency_key")
	if f == nil {
		return nil
	}
	if m.ProtoReflect().Has(f) {
		keys = append(keys, m.ProtoReflect().Get(f).String())
	}
	for _, key := range keys {
		if key != keys[0] {
			return errs.Invalid("IDEMPOTENCY_KEY_AMBIGUOUS", "two idempotency keys are given, %q and %q: the header Idempotency-Key and the field idempotency_key must agree, or one be left out", keys[0], key)
		}
	}
	m.ProtoReflect().Set(f, protoreflect.ValueOfString(keys[0]))
	return nil
}

// output returns an empty answer of the method.
func output(method string) (proto.Message, error) {
	name := protoreflect.FullName(strings.ReplaceAll(strings.TrimPrefix(method, "/"), "/", "."))
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
	if err != nil {
		return nil, fmt.Errorf("find method %s: %w", method, err)
	}
	m, ok := d.(protoreflect.MethodDescriptor)
	if !ok {
		return nil, fmt.Errorf("%s is no method", method)
	}
	t, err := protoregistry.GlobalTypes.FindMessageByName(m.Output().FullName())
	if err != nil {
		return nil, fmt.Errorf("find the answer of %s: %w", method, err)
	}
	return t.New().Interface(), nil
}

// stream receives its first message when it is asked for the header, so that an error of the call becomes the status
// of the HTTP answer.
type stream struct {
	grpc.ClientStream
	first proto.Message
	asked bool
	held  bool
	err   error
}

// Header waits for the first message.
func (s *stream) Header() (metadata.MD, error) {
	if !s.asked {
		s.asked, s.held = true, true
		s.err = s.ClientStream.RecvMsg(s.first)
	}
	if errors.Is(s.err, io.EOF) {
		return nil, nil
	}
	return nil, s.err
}

// RecvMsg returns the held message first.
func (s *stream) RecvMsg(m any) error {
	if !s.held {
		return s.ClientStream.RecvMsg(m)
	}
	s.held = false
	if s.err != nil {
		return s.err
	}
	to, ok := m.(proto.Message)
	if !ok {
		return fmt.Errorf("%T is no message", m)
	}
	proto.Merge(to, s.first)
	s.first = nil
	return nil
}
