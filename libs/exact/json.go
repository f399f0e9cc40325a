package exact

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"regexp"
	"sync"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"
)

// suffix of the text beside a field.
const suffix = "_json"

// Marshal encodes a message as JSON in which a field has the digits of the text beside it. The text itself is left out.
func Marshal(o protojson.MarshalOptions, m proto.Message) ([]byte, error) {
	return MarshalAppend(o, nil, m)
}

// MarshalAppend is Marshal behind b.
func MarshalAppend(o protojson.MarshalOptions, b []byte, m proto.Message) ([]byte, error) {
	if !hasText(m.ProtoReflect()) {
		return o.MarshalAppend(b, m)
	}
	m = proto.Clone(m)
	if err := mark(m.ProtoReflect()); err != nil {
		return nil, err
	}
	at := len(b)
	b, err := o.MarshalAppend(b, m)
	if err != nil {
		return nil, err
	}
	return append(b[:at:at], marked.ReplaceAll(b[at:], []byte("$1"))...), nil
}

// While a message is encoded its numbers of many digits are texts with this mark, which nobody can guess, before them.
var (
	numberMark = rand.Text()
	marked     = regexp.MustCompile(`"` + numberMark + `(-?[0-9][-+.0-9eE]*)"`)
)

// beside are the fields of a message that have a text beside them, and the fields in which such messages can be.
type beside struct {
	pairs  [][2]protoreflect.FieldDescriptor
	within []protoreflect.FieldDescriptor
}

var known sync.Map // beside, by the descriptor of the message

func besideOf(d protoreflect.MessageDescriptor) *beside {
	if b, ok := known.Load(d); ok {
		return b.(*beside) //nolint:forcetypeassert // nothing else is stored
	}
	b := &beside{}
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		if f.Message() == nil {
			continue
		}
		if text := d.Fields().ByName(f.Name() + suffix); text != nil && text.Kind() == protoreflect.StringKind {
			b.pairs = append(b.pairs, [2]protoreflect.FieldDescriptor{f, text})
		} else if reaches(f, map[protoreflect.FullName]bool{}) {
			b.within = append(b.within, f)
		}
	}
	known.Store(d, b)
	return b
}

// reaches reports whether a message with a text can be in or below a field.
func reaches(f protoreflect.FieldDescriptor, seen map[protoreflect.FullName]bool) bool {
	d := f.Message()
	if f.IsMap() {
		d = f.MapValue().Message()
	}
	if d == nil || seen[d.FullName()] {
		return false
	}
	seen[d.FullName()] = true
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		if f.Message() != nil && (d.Fields().ByName(f.Name()+suffix) != nil || reaches(f, seen)) {
			return true
		}
	}
	return false
}

func hasText(m protoreflect.Message) bool {
	b := besideOf(m.Descriptor())
	for _, p := range b.pairs {
		if m.Has(p[1]) {
			return true
		}
	}
	found := false
	for _, f := range b.within {
		if m.Has(f) {
			each(f, m.Get(f), func(m protoreflect.Message) { found = found || hasText(m) })
		}
	}
	return found
}

func each(f protoreflect.FieldDescriptor, v protoreflect.Value, do func(protoreflect.Message)) {
	switch {
	case f.IsMap():
		v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
			do(v.Message())
			return true
		})
	case f.IsList():
		for i := range v.List().Len() {
			do(v.List().Get(i).Message())
		}
	default:
		do(v.Message())
	}
}

// mark moves the texts of a message into the fields that they stand beside.
func mark(m protoreflect.Message) (err error) {
	b := besideOf(m.Descriptor())
	for _, p := range b.pairs {
		if !m.Has(p[1]) {
			continue
		}
		v, err := Decode([]byte(m.Get(p[1]).String()))
		if err != nil {
			return fmt.Errorf("read %s: %w", p[1].Name(), err)
		}
		value, err := structpb.NewValue(withMarks(v))
		if err != nil {
			return fmt.Errorf("encode %s: %w", p[0].Name(), err)
		}
		m.Clear(p[1])
		if p[0].Message().FullName() == "google.protobuf.Struct" {
			m.Set(p[0], protoreflect.ValueOfMessage(value.GetStructValue().ProtoReflect()))
		} else {
			m.Set(p[0], protoreflect.ValueOfMessage(value.ProtoReflect()))
		}
	}
	for _, f := range b.within {
		if m.Has(f) {
			each(f, m.Mutable(f), func(m protoreflect.Message) {
				if e := mark(m); e != nil {
					err = e
				}
			})
		}
	}
	return err
}

func withMarks(v any) any {
	return leaves(v, func(v any) any {
		switch x := v.(type) {
		case int64:
			if !fits(x) {
				return numberMark + fmt.Sprint(x)
			}
		case json.Number:
			return numberMark + x.String()
		}
		return v
	})
}

// longDigits are from how many on a float64 may not hold all digits of a number.
const longDigits = 16

// Unmarshal decodes a message from JSON and sets the text beside a field of it whose numbers have too many digits.
// Messages within it have no such fields: what people send is flat.
func Unmarshal(o protojson.UnmarshalOptions, data []byte, m proto.Message) error {
	if err := o.Unmarshal(data, m); err != nil {
		return err
	}
	if !manyDigits(data) {
		return nil
	}
	r := m.ProtoReflect()
	for _, p := range besideOf(r.Descriptor()).pairs {
		if !r.Has(p[0]) || r.Has(p[1]) {
			continue
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(data, &fields); err != nil {
			return nil //nolint:nilerr // protojson has read it: it is no object
		}
		raw, ok := fields[string(p[0].Name())]
		if !ok {
			raw = fields[p[0].JSONName()]
		}
		v, err := Decode(raw)
		if err != nil {
			return fmt.Errorf("%s: %w", p[0].Name(), err)
		}
		if !fits(v) {
			r.Set(p[1], protoreflect.ValueOfString(string(raw)))
		}
	}
	return nil
}

// manyDigits looks for a long run of digits. Nearly no message has one, and then it need not be read twice.
func manyDigits(data []byte) bool {
	run := 0
	for _, b := range data {
		switch {
		case b >= '0' && b <= '9':
			if run++; run >= longDigits {
				return true
			}
		case b == '.' || bytes.IndexByte([]byte("eE+-"), b) >= 0: // goes on with the number
		default:
			run = 0
		}
	}
	return false
}
