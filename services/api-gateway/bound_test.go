package apigateway_test

import (
	"errors"
	"strings"
	"testing"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	identityv1 "github.com/formicary/formicary/proto/gen/formicary/identity/v1"
)

// whole names the lists without pages, and what bounds them.
var whole = map[string]string{
	"formicary.job.v1.JobRequestService.ExplainJobRequest":    "the gates of one request",
	"formicary.identity.v1.SessionService.ListSessions":       "the thousand newest of one user",
	"formicary.job.v1.SecretService.GetSecret":                "its ten newest versions",
	"formicary.job.v1.SecretService.GetKeyRing":               "the keys of the operator's file",
	"formicary.resource.v1.ExecutorService.ListExecutors":     "the methods there are",
	"formicary.job.v1.QuotaService.GetQuota":                  "the quotas there are",
	"formicary.resource.v1.AntIdentityService.ListJoinTokens": "the thousand newest of a day",
}

// TestListsArePagesOfBoundedSize walks every method that reads: whoever asks for a list gets at most 1,000 of it at once.
func TestListsArePagesOfBoundedSize(t *testing.T) {
	pages := 0
	everyMethod(func(m protoreflect.MethodDescriptor) {
		size := m.Input().Fields().ByName("page_size")
		if size == nil {
			if forPeople(m) && reads(m) && isList(m.Output()) && whole[string(m.FullName())] == "" {
				t.Errorf("%s answers a list without page_size", m.FullName())
			}
			return
		}
		pages++
		for n, ok := range map[int32]bool{0: true, 1000: true, 1001: false, -1: false, 1<<31 - 1: false} {
			in, _, err := types("/" + string(m.Parent().FullName()) + "/" + string(m.Name()))
			if err != nil {
				t.Fatal(err)
			}
			in.ProtoReflect().Set(size, protoreflect.ValueOfInt32(n))
			if refused := refusesField(t, in, "page_size"); refused == ok {
				t.Errorf("%s: page_size %d is refused: %v", m.FullName(), n, refused)
			}
		}
	})
	if pages < 12 {
		t.Errorf("only %d lists were found", pages)
	}
}

func everyMethod(f func(protoreflect.MethodDescriptor)) {
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		if !strings.HasPrefix(string(file.Package()), "formicary.") {
			return true
		}
		for i := range file.Services().Len() {
			for j := range file.Services().Get(i).Methods().Len() {
				f(file.Services().Get(i).Methods().Get(j))
			}
		}
		return true
	})
}

func forPeople(m protoreflect.MethodDescriptor) bool {
	access, _ := proto.GetExtension(m.Options(), identityv1.E_Access).(*identityv1.Access)
	return !access.GetInternal() && !access.GetAnt()
}

// reads says that a method changes nothing and answers once.
func reads(m protoreflect.MethodDescriptor) bool {
	o, _ := m.Options().(*descriptorpb.MethodOptions)
	return o.GetIdempotencyLevel() == descriptorpb.MethodOptions_NO_SIDE_EFFECTS && !m.IsStreamingServer()
}

func isList(d protoreflect.MessageDescriptor) bool {
	for i := range d.Fields().Len() {
		if f := d.Fields().Get(i); f.IsList() && f.Message() != nil {
			return true
		}
	}
	return false
}

func refusesField(t *testing.T, m proto.Message, field string) bool {
	t.Helper()
	var bad *protovalidate.ValidationError
	if err := protovalidate.Validate(m); err != nil && !errors.As(err, &bad) {
		t.Fatal(err)
	}
	if bad == nil {
		return false
	}
	for _, v := range bad.Violations {
		if protovalidate.FieldPathString(v.Proto.GetField()) == field {
			return true
		}
	}
	return false
}
