package access_test

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/errs"
)

func person(roles ...string) access.Caller {
	return access.Caller{Kind: access.Person, Org: "o", User: "u", Roles: roles}
}

func TestGrants(t *testing.T) {
	for _, c := range []struct {
		caller     access.Caller
		permission string
		want       access.Grant
	}{
		{person(), "request.read", access.None},
		{person("lead"), "request.read", access.None},
		{person(access.OrgViewer), "request.read", access.Full},
		{person(access.OrgViewer), "request.submit", access.None},
		{person(access.OrgDeveloper), "request.cancel", access.Own},
		{person(access.OrgDeveloper, access.OrgOperator), "request.cancel", access.Full},
		{person(access.OrgDeveloper), "secret.reveal", access.Own},
		{person(access.OrgViewer), "secret.reveal", access.None},
		{person(access.OrgOperator), "secret.write", access.Own},
		{person(access.OrgAdmin), "secret.reveal", access.Full},
		{person(access.OrgAdmin), "org.admin", access.None},
		{person(access.OrgAdmin), "quota.write", access.None},
		{person(access.PlatformAuditor), "audit.read", access.Full},
		{person(access.PlatformAuditor), "secret.reveal", access.None},
		{person(access.PlatformAdmin), "org.admin", access.Full},
		{person(access.PlatformAdmin), "", access.None},
		{access.Caller{Kind: access.Service, User: "u", Roles: []string{access.PlatformAdmin}}, "request.read", access.None},
		{access.Caller{Roles: []string{access.PlatformAdmin}}, "request.read", access.None},
	} {
		if got := c.caller.Grant(c.permission); got != c.want {
			t.Errorf("%v %s: %v, want %v", c.caller, c.permission, got, c.want)
		}
	}
}

// TestScopesOnlyTakeAway: a token never holds more than its owner, and one without scopes in its list holds nothing.
func TestScopesOnlyTakeAway(t *testing.T) {
	for _, c := range []struct {
		scopes     []string
		permission string
		want       access.Grant
	}{
		{nil, "request.submit", access.Full},
		{[]string{}, "request.submit", access.None},
		{[]string{"*"}, "request.submit", access.Full},
		{[]string{"request.*"}, "request.submit", access.Full},
		{[]string{"*.read"}, "request.submit", access.None},
		{[]string{"*.read"}, "log.read", access.Full},
		{[]string{"secret.reveal"}, "secret.reveal", access.Own},
		{[]string{"request"}, "request.submit", access.None},
		{[]string{"request.sub"}, "request.submit", access.None},
	} {
		caller := person(access.OrgDeveloper)
		caller.Scopes = c.scopes
		if got := caller.Grant(c.permission); got != c.want {
			t.Errorf("%v %s: %v, want %v", c.scopes, c.permission, got, c.want)
		}
	}
}

// TestReadersOnlyRead: whoever is said to read only holds nothing else.
func TestReadersOnlyRead(t *testing.T) {
	for _, role := range []string{access.OrgViewer, access.PlatformAuditor} {
		for _, p := range access.Permissions() {
			harmless := strings.HasSuffix(p, ".read") || p == "token.own" || p == "session.own" || p == "org.list"
			if access.Holds(role, p) != access.None && !harmless {
				t.Errorf("%s holds %s", role, p)
			}
		}
	}
	if !slices.Contains(access.Permissions(), "secret.reveal") {
		t.Error("the list of permissions lacks some")
	}
}

func TestCheck(t *testing.T) {
	rules := access.Rules{
		"/s/Open": {Permission: "request.read"}, "/s/Public": {Public: true}, "/s/Internal": {Internal: true, Services: []string{"scheduler"}}, "/s/Ant": {Ant: true},
		"/s/Empty": {}, "/s/Both": {Permission: "request.read", Internal: true, Services: []string{"scheduler"}},
		"/s/Shared": {Permission: "request.read", Services: []string{"supervisor"}}, "/s/Cancel": {Permission: "request.cancel"},
		"/s/CancelOwn": {Permission: "request.cancel", Owned: true},
	}
	nobody := access.Caller{}
	viewer, developer, admin := person(access.OrgViewer), person(access.OrgDeveloper), person(access.PlatformAdmin)
	scheduler := access.Caller{Kind: access.Service, User: "scheduler"}
	ant := access.Caller{Kind: access.Ant, User: "ant-1"}
	for _, c := range []struct {
		method string
		caller access.Caller
		reason string
		own    bool
	}{
		{"/s/Open", viewer, "", false},
		{"/s/Open", nobody, "CALLER_MISSING", false},
		{"/s/Open", person("lead"), "PERMISSION_MISSING", false},
		{"/s/Open", scheduler, "METHOD_CLOSED", false},
		{"/s/Open", ant, "METHOD_CLOSED", false},
		{"/s/Public", nobody, "", false},
		{"/grpc.health.v1.Health/Check", nobody, "", false},
		{"/s/Internal", admin, "METHOD_INTERNAL", false},
		{"/s/Internal", scheduler, "", false},
		{"/s/Internal", access.Caller{Kind: access.Service, User: "supervisor"}, "METHOD_CLOSED", false},
		{"/s/Internal", ant, "METHOD_CLOSED", false},
		{"/s/Internal", nobody, "CALLER_MISSING", false},
		{"/s/Ant", ant, "", false},
		{"/s/Ant", admin, "METHOD_ANT", false},
		{"/s/Ant", scheduler, "METHOD_CLOSED", false},
		{"/s/Empty", admin, "METHOD_CLOSED", false},
		{"/s/Empty", scheduler, "METHOD_CLOSED", false},
		{"/s/Both", admin, "METHOD_INTERNAL", false},
		{"/s/Shared", access.Caller{Kind: access.Service, User: "supervisor"}, "", false},
		{"/s/Shared", viewer, "", false},
		{"/s/Cancel", developer, "PERMISSION_MISSING", false},
		{"/s/CancelOwn", developer, "", true},
		{"/s/CancelOwn", admin, "", false},
	} {
		own, err := rules.Check(c.method, c.caller)
		if errs.Reason(err) != c.reason || (err == nil) != (c.reason == "") || own != c.own {
			t.Errorf("%s by %v: %v %v, want %q %v", c.method, c.caller, own, err, c.reason, c.own)
		}
	}
	if _, err := rules.Check("/s/Unknown", admin); status.Code(err) != codes.Unimplemented {
		t.Errorf("unknown method: %v", err)
	}
}
