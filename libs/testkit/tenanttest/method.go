package tenanttest

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/testkit/routetest"
)

// Ask is what a method is asked as another organisation. One of Of, List and Own is set.
type Ask struct {
	// Of returns the request about an object: Theirs, which an organisation has, or None, which nobody has. To others both are the same.
	Of           func(id string) proto.Message
	Theirs, None string
	// List is a request for a list of which others see nothing.
	List proto.Message
	// Own is the reason why the method can touch nothing of others.
	Own string
}

// Methods asks every method of a package that people call, "formicary.job.v1.", for what the caller of owner has, as the caller of
// other. A method without a row, by "Service/Method", fails.
func Methods(t *testing.T, conn grpc.ClientConnInterface, prefix string, owner, other context.Context, rows map[string]Ask) {
	t.Helper()
	known := map[string]bool{}
	for _, m := range routetest.Methods() {
		name, ok := strings.CutPrefix(m.Name, "/"+prefix)
		if !ok || m.Rule.Permission == "" {
			continue
		}
		known[name] = true
		row, ok := rows[name]
		if !ok {
			t.Errorf("%s has no row: what does it answer about the objects of another organisation?", name)
			continue
		}
		t.Run(name, func(t *testing.T) { row.check(t, conn, m, owner, other) })
	}
	for name := range rows {
		if !known[name] {
			t.Errorf("there is no method %s (any more)", name)
		}
	}
}

func (a Ask) check(t *testing.T, conn grpc.ClientConnInterface, m routetest.Method, owner, other context.Context) {
	switch {
	case a.Own != "":
	case a.List != nil:
		theirs, err := call(owner, conn, m, a.List)
		if err != nil || items(theirs) == 0 {
			t.Fatalf("the owner sees nothing: %v, %v", theirs, err)
		}
		if seen, err := call(other, conn, m, a.List); err != nil || items(seen) > 0 {
			t.Errorf("others see %v, %v", seen, err)
		}
	default:
		text := map[string]string{}
		for _, id := range []string{a.Theirs, a.None} {
			_, err := call(other, conn, m, a.Of(id))
			if errs.CodeOf(err) != errs.CodeNotFound {
				t.Errorf("others are answered %v", err)
				return
			}
			text[id] = strings.ReplaceAll(err.Error(), id, "ID")
		}
		if text[a.Theirs] != text[a.None] {
			t.Errorf("what others have, %q, is told apart from nothing, %q", text[a.Theirs], text[a.None])
		}
		if m.Rule.Reads { // last: it is still there
			if _, err := call(owner, conn, m, a.Of(a.Theirs)); errs.CodeOf(err) == errs.CodeNotFound {
				t.Errorf("the owner is answered %v", err)
			}
		}
	}
}

// call returns the answer, of a stream its first message.
func call(ctx context.Context, conn grpc.ClientConnInterface, m routetest.Method, req proto.Message) (proto.Message, error) {
	kind, err := protoregistry.GlobalTypes.FindMessageByName(m.Desc.Output().FullName())
	if err != nil {
		return nil, err
	}
	out := kind.New().Interface()
	if !m.Rule.Stream {
		return out, conn.Invoke(ctx, m.Name, req, out)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: m.Desc.IsStreamingServer(), ClientStreams: m.Desc.IsStreamingClient()}, m.Name)
	if err != nil {
		return nil, err
	}
	if err := s.SendMsg(req); err != nil {
		return nil, err
	}
	if err := s.CloseSend(); err != nil {
		return nil, err
	}
	return out, s.RecvMsg(out)
}

// items counts what lists hold.
func items(m proto.Message) (n int) {
	m.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.IsList() {
			n += v.List().Len()
		}
		return true
	})
	return n
}
