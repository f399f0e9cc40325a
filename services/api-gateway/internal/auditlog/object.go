package auditlog

import (
	"crypto/hmac"
	"crypto/sha256"
	"strings"
	"unicode"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Raw is a message that is passed on as it came.
type Raw interface{ Raw() []byte }

// method is what the proto says of one.
type method struct {
	name       string // "package.Service/Method"
	permission string
	public     bool
	kind       string
	in, out    protoreflect.MessageType
}

// kinds of objects whose names the names of methods do not say.
var kinds = map[protoreflect.Name]string{ //nolint:gochecknoglobals // a constant table
	"SubmitJob": "job_request", "VoteOnApproval": "approval", "WatchTaskLog": "task_log", "SearchLogs": "task_log",
	"Login": "session", "Logout": "session", "Bootstrap": "session", "SignUp": "session", "ExchangeLogin": "session", "FinishProviderLogin": "session", "GrantLogin": "login", "PollDeviceLogin": "session",
	"BeginDeviceLogin": "login", "ApproveLogin": "login", "Join": "member", "ChangePassword": "user", "SetPassword": "user", "SetPlatformRole": "user",
	"UpdateProfile": "user", "ExportAuditEvents": "audit_log",
}

// kindOf returns the kind of a method's objects: CancelJobRequest is about a job_request.
func kindOf(name protoreflect.Name) string {
	if kind, ok := kinds[name]; ok {
		return kind
	}
	var words []string
	begin := 0
	for i, r := range name {
		if i > 0 && unicode.IsUpper(r) {
			words = append(words, strings.ToLower(string(name[begin:i])))
			begin = i
		}
	}
	words = append(words, strings.ToLower(string(name[begin:])))
	return strings.Join(words[min(1, len(words)-1):], "_")
}

// decode returns a message in the form that reflection reads; nil when it is none.
func decode(m any, as protoreflect.MessageType) protoreflect.Message {
	switch m := m.(type) {
	case Raw:
		to := as.New()
		if (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(m.Raw(), to.Interface()) != nil {
			return nil
		}
		return to
	case proto.Message:
		return m.ProtoReflect()
	}
	return nil
}

// text returns a field of a message if it is a text.
func text(m protoreflect.Message, name protoreflect.Name) string {
	f := field(m, name)
	if f == nil || f.Kind() != protoreflect.StringKind {
		return ""
	}
	return m.Get(f).String()
}

func field(m protoreflect.Message, name protoreflect.Name) protoreflect.FieldDescriptor {
	if m == nil {
		return nil
	}
	f := m.Descriptor().Fields().ByName(name)
	if f == nil || f.IsList() || f.IsMap() {
		return nil
	}
	return f
}

// object returns the message of an answer that is the object; nil when there is none.
func object(out protoreflect.Message) protoreflect.Message {
	if out == nil {
		return nil
	}
	fields := out.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if f.Kind() != protoreflect.MessageKind || f.IsList() || f.IsMap() || !out.Has(f) {
			continue
		}
		inner := out.Get(f).Message()
		if field(inner, "id") != nil || field(inner, "name") != nil {
			return inner
		}
	}
	return nil
}

// paths are the fields of requests that together name an object, the surest first.
var paths = [...][]protoreflect.Name{ //nolint:gochecknoglobals // a constant table
	{"id"}, {"request_id", "task"}, {"request_id"}, {"scope", "name"}, {"org", "user"}, {"org", "pool"},
}

// guesses are fields that name an object where neither those nor the answer do.
var guesses = [...]protoreflect.Name{"name", "user", "job_type", "org"} //nolint:gochecknoglobals // a constant table

// name returns what an object is called, by the request and the answer; either may be nil.
func name(in, out protoreflect.Message) string {
	for _, path := range paths {
		parts := make([]string, 0, len(path))
		for _, f := range path {
			if t := text(in, f); t != "" {
				parts = append(parts, t)
			}
		}
		if len(parts) == len(path) {
			return strings.Join(parts, "/")
		}
	}
	made := object(out)
	for _, of := range [...]protoreflect.Message{made, object(in)} {
		for _, f := range [...]protoreflect.Name{"id", "name"} {
			if t := text(of, f); t != "" {
				return t
			}
		}
	}
	for _, f := range guesses {
		if t := text(in, f); t != "" {
			return t
		}
	}
	return ""
}

// secrets are the names of fields that are in no digest; those that the proto redacts are not either.
var secrets = map[protoreflect.Name]bool{ //nolint:gochecknoglobals // a constant table
	"password": true, "current": true, "secret": true, "value": true, "values": true, "token": true, "code": true, "device_code": true,
	"user_code": true, "verifier": true, "data": true,
}

// digest returns the keyed hash of a message without its secrets; nil for nil.
func digest(key []byte, m protoreflect.Message) []byte {
	if m == nil {
		return nil
	}
	m = proto.Clone(m.Interface()).ProtoReflect()
	redact(m)
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m.Interface())
	if err != nil {
		return nil
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(m.Descriptor().FullName()))
	mac.Write([]byte{0})
	mac.Write(raw)
	return mac.Sum(nil)
}

func redact(m protoreflect.Message) {
	m.SetUnknown(nil)
	if m.Descriptor().FullName().Parent() == "google.protobuf" {
		return
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		options, _ := f.Options().(*descriptorpb.FieldOptions)
		switch {
		case options.GetDebugRedact() || secrets[f.Name()] && f.Kind() != protoreflect.BoolKind:
			m.Clear(f)
		case f.IsMap() && f.MapValue().Kind() == protoreflect.MessageKind:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool { redact(v.Message()); return true })
		case f.IsMap() || f.Kind() != protoreflect.MessageKind:
		case f.IsList():
			for i := range v.List().Len() {
				redact(v.List().Get(i).Message())
			}
		default:
			redact(v.Message())
		}
		return true
	})
}

// find returns what is known of the type of a message.
func find(d protoreflect.MessageDescriptor) protoreflect.MessageType {
	t, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		return nil
	}
	return t
}
