package rpc

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/formicary/formicary/libs/errs"
)

const (
	tries      = 5
	firstPause = 20 * time.Millisecond // doubled each time: all pauses together are 0.3 s
)

// Keyed is a request in a form that this package cannot read, which says itself whether it carries a key.
type Keyed interface{ IdempotencyKey() bool }

// retry makes a call again that found no replica, or one that died or is ending, when making it twice does no harm: its
// method says so in its proto (idempotency_level), or the request carries an idempotency_key.
//
// Of the calls that a call leads to only the outermost is made again: the servers between would multiply the tries, while
// what they all need is away. So a call that would be made again says so, and calls that are made for it are not.
func retry(ctx context.Context, method string, req any, call func(context.Context) error) error {
	outermost := !retried(ctx)
	again := outermost && repeatable(method, req)
	if again || !outermost {
		ctx = metadata.AppendToOutgoingContext(ctx, retriedKey, "1")
	}
	pause := firstPause
	for try := 1; ; try++ {
		err := FromStatus(call(ctx))
		if err == nil || errs.CodeOf(err) != errs.CodeUnavailable || try == tries || !again {
			return err
		}
		wait := time.NewTimer(pause/2 + rand.N(pause)) // #nosec G404 -- spreads the callers, hides nothing
		select {
		case <-ctx.Done():
			wait.Stop()
			return err
		case <-wait.C:
		}
		pause *= 2
	}
}

// retriedKey says in the metadata of a call that it, or one that led to it, is made again when it fails.
const retriedKey = "x-formicary-retried"

type retriedCall struct{}

// incoming takes from the metadata of a call whether that is made again when it fails.
func incoming(ctx context.Context) context.Context {
	if len(metadata.ValueFromIncomingContext(ctx, retriedKey)) > 0 {
		return context.WithValue(ctx, retriedCall{}, true)
	}
	return ctx
}

func retried(ctx context.Context) bool { return ctx.Value(retriedCall{}) != nil }

func repeatable(method string, req any) bool {
	if idempotent(method) {
		return true
	}
	switch req := req.(type) {
	case Keyed:
		return req.IdempotencyKey()
	case proto.Message:
		m := req.ProtoReflect()
		key := m.Descriptor().Fields().ByName("idempotency_key")
		return key != nil && m.Has(key)
	}
	return false
}

// levels remembers what the protos say of a method, by its full name.
var levels sync.Map //nolint:gochecknoglobals // a cache of what is linked in

func idempotent(method string) bool {
	if known, ok := levels.Load(method); ok {
		return known == true
	}
	yes := false
	name := protoreflect.FullName(strings.ReplaceAll(strings.TrimPrefix(method, "/"), "/", "."))
	if d, err := protoregistry.GlobalFiles.FindDescriptorByName(name); err == nil {
		if o, ok := d.Options().(*descriptorpb.MethodOptions); ok {
			yes = o.GetIdempotencyLevel() != descriptorpb.MethodOptions_IDEMPOTENCY_UNKNOWN
		}
	}
	levels.Store(method, yes)
	return yes
}
