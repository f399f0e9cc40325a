package forward

import (
	"context"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Register adds the services of the peers to a server that uses Codec.
func (f *Forwarder) Register(r grpc.ServiceRegistrar) {
	for _, sd := range f.services {
		r.RegisterService(f.describe(sd), f)
	}
}

func (f *Forwarder) describe(sd protoreflect.ServiceDescriptor) *grpc.ServiceDesc {
	d := &grpc.ServiceDesc{ServiceName: string(sd.FullName()), HandlerType: (*any)(nil), Metadata: sd.ParentFile().Path()}
	for i := range sd.Methods().Len() {
		m := sd.Methods().Get(i)
		name, full := string(m.Name()), "/"+d.ServiceName+"/"+string(m.Name())
		switch {
		case m.IsStreamingClient():
			d.Streams = append(d.Streams, grpc.StreamDesc{StreamName: name, ClientStreams: true, ServerStreams: m.IsStreamingServer(), Handler: f.serveUpload(full)})
		case m.IsStreamingServer():
			d.Streams = append(d.Streams, grpc.StreamDesc{StreamName: name, ServerStreams: true, Handler: f.serveStream(full)})
		default:
			d.Methods = append(d.Methods, grpc.MethodDesc{MethodName: name, Handler: f.serveUnary(full, keyOf(m))})
		}
	}
	return d
}

// keyOf returns the number of the field idempotency_key of a method's request, or 0.
func keyOf(m protoreflect.MethodDescriptor) protowire.Number {
	if key := m.Input().Fields().ByName("idempotency_key"); key != nil {
		return key.Number()
	}
	return 0
}

func (f *Forwarder) serveUnary(method string, key protowire.Number) grpc.MethodHandler {
	pass := func(ctx context.Context, in any) (any, error) {
		out := &frame{}
		if err := f.call(ctx, method, in, out, grpc.ForceCodecV2(Codec())); err != nil {
			return nil, err
		}
		return out, nil
	}
	return func(srv any, ctx context.Context, dec func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
		in := &frame{key: key}
		if err := dec(in); err != nil {
			return nil, err
		}
		if intercept == nil {
			return pass(ctx, in)
		}
		return intercept(ctx, in, &grpc.UnaryServerInfo{Server: srv, FullMethod: method}, pass)
	}
}

func (f *Forwarder) serveStream(method string) grpc.StreamHandler {
	return func(_ any, ss grpc.ServerStream) error {
		in := &frame{}
		if err := ss.RecvMsg(in); err != nil {
			return err
		}
		out, err := f.open(ss.Context(), &grpc.StreamDesc{ServerStreams: true}, method, grpc.ForceCodecV2(Codec()))
		if err != nil {
			return err
		}
		if err := out.SendMsg(in); err != nil {
			return err
		}
		if err := out.CloseSend(); err != nil {
			return err
		}
		return copyAll(ss, out)
	}
}

// serveUpload passes on what the caller sends while it sends it.
func (f *Forwarder) serveUpload(method string) grpc.StreamHandler {
	return func(_ any, ss grpc.ServerStream) error {
		ctx, cancel := context.WithCancel(ss.Context()) // so that nothing is sent any more when this returns
		defer cancel()
		out, err := f.open(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method, grpc.ForceCodecV2(Codec()))
		if err != nil {
			return err
		}
		go func() { // it ends with the call, whose end ends RecvMsg
			for {
				in := &frame{}
				err := ss.RecvMsg(in)
				if err == io.EOF { //nolint:errorlint // the end of a stream is this very value
					_ = out.CloseSend()
					return
				}
				if err != nil {
					cancel()
					return
				}
				if out.SendMsg(in) != nil {
					return // what is received says why
				}
			}
		}()
		return copyAll(ss, out)
	}
}

func copyAll(to grpc.ServerStream, from grpc.ClientStream) error {
	for {
		m := &frame{}
		err := from.RecvMsg(m)
		if err == io.EOF { //nolint:errorlint // the end of a stream is this very value
			return nil
		}
		if err != nil {
			return err
		}
		if err := to.SendMsg(m); err != nil {
			return err
		}
	}
}
