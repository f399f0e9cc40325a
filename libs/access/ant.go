package access

import (
	"context"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/formicary/formicary/libs/errs"
)

// AntField is the field in which the requests of ants name the ant that asks.
const AntField = "ant_id"

type antKey struct{}

// WithAntOnly returns a context in which requests must name the ant that makes the call, and no other.
func WithAntOnly(ctx context.Context) context.Context { return context.WithValue(ctx, antKey{}, true) }

// CheckAnt refuses a request that an ant makes in the name of another one, or of none.
func CheckAnt(ctx context.Context, req any) error {
	if only, _ := ctx.Value(antKey{}).(bool); !only {
		return nil
	}
	c := From(ctx)
	if id, ok := antOf(req); !ok || c.Kind != Ant || id != c.User {
		return errs.Denied("ANT_OTHER", "%s may speak for itself only, not for %q", c.User, id)
	}
	return nil
}

func antOf(req any) (string, bool) {
	m, ok := req.(proto.Message)
	if !ok {
		return "", false
	}
	f := m.ProtoReflect().Descriptor().Fields().ByName(AntField)
	if f == nil || f.Kind() != protoreflect.StringKind || f.IsList() {
		return "", false
	}
	return m.ProtoReflect().Get(f).String(), true
}
