package forward

import (
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec of everything that is not passed on
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// frame is a message as it is on the wire.
type frame struct {
	data []byte
	key  protowire.Number // of the field idempotency_key; 0 when the message has none
}

// Raw returns the bytes.
func (f *frame) Raw() []byte { return f.data }

// IdempotencyKey says whether the request carries a key, so that it may be sent twice.
func (f *frame) IdempotencyKey() bool {
	if f.key == 0 {
		return false
	}
	for rest := f.data; len(rest) > 0; {
		num, typ, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return false
		}
		rest = rest[n:]
		size := protowire.ConsumeFieldValue(num, typ, rest)
		if size < 0 {
			return false
		}
		if num == f.key && typ == protowire.BytesType && size > 1 {
			return true
		}
		rest = rest[size:]
	}
	return false
}

type codec struct{ proto encoding.CodecV2 }

// Codec is the proto codec that leaves frames as they are.
func Codec() encoding.CodecV2 { return codec{encoding.GetCodecV2("proto")} }

func (c codec) Name() string { return c.proto.Name() }

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if f, ok := v.(*frame); ok {
		return mem.BufferSlice{mem.SliceBuffer(f.data)}, nil
	}
	return c.proto.Marshal(v)
}

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	if f, ok := v.(*frame); ok {
		f.data = data.Materialize()
		return nil
	}
	return c.proto.Unmarshal(data, v)
}
