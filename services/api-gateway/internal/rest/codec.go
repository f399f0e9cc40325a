package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/formicary/formicary/libs/exact"
	"github.com/formicary/formicary/libs/rpc"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
)

// The media types.
const (
	typeJSON   = "application/json"
	typeNDJSON = "application/x-ndjson"
	typeSSE    = "text/event-stream"
	typeText   = "text/plain"
)

// jsonCodec is JSON with the names of the protos. Answers name every field that is not a message, so that a script
// finds `exit_code: 0` and `requests: []`; the lines of streams name only what is set.
type jsonCodec struct {
	// stream is the content type of streams; empty means application/json.
	stream string
}

// Marshal encodes an answer, a part of a stream or an error.
func (jsonCodec) Marshal(v any) ([]byte, error) {
	switch v := v.(type) {
	case proto.Message:
		return exact.Marshal(protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}, v)
	case map[string]any: // a part of a stream
		if m, ok := v["result"].(proto.Message); ok {
			return part("result", m)
		}
	case map[string]proto.Message: // the error that ends a stream
		if m, ok := v["error"]; ok {
			return part("error", m)
		}
	}
	return json.Marshal(v)
}

func part(name string, m proto.Message) ([]byte, error) {
	b := append(make([]byte, 0, 512), `{"`+name+`":`...)
	b, err := exact.MarshalAppend(protojson.MarshalOptions{UseProtoNames: true}, b, m)
	return append(b, '}'), err
}

// Unmarshal decodes a message and refuses unknown fields and whatever follows it.
func (jsonCodec) Unmarshal(data []byte, v any) error {
	m, ok := v.(proto.Message)
	if !ok {
		m, ok = inner(v)
	}
	if !ok {
		return json.Unmarshal(data, v)
	}
	if err := exact.Unmarshal(protojson.UnmarshalOptions{RecursionLimit: maxNesting}, data, m); err != nil {
		return fmt.Errorf("%s", place(err.Error()))
	}
	return rpc.CheckText(m)
}

// inner makes the message that a field of the request holds, where the body is that field: v points to the field.
func inner(v any) (proto.Message, bool) {
	field := reflect.ValueOf(v)
	if field.Kind() != reflect.Pointer || field.Elem().Kind() != reflect.Pointer {
		return nil, false
	}
	if field = field.Elem(); field.IsNil() {
		field.Set(reflect.New(field.Type().Elem()))
	}
	return reflect.TypeAssert[proto.Message](field)
}

// maxNesting of messages in a body. A level of JSON in a parameter is two messages, and definitions allow 64 levels;
// what is nested deeper would only be refused by the decoder of the service.
const maxNesting = 200

var atLine = regexp.MustCompile(`^\(line (\d+):(\d+)\): `)

// place writes where in the body the fault is: "line 1, column 8: unknown field …".
func place(message string) string {
	message = strings.TrimLeft(strings.TrimPrefix(message, "proto:"), " \u00a0")
	message = strings.TrimPrefix(message, "syntax error ")
	return atLine.ReplaceAllString(message, "line $1, column $2: ")
}

// NewDecoder reads one message; io.EOF says that there is none.
func (c jsonCodec) NewDecoder(r io.Reader) runtime.Decoder {
	return runtime.DecoderFunc(func(v any) error {
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if len(bytes.TrimSpace(data)) == 0 {
			return io.EOF
		}
		return c.Unmarshal(data, v)
	})
}

// NewEncoder writes messages.
func (c jsonCodec) NewEncoder(w io.Writer) runtime.Encoder { return encode(c, w) }

func encode(c runtime.Marshaler, w io.Writer) runtime.Encoder {
	return runtime.EncoderFunc(func(v any) error {
		b, err := c.Marshal(v)
		if err != nil {
			return err
		}
		_, err = w.Write(b)
		return err
	})
}

// ContentType of answers.
func (jsonCodec) ContentType(any) string { return typeJSON }

// StreamContentType of streams.
func (c jsonCodec) StreamContentType(any) string {
	if c.stream != "" {
		return c.stream
	}
	return typeJSON
}

// sseCodec writes streams as server-sent events. The id is what the client sends back as Last-Event-ID: of an event
// its id, of a piece of a log its run, its attempt and the offset that follows it, see place.go. An error is an event of the type "failure".
type sseCodec struct{ jsonCodec }

// Marshal encodes one event without the empty line that ends it.
func (c sseCodec) Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	var m proto.Message
	switch v := v.(type) {
	case map[string]any:
		m, _ = v["result"].(proto.Message)
	case map[string]proto.Message:
		m = v["error"]
		b.WriteString("event: failure\n")
	}
	if m == nil {
		return c.jsonCodec.Marshal(v)
	}
	if id := eventID(m); id != "" {
		b.WriteString("id: " + id + "\n")
	}
	b.WriteString("data: ")
	out, err := exact.MarshalAppend(protojson.MarshalOptions{UseProtoNames: true}, b.Bytes(), m)
	return append(out, '\n'), err
}

func eventID(m proto.Message) string {
	switch m := m.(type) {
	case interface{ GetId() string }:
		return m.GetId()
	case *executionv1.WatchTaskLogResponse:
		return logPlace{m.GetRun(), m.GetAttempt(), max(m.GetNextOffset(), m.GetOffset()+int64(len(m.GetData())))}.String() // a supervisor of before says no next
	}
	return ""
}

// ContentType of the error that is the whole answer.
func (sseCodec) ContentType(any) string { return typeSSE }

// StreamContentType of streams.
func (sseCodec) StreamContentType(any) string { return typeSSE }

// Delimiter ends an event.
func (sseCodec) Delimiter() []byte { return []byte("\n") }

// NewEncoder writes events.
func (c sseCodec) NewEncoder(w io.Writer) runtime.Encoder { return encode(c, w) }

// textCodec writes a log as the bytes that it is.
type textCodec struct{ jsonCodec }

// Marshal returns the bytes of a piece of a log.
func (c textCodec) Marshal(v any) ([]byte, error) {
	switch v := v.(type) {
	case map[string]any:
		if m, ok := v["result"].(*executionv1.WatchTaskLogResponse); ok {
			return m.GetData(), nil
		}
	case map[string]proto.Message:
		if s, ok := v["error"].(interface{ GetMessage() string }); ok {
			return []byte("\n[the log breaks off: " + s.GetMessage() + "]\n"), nil
		}
	}
	return c.jsonCodec.Marshal(v)
}

// ContentType of the whole answer.
func (textCodec) ContentType(any) string { return typeText + "; charset=utf-8" }

// StreamContentType of streams.
func (textCodec) StreamContentType(any) string { return typeText + "; charset=utf-8" }

// Delimiter is nothing: the log has its own lines.
func (textCodec) Delimiter() []byte { return nil }

// NewEncoder writes pieces.
func (c textCodec) NewEncoder(w io.Writer) runtime.Encoder { return encode(c, w) }
