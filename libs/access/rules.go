package access

import (
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/formicary/formicary/libs/errs"
)

// Rule is what a method says in its proto about who may call it.
type Rule struct {
	Permission            string
	Public, Internal, Ant bool
	Services              []string
	Owned, Audited        bool
	// Reads says that the method changes nothing, Stream that it sends or takes more than one message.
	Reads, Stream bool
}

// Rules holds the rule of every method of the colony, by its full name "/package.Service/Method". A method that says
// nothing has an empty rule.
type Rules map[string]Rule

// optionName of the extension of method options that holds a rule: formicary/identity/v1/access.proto. It is read by name,
// so that this package needs no generated code.
const optionName = "formicary.identity.v1.access"

// ReadRules reads the options of all methods below the package formicary.
func ReadRules(files *protoregistry.Files) Rules {
	rules := Rules{}
	files.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		if !strings.HasPrefix(string(f.Package()), "formicary.") {
			return true
		}
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				m := s.Methods().Get(j)
				rules["/"+string(s.FullName())+"/"+string(m.Name())] = read(m)
			}
		}
		return true
	})
	return rules
}

func read(m protoreflect.MethodDescriptor) Rule {
	r := Rule{Stream: m.IsStreamingClient() || m.IsStreamingServer()}
	options, ok := m.Options().(*descriptorpb.MethodOptions)
	if !ok || options == nil {
		return r
	}
	r.Reads = options.GetIdempotencyLevel() == descriptorpb.MethodOptions_NO_SIDE_EFFECTS
	options.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.FullName() != optionName {
			return true
		}
		said := v.Message()
		get := func(name protoreflect.Name) protoreflect.Value {
			return said.Get(said.Descriptor().Fields().ByName(name))
		}
		r.Permission, r.Public, r.Internal, r.Ant = get("permission").String(), get("public").Bool(), get("internal").Bool(), get("ant").Bool()
		r.Owned, r.Audited = get("owned").Bool(), get("audited").Bool()
		for i := range get("services").List().Len() {
			r.Services = append(r.Services, get("services").List().Get(i).String())
		}
		return false
	})
	return r
}

// health answers everybody: who looks whether a server lives has no name.
const health = "/grpc.health.v1.Health/"

// Health says whether a method is one that asks whether a server lives.
func Health(method string) bool { return strings.HasPrefix(method, health) }

// Public says whether a method needs no caller.
func (rs Rules) Public(method string) bool {
	return Health(method) || rs[method].Public
}

// OwnWork says whether the services call a method for themselves, whoever asked them.
func (rs Rules) OwnWork(method string) bool { return rs[method].Internal || rs[method].Ant }

// Check decides whether c may call a method; own says that it may for its own objects only. It denies by default.
func (rs Rules) Check(method string, c Caller) (own bool, err error) {
	if rs.Public(method) {
		return false, nil
	}
	rule, known := rs[method]
	name := strings.TrimPrefix(method, "/")
	if !known {
		return false, status.Errorf(codes.Unimplemented, "there is no method %s", name)
	}
	switch c.Kind {
	case Service:
		if slices.Contains(rule.Services, c.User) {
			return false, nil
		}
		return false, errs.Denied("METHOD_CLOSED", "%s is not for %s", name, c.User)
	case Ant:
		if rule.Ant {
			return false, nil
		}
		return false, errs.Denied("METHOD_CLOSED", "%s is not for ants", name)
	case Person:
		return rule.person(name, c)
	}
	return false, errs.Unauthenticated("CALLER_MISSING", "%s needs a caller: log in, or send a token", name)
}

func (r Rule) person(name string, c Caller) (own bool, err error) {
	switch {
	case r.Internal:
		return false, errs.Denied("METHOD_INTERNAL", "%s is for the services of the colony only", name)
	case r.Ant:
		return false, errs.Denied("METHOD_ANT", "%s is for ants only", name)
	case r.Permission == "":
		return false, errs.Denied("METHOD_CLOSED", "%s names no permission, so nobody has it", name)
	}
	switch c.Grant(r.Permission) {
	case Full:
		return false, nil
	case Own:
		if r.Owned {
			return true, nil
		}
	case None:
	}
	return false, errs.Denied("PERMISSION_MISSING", "this needs the permission %s, which %s does not have here", r.Permission, c.User)
}
