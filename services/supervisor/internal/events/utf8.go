package events

import (
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// validText returns a message in which every text is UTF-8, U+FFFD standing for what is not. Protobuf refuses the whole
// message for one bad byte, but an ant of another maker may send any, and its attempt has ended all the same. What cannot
// be read at all is returned as it is from there on.
func validText(raw []byte, of protoreflect.MessageDescriptor) []byte {
	out := make([]byte, 0, len(raw))
	for len(raw) > 0 {
		number, kind, tag := protowire.ConsumeTag(raw)
		if tag < 0 {
			return append(out, raw...)
		}
		size := protowire.ConsumeFieldValue(number, kind, raw[tag:])
		if size < 0 {
			return append(out, raw...)
		}
		field := of.Fields().ByNumber(number)
		if kind != protowire.BytesType || field == nil {
			out, raw = append(out, raw[:tag+size]...), raw[tag+size:]
			continue
		}
		value, _ := protowire.ConsumeBytes(raw[tag:])
		switch field.Kind() {
		case protoreflect.StringKind:
			value = []byte(strings.ToValidUTF8(string(value), "\uFFFD"))
		case protoreflect.MessageKind:
			value = validText(value, field.Message())
		default:
		}
		out = protowire.AppendBytes(append(out, raw[:tag]...), value)
		raw = raw[tag+size:]
	}
	return out
}
