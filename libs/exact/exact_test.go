package exact_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/formicary/formicary/libs/exact"
)

func TestNumber(t *testing.T) {
	for text, want := range map[string]any{
		"0": int64(0), "-7": int64(-7), "9007199254740993": int64(9007199254740993), "-9223372036854775808": int64(-9223372036854775808),
		"1.5": 1.5, "1.50": 1.5, "1e3": 1000.0, "1e308": 1e308, "100000000000000000000": 1e20, "0.1": 0.1, "-0.0": 0.0,
		"9223372036854775808": json.Number("9223372036854775808"), "9223372036854775809": json.Number("9223372036854775809"),
		"12345678901234567890": json.Number("12345678901234567890"), "0.12345678901234567891": json.Number("0.12345678901234567891"),
		"9007199254740993.0": json.Number("9007199254740993.0"),
		"1e400":              nil, "-1e400": nil, "1e-400": nil, "": nil, "01": nil, "0x10": nil, "1_000": nil, "abc": nil, "Inf": nil, "NaN": nil,
		"0." + strings.Repeat("0", 2000) + "1": nil,
	} {
		got, ok := exact.Number(json.Number(text))
		if ok != (want != nil) || ok && want != got {
			t.Errorf("%s: %T %v %v, want %T %v", text, got, got, ok, want, want)
		}
	}
}

func TestFloatIsThatOfJSON(t *testing.T) {
	for _, f := range []float64{0, 1, -1, 1.5, 1234567890123456, 1e20, 1e21, 1.5e300, 0.000001, 0.0000001, 5e-324, 1e-10} {
		want, err := json.Marshal(f)
		if got := exact.Float(f); err != nil || got != string(want) {
			t.Errorf("%g: %s, want %s", f, got, want)
		}
	}
}

func TestInt(t *testing.T) {
	for text, want := range map[string]int64{"9007199254740993.0": 9007199254740993, "1e18": 1e18, "-12e2": -1200, "0e99": 0} {
		if got, ok := exact.Int(json.Number(text)); !ok || got != want {
			t.Errorf("%s: %d %v", text, got, ok)
		}
	}
	for _, text := range []string{"1.5", "1e19", "9223372036854775808", "1e-2", "1e999999999"} {
		if got, ok := exact.Int(json.Number(text)); ok {
			t.Errorf("%s: %d", text, got)
		}
	}
}

const digits = `{"a":9007199254740993,"b":[{"c":12345678901234567890}],"d":0.1,"e":"9007199254740993"}`

func TestStructSaysWhatItCannotHold(t *testing.T) {
	m, err := exact.DecodeObject([]byte(digits))
	if err != nil {
		t.Fatal(err)
	}
	s, text, err := exact.Struct(m)
	if err != nil || text == "" || s.GetFields()["e"].GetStringValue() != "9007199254740993" {
		t.Fatal(s, text, err)
	}
	back, err := exact.Map(s, text)
	if diff := cmp.Diff(m, back); diff != "" || err != nil {
		t.Error(diff, err)
	}
	for _, fits := range []map[string]any{nil, {"a": int64(1 << 53), "b": []any{1.5, "x", nil, true}, "n": json.Number("7")}} {
		s, text, err := exact.Struct(fits)
		if err != nil || text != "" || len(s.GetFields()) != len(fits) {
			t.Error(s, text, err)
		}
	}
	v, text, err := exact.Value(int64(1<<53 + 1))
	if err != nil || text != "9007199254740993" || v.GetNumberValue() == 0 {
		t.Error(v, text, err)
	}
}

// messages: Outer{one: Inner, many: []Inner}, Inner{name, v: Struct, v_json}.
func messages(t *testing.T) (outer, inner protoreflect.MessageDescriptor) {
	t.Helper()
	field := func(name string, n int32, kind descriptorpb.FieldDescriptorProto_Type, of string, label descriptorpb.FieldDescriptorProto_Label) *descriptorpb.FieldDescriptorProto {
		f := &descriptorpb.FieldDescriptorProto{Name: &name, Number: &n, Type: &kind, Label: &label}
		if of != "" {
			f.TypeName = &of
		}
		return f
	}
	const (
		text = descriptorpb.FieldDescriptorProto_TYPE_STRING
		msg  = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE
		one  = descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL
		many = descriptorpb.FieldDescriptorProto_LABEL_REPEATED
	)
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: new("x.proto"), Package: new("x"), Syntax: new("proto3"),
		Dependency: []string{"google/protobuf/struct.proto"},
		MessageType: []*descriptorpb.DescriptorProto{
			{Name: new("Outer"), Field: []*descriptorpb.FieldDescriptorProto{field("one", 1, msg, ".x.Inner", one), field("many", 2, msg, ".x.Inner", many)}},
			{Name: new("Inner"), Field: []*descriptorpb.FieldDescriptorProto{
				field("name", 1, text, "", one), field("v", 2, msg, ".google.protobuf.Struct", one), field("v_json", 3, text, "", one),
			}},
		},
	}, files{})
	if err != nil {
		t.Fatal(err)
	}
	return file.Messages().ByName("Outer"), file.Messages().ByName("Inner")
}

type files struct{}

func (files) FindFileByPath(string) (protoreflect.FileDescriptor, error) {
	return structpb.File_google_protobuf_struct_proto, nil
}

func (files) FindDescriptorByName(name protoreflect.FullName) (protoreflect.Descriptor, error) {
	return structpb.File_google_protobuf_struct_proto.Messages().ByName(name.Name()), nil
}

func TestJSONKeepsDigits(t *testing.T) {
	outer, inner := messages(t)
	in := dynamicpb.NewMessage(inner)
	if err := exact.Unmarshal(protojson.UnmarshalOptions{}, []byte(`{"name":"n","v":`+digits+`}`), in); err != nil {
		t.Fatal(err)
	}
	if got := in.Get(inner.Fields().ByName("v_json")).String(); got != digits {
		t.Errorf("beside: %s", got)
	}
	out := dynamicpb.NewMessage(outer)
	out.Set(outer.Fields().ByName("one"), protoreflect.ValueOfMessage(in))
	list := out.Mutable(outer.Fields().ByName("many")).List()
	list.Append(protoreflect.ValueOfMessage(in))
	raw, err := exact.Marshal(protojson.MarshalOptions{}, out)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"one":{"name":"n","v":` + digits + `},"many":[{"name":"n","v":` + digits + `}]}`
	if got := strings.ReplaceAll(string(raw), " ", ""); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if in.Get(inner.Fields().ByName("v_json")).String() != digits {
		t.Error("the message was changed")
	}
}

func TestJSONWithFewDigitsIsThatOfProtobuf(t *testing.T) {
	_, inner := messages(t)
	in := dynamicpb.NewMessage(inner)
	err := exact.Unmarshal(protojson.UnmarshalOptions{}, []byte(`{"name":"1234567890123456789","v":{"a":1.5,"b":100000000000000000000}}`), in)
	if err != nil || in.Has(inner.Fields().ByName("v_json")) {
		t.Error(in, err)
	}
	for _, bad := range []string{`{"v":{"a":1e400}}`, `{"v":{"a":9007199254740993}`, `[9007199254740993]`} {
		if err := exact.Unmarshal(protojson.UnmarshalOptions{}, []byte(bad), dynamicpb.NewMessage(inner)); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}
