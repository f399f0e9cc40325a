package rpc

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/formicary/formicary/libs/errs"
)

// CheckText refuses a request with a text that neither a database nor a process takes: one with the character NUL, or one
// that is no UTF-8. The server asks it about every request, so no handler has to. What is left to handlers: fields with
// the name yaml, whose faults have lines; values of google.protobuf.Struct, which have names of their own; and messages in
// lists, because a batch answers for each of them.
func CheckText(m proto.Message) error {
	field, what := badText(m.ProtoReflect(), "")
	if field == "" {
		return nil
	}
	return errs.Invalid("REQUEST_INVALID", "the field %s %s", field, what).
		WithViolations(errs.Violation{Field: field, Description: "the text " + what, Reason: "TEXT_INVALID"})
}

// badText returns the path of the first bad text below a message, and what is wrong with it.
func badText(m protoreflect.Message, path string) (field, what string) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.Name() != "yaml" {
			field, what = badField(f, v, path+string(f.Name()))
		}
		return field == ""
	})
	return field, what
}

func badField(f protoreflect.FieldDescriptor, v protoreflect.Value, path string) (field, what string) {
	switch {
	case f.IsMap():
		v.Map().Range(func(key protoreflect.MapKey, item protoreflect.Value) bool {
			if what = badString(key.String()); what != "" {
				field = path
				return false
			}
			field, what = badValue(f.MapValue(), item, path+"."+key.String())
			return field == ""
		})
	case f.IsList():
		if f.Message() != nil {
			return "", ""
		}
		for i := range v.List().Len() {
			if field, what = badValue(f, v.List().Get(i), fmt.Sprintf("%s[%d]", path, i)); field != "" {
				return field, what
			}
		}
	default:
		return badValue(f, v, path)
	}
	return field, what
}

func badValue(f protoreflect.FieldDescriptor, v protoreflect.Value, path string) (field, what string) {
	switch {
	case f.Kind() == protoreflect.StringKind:
		if what = badString(v.String()); what != "" {
			return path, what
		}
	case f.Message() != nil && !isValue(f.Message()):
		return badText(v.Message(), path+".")
	}
	return "", ""
}

// isValue names the messages of google/protobuf/struct.proto.
func isValue(d protoreflect.MessageDescriptor) bool {
	switch d.FullName() {
	case "google.protobuf.Value", "google.protobuf.Struct", "google.protobuf.ListValue":
		return true
	}
	return false
}

func badString(s string) string {
	switch {
	case strings.IndexByte(s, 0) >= 0:
		return "holds the character NUL"
	case !utf8.ValidString(s):
		return "is no UTF-8"
	}
	return ""
}
