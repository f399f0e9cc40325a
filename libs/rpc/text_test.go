package rpc_test

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/apipb"
	"google.golang.org/protobuf/types/known/sourcecontextpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/rpc"
)

func TestCheckText(t *testing.T) {
	value := func(v any) *structpb.Value {
		out, err := structpb.NewValue(v)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for want, m := range map[string]proto.Message{
		"service": &grpc_health_v1.HealthCheckRequest{Service: "a\x00"}, "metadata": &errdetails.ErrorInfo{Metadata: map[string]string{"a\x00": ""}},
		"metadata.k": &errdetails.ErrorInfo{Metadata: map[string]string{"k": "\x00"}}, "stack_entries[1]": &errdetails.DebugInfo{StackEntries: []string{"a", "\x00"}},
		"source_context.file_name": &apipb.Api{SourceContext: &sourcecontextpb.SourceContext{FileName: "\x00"}},
		"reason":                   &errdetails.ErrorInfo{Reason: "\xff"},
	} {
		if err := rpc.CheckText(m); errs.Reason(err) != "REQUEST_INVALID" || !strings.Contains(err.Error(), "the field "+want+" ") {
			t.Errorf("%s: %v", want, err)
		}
	}
	for _, m := range []proto.Message{
		nil, &grpc_health_v1.HealthCheckRequest{Service: "ü\t\n"}, &apipb.Api{Methods: []*apipb.Method{{Name: "\x00"}}}, value([]any{"a", 1, nil}),
	} {
		if m == nil {
			continue
		}
		if err := rpc.CheckText(m); err != nil {
			t.Error(err)
		}
	}
}

func TestTextsOfCallsAreChecked(t *testing.T) {
	asked := 0
	client := serve(t, func(context.Context) error { asked++; return nil })
	for _, bad := range []string{"a\x00", "a\xff"} {
		_, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: bad})
		if errs.CodeOf(err) != errs.CodeInvalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
	s, err := client.Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "a\x00"})
	if err == nil {
		_, err = s.Recv()
	}
	if errs.CodeOf(err) != errs.CodeInvalid || asked != 0 {
		t.Errorf("stream: %v, asked %d", err, asked)
	}
}
