package gate

import (
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/formicary/formicary/libs/errs"
	_ "github.com/formicary/formicary/proto/gen/formicary/ant/v1" // closed to people, and known as such
	identityv1 "github.com/formicary/formicary/proto/gen/formicary/identity/v1"
)

// Rules holds the access option of every method of the colony, by its full name "/package.Service/Method".
type Rules map[string]*identityv1.Access

// ReadRules reads the options of all methods below the package formicary. One without an option has a nil rule.
func ReadRules(files *protoregistry.Files) Rules {
	rules := Rules{}
	files.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		if !strings.HasPrefix(string(f.Package()), "formicary.") {
			return true
		}
		for i := range f.Services().Len() {
			rules.read(f.Services().Get(i))
		}
		return true
	})
	return rules
}

func (r Rules) read(s protoreflect.ServiceDescriptor) {
	for i := range s.Methods().Len() {
		m := s.Methods().Get(i)
		var access *identityv1.Access
		if proto.HasExtension(m.Options(), identityv1.E_Access) {
			access, _ = proto.GetExtension(m.Options(), identityv1.E_Access).(*identityv1.Access)
		}
		r["/"+string(s.FullName())+"/"+string(m.Name())] = access
	}
}

// check denies by default: only methods for people that name their permission pass.
func (r Rules) check(method string) error {
	if public(method) {
		return nil
	}
	access, known := r[method]
	switch {
	case !known:
		return unknown(method)
	case access.GetPublic():
		return nil
	case access.GetInternal():
		return errs.Denied("METHOD_INTERNAL", "%s is for the services of the colony only", method[1:])
	case access.GetAnt():
		return errs.Denied("METHOD_ANT", "%s is for ants only", method[1:])
	case access.GetPermission() == "":
		return errs.Denied("METHOD_CLOSED", "%s names no permission, so nobody has it", method[1:])
	}
	return nil
}
