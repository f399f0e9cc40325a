package apigateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/testkit"
	identityv1 "github.com/formicary/formicary/proto/gen/formicary/identity/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
	apigateway "github.com/formicary/formicary/services/api-gateway"
)

const password = "correct horse battery"

// colony is a gateway that demands identity, with its first platform-admin.
type colony struct {
	*world
	root string // a session of it
}

func secured(t testing.TB, set ...func(*setting)) *colony {
	t.Helper()
	w := start(t, append(set, func(s *setting) { s.conf.Auth, s.conf.LocalUsers = true, true })...)
	code, err := w.svc.Bootstrap(t.Context())
	if err != nil || code == "" {
		t.Fatal(code, err)
	}
	res := w.do("POST", "/api/v1/auth/bootstrap", fmt.Sprintf(`{"code":%q,"user":"root","password":%q}`, code, password))
	return &colony{w, field(t, res, "secret")}
}

// field reads a text of an answer.
func field(t testing.TB, r reply, name string) string {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(r.body), &m); err != nil || r.code != http.StatusOK {
		t.Fatalf("%d %s", r.code, r.body)
	}
	s, _ := m[name].(string)
	return s
}

func bearer(secret string) string { return "Authorization: Bearer " + secret }

// bearing is a context of calls over gRPC with a credential.
func bearing(ctx context.Context, secret string, more ...string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, append([]string{"authorization", "Bearer " + secret}, more...)...)
}

// user makes one and returns a session of it.
func (c *colony) user(name, role string) string {
	c.t.Helper()
	r := c.do("POST", "/api/v1/users", fmt.Sprintf(`{"name":%q,"org":"default","role":%q,"password":%q}`, name, role, password), bearer(c.root))
	if r.code != http.StatusOK {
		c.t.Fatal(r)
	}
	return field(c.t, c.do("POST", "/api/v1/auth/login", fmt.Sprintf(`{"user":%q,"password":%q}`, name, password)), "secret")
}

func reasonOf(r reply) string {
	var m struct {
		Details []struct{ Reason string }
	}
	_ = json.Unmarshal([]byte(r.body), &m)
	for _, d := range m.Details {
		if d.Reason != "" {
			return d.Reason
		}
	}
	return ""
}

func (c *colony) refused(what string, r reply, code int, reason string) {
	c.t.Helper()
	if r.code != code || reasonOf(r) != reason {
		c.t.Errorf("%s: %d %s, want %d %s", what, r.code, r.body, code, reason)
	}
}

// TestNothingWithoutIdentity: what says no more than a name is nobody.
func TestNothingWithoutIdentity(t *testing.T) {
	c := secured(t)
	for _, headers := range [][]string{
		nil,
		{"X-Formicary-User: root"},
		{"X-Formicary-User: root", "X-Formicary-Roles: platform-admin"},
		{"Authorization: Basic cm9vdDp4"},
		{"Cookie: formicary="},
		{"Authorization: Bearer"},
	} {
		c.refused(fmt.Sprint(headers), c.do("GET", "/api/v1/jobs/requests", "", headers...), http.StatusUnauthorized, "CALLER_MISSING")
	}
	for _, junk := range []string{"x", "fmc_pat_AAAA", "fmc_ses_" + strings.Repeat("A", 43), "eyJhbGciOiJub25lIn0.e30."} {
		c.refused(junk, c.do("GET", "/api/v1/jobs/requests", "", bearer(junk)), http.StatusUnauthorized, "CREDENTIAL_INVALID")
	}
	if n := c.peers.count(); n != 0 {
		t.Errorf("%d calls reached a service", n)
	}
	if r := c.do("GET", "/api/v1/auth/ways", ""); r.code != http.StatusOK || !strings.Contains(r.body, `"needed":true`) {
		t.Error(r)
	}
	c.refused("profile", c.do("GET", "/api/v1/users/profile", ""), http.StatusUnauthorized, "CALLER_MISSING")
	if r := c.do("GET", "/api/v1/jobs/requests", "", bearer(c.root), "Host: formicary.example.com"); r.code != http.StatusOK {
		t.Error(r)
	}
	call := c.peers.last(t)
	if call.caller.User != "root" || call.caller.Org != "default" || !slices.Contains(call.caller.Roles, "platform-admin") || call.caller.Credential == "" {
		t.Error(call.caller)
	}
}

func TestWhatMembersMay(t *testing.T) {
	c := secured(t)
	viewer, admin := c.user("vera", "org-viewer"), c.user("adam", "org-admin")
	c.refused("users", c.do("POST", "/api/v1/users", `{"name":"x1"}`, bearer(admin)), http.StatusForbidden, "PERMISSION_MISSING")
	c.refused("role", c.do("PUT", "/api/v1/users/adam/role", `{"role":"platform-admin"}`, bearer(admin)), http.StatusForbidden, "PERMISSION_MISSING")
	c.refused("own role", c.do("PUT", "/api/v1/orgs/default/members/vera", `{"role":"org-admin"}`, bearer(viewer)), http.StatusForbidden, "PERMISSION_MISSING")
	c.refused("platform role of a member", c.do("PUT", "/api/v1/orgs/default/members/vera", `{"role":"platform-admin"}`, bearer(admin)), http.StatusBadRequest, "ROLE_INVALID")
	c.refused("sessions of others", c.do("GET", "/api/v1/sessions?user=root", "", bearer(admin)), http.StatusNotFound, "USER_NOT_FOUND")
	c.refused("tokens of others", c.do("GET", "/api/v1/users/root/tokens", "", bearer(admin)), http.StatusNotFound, "USER_NOT_FOUND")
	if r := c.do("PUT", "/api/v1/orgs/default/members/vera", `{"role":"org-developer","groups":{"groups":["release"]}}`, bearer(admin)); r.code != http.StatusOK {
		t.Error(r)
	}

	// Another org is not there, however it is asked for.
	if r := c.do("POST", "/api/v1/orgs", `{"id":"acme","admin":"adam"}`, bearer(c.root)); r.code != http.StatusOK {
		t.Fatal(r)
	}
	c.refused("header", c.do("GET", "/api/v1/jobs/requests", "", bearer(viewer), "X-Formicary-Org: acme"), http.StatusNotFound, "ORG_NOT_FOUND")
	c.refused("absent", c.do("GET", "/api/v1/jobs/requests", "", bearer(viewer), "X-Formicary-Org: nowhere"), http.StatusNotFound, "ORG_NOT_FOUND")
	c.refused("members", c.do("GET", "/api/v1/orgs/acme/members", "", bearer(viewer)), http.StatusNotFound, "ORG_NOT_FOUND")
	c.refused("org", c.do("GET", "/api/v1/orgs/acme", "", bearer(viewer)), http.StatusNotFound, "ORG_NOT_FOUND")
	for _, call := range []string{"PUT /api/v1/orgs/acme", "POST /api/v1/orgs/acme/invitations", "DELETE /api/v1/orgs/acme/members/adam"} {
		verb, path, _ := strings.Cut(call, " ")
		c.refused(call, c.do(verb, path, `{"title":"mine"}`[:len(`{"title":"mine"}`)*btoi(verb == "PUT")]+"{}"[:2*btoi(verb == "POST")], bearer(admin)), http.StatusNotFound, "ORG_NOT_FOUND")
	}
	if r := c.do("GET", "/api/v1/orgs/acme/members", "", bearer(admin), "X-Formicary-Org: acme"); r.code != http.StatusOK || !strings.Contains(r.body, `"org-admin"`) {
		t.Error(r)
	}
	if r := c.do("GET", "/api/v1/orgs?all=true", "", bearer(viewer)); r.code != http.StatusOK || strings.Contains(r.body, "acme") {
		t.Error(r)
	}
	if r := c.do("GET", "/api/v1/users?all=true", "", bearer(viewer)); r.code != http.StatusOK || strings.Contains(r.body, `"platform_role":"platform-admin"`) {
		t.Error(r)
	}
	c.refused("user of another org", c.do("GET", "/api/v1/users/nobody", "", bearer(viewer)), http.StatusNotFound, "USER_NOT_FOUND")

	// An invitation makes a member, once.
	code := field(t, c.do("POST", "/api/v1/orgs/acme/invitations", `{"role":"org-viewer"}`, bearer(admin), "X-Formicary-Org: acme"), "code")
	if r := c.do("POST", "/api/v1/auth/join", fmt.Sprintf(`{"code":%q}`, code), bearer(viewer)); r.code != http.StatusOK {
		t.Error(r)
	}
	c.refused("again", c.do("POST", "/api/v1/auth/join", fmt.Sprintf(`{"code":%q}`, code), bearer(viewer)), http.StatusNotFound, "INVITATION_INVALID")
	if r := c.do("GET", "/api/v1/orgs/acme/members", "", bearer(viewer), "X-Formicary-Org: acme"); r.code != http.StatusOK {
		t.Error(r)
	}
	if r := c.do("GET", "/api/v1/orgs/acme/invitations", "", bearer(admin), "X-Formicary-Org: acme"); r.code != http.StatusOK || strings.Contains(r.body, code) || !strings.Contains(r.body, `"used_by":"vera"`) {
		t.Error(r)
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestCookies: scripts never see the session, pages of other sites cannot use it, and another name is none.
func TestCookies(t *testing.T) {
	c := secured(t)
	_ = c.user("vera", "org-viewer")
	for host, want := range map[string]string{
		"":                "formicary=fmc_ses_; Path=/; HttpOnly; SameSite=Lax",
		"ci.example.com":  "__Host-formicary=fmc_ses_; Path=/; HttpOnly; Secure; SameSite=Lax",
		"127.0.0.1.evil.": "__Host-formicary=fmc_ses_; Path=/; HttpOnly; Secure; SameSite=Lax",
	} {
		headers := []string{}
		if host != "" {
			headers = append(headers, "Host: "+host)
		}
		r := c.do("POST", "/api/v1/auth/login", fmt.Sprintf(`{"user":"vera","password":%q,"cookie":true}`, password), headers...)
		cookie := r.header.Get("Set-Cookie")
		name, rest, _ := strings.Cut(cookie, ";")
		if got := name[:min(len(name), strings.Index(name, "fmc_ses_")+8)] + ";" + rest; got != want || strings.Contains(r.body, "fmc_ses_") {
			t.Errorf("%s: %s, want %s; %s", host, got, want, r.body)
		}
		if r := c.do("GET", "/api/v1/users/profile", "", append(headers, "Cookie: "+name)...); r.code != http.StatusOK || !strings.Contains(r.body, `"vera"`) {
			t.Error(host, r)
		}
		if _, secret, _ := strings.Cut(name, "="); host != "" {
			c.refused("another name", c.do("GET", "/api/v1/jobs/requests", "", append(headers, "Cookie: formicary="+secret)...), http.StatusUnauthorized, "CALLER_MISSING")
		}
		for _, foreign := range []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site", "Origin: https://evil.example"} {
			c.refused(foreign, c.do("POST", "/api/v1/tokens", `{"name":"x"}`, append(headers, "Cookie: "+name, foreign)...), http.StatusForbidden, "CROSS_ORIGIN")
			c.refused(foreign, c.do("POST", "/api/v1/auth/login", "{}", append(headers, foreign)...), http.StatusForbidden, "CROSS_ORIGIN")
		}
		r = c.do("POST", "/api/v1/auth/logout", "{}", append(headers, "Cookie: "+name)...)
		if r.code != http.StatusOK || !strings.Contains(r.header.Get("Set-Cookie"), "Max-Age=0") {
			t.Error(r)
		}
		c.refused("after the logout", c.do("GET", "/api/v1/jobs/requests", "", append(headers, "Cookie: "+name)...), http.StatusUnauthorized, "CREDENTIAL_INVALID")
	}
}

func TestTokensOfPrograms(t *testing.T) {
	c := secured(t)
	dora := c.user("dora", "org-developer")
	r := c.do("POST", "/api/v1/tokens", `{"name":"ci","scopes":["request.read"]}`, bearer(dora))
	token := field(t, r, "secret")
	if !strings.HasPrefix(token, "fmc_pat_") {
		t.Fatal(token)
	}
	requests := jobv1.NewJobRequestServiceClient(c.grpc)
	if _, err := requests.ListJobRequests(bearing(t.Context(), token), &jobv1.ListJobRequestsRequest{}); err != nil {
		t.Error(err)
	}
	if got := c.peers.last(t).caller; got.User != "dora" || len(got.Scopes) != 1 {
		t.Error(got)
	}
	_, err := requests.SubmitJob(bearing(t.Context(), token), &jobv1.SubmitJobRequest{JobType: "x"})
	if status.Code(err) != codes.PermissionDenied && errs.CodeOf(err) != errs.CodeDenied {
		t.Error("a token submitted beyond its scopes:", err)
	}
	c.refused("own tokens", c.do("GET", "/api/v1/tokens", "", bearer(token)), http.StatusForbidden, "PERMISSION_MISSING")
	if r := c.do("GET", "/api/v1/tokens", "", bearer(dora)); strings.Contains(r.body, token) || !strings.Contains(r.body, `"ci"`) {
		t.Error(r)
	}

	// A token becomes no session, whatever its scopes.
	all := field(t, c.do("POST", "/api/v1/tokens", `{"name":"all"}`, bearer(dora)), "secret")
	begun := c.do("POST", "/api/v1/auth/device", "{}")
	code := field(t, begun, "user_code")
	c.refused("approve", c.do("POST", "/api/v1/auth/device/approve", fmt.Sprintf(`{"user_code":%q}`, code), bearer(all)), http.StatusForbidden, "SESSION_NEEDED")
	c.refused("password", c.do("PUT", "/api/v1/users/profile/password", `{"password":"another horse battery"}`, bearer(all)), http.StatusForbidden, "SESSION_NEEDED")
	c.refused("everywhere", c.do("POST", "/api/v1/auth/logout", `{"everywhere":true}`, bearer(all)), http.StatusForbidden, "SESSION_NEEDED")
	if r := c.do("POST", "/api/v1/auth/device/approve", fmt.Sprintf(`{"user_code":%q}`, code), bearer(dora)); r.code != http.StatusOK {
		t.Error(r)
	}
	session := field(t, c.do("POST", "/api/v1/auth/device/poll", fmt.Sprintf(`{"device_code":%q}`, field(t, begun, "device_code"))), "secret")
	if r := c.do("GET", "/api/v1/users/profile", "", bearer(session)); r.code != http.StatusOK {
		t.Error(r)
	}

	// What this gateway revokes has ended at once.
	var list struct{ Tokens []struct{ ID, Name string } }
	if err := json.Unmarshal([]byte(c.do("GET", "/api/v1/tokens", "", bearer(dora)).body), &list); err != nil || len(list.Tokens) != 2 {
		t.Fatal(list, err)
	}
	vera := c.user("vera", "org-admin")
	c.refused("of others", c.do("DELETE", "/api/v1/tokens/"+list.Tokens[0].ID, "", bearer(vera)), http.StatusNotFound, "TOKEN_NOT_FOUND")
	if r := c.do("DELETE", "/api/v1/tokens/"+list.Tokens[0].ID, "", bearer(dora)); r.code != http.StatusOK {
		t.Error(r)
	}
	c.refused("revoked", c.do("GET", "/api/v1/jobs/requests", "", bearer(token)), http.StatusUnauthorized, "CREDENTIAL_INVALID")
	if r := c.do("POST", "/api/v1/users/dora/disable", "{}", bearer(c.root)); r.code != http.StatusOK {
		t.Error(r)
	}
	for _, gone := range []string{all, dora, session} {
		c.refused("disabled", c.do("GET", "/api/v1/jobs/requests", "", bearer(gone)), http.StatusUnauthorized, "CREDENTIAL_INVALID")
	}
	c.refused("last", c.do("POST", "/api/v1/users/root/disable", "{}", bearer(c.root)), http.StatusConflict, "LAST_PLATFORM_ADMIN")
}

// TestStreamsEndWithTheirCredential: open streams, over REST and gRPC, end when the caller may not see them any more.
func TestStreamsEndWithTheirCredential(t *testing.T) {
	c := secured(t)
	vera := c.user("vera", "org-viewer")
	next := c.events("", bearer(vera))
	if e, ok := next(); !ok || e.Kind != "hello" {
		t.Fatal(e, ok)
	}
	stream, err := jobv1.NewEventServiceClient(c.grpc).WatchEvents(bearing(t.Context(), vera), &jobv1.WatchEventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	var ended sync.WaitGroup
	ended.Go(func() {
		for e, ok := next(); ok && e.Kind != "error"; e, ok = next() {
		}
	})
	ended.Go(func() {
		for err == nil {
			_, err = stream.Recv()
		}
	})
	began := time.Now()
	if r := c.do("POST", "/api/v1/users/vera/disable", "{}", bearer(c.root)); r.code != http.StatusOK {
		t.Fatal(r)
	}
	ended.Wait()
	t.Log("streams ended after", time.Since(began))
	if errs.Reason(err) != "CREDENTIAL_INVALID" {
		t.Error(err)
	}
}

// TestLocalColony: one that needs no login acts as the local administrator, and looks at credentials all the same.
func TestLocalColony(t *testing.T) {
	pool := testkit.Pool(t, apigateway.Schema, apigateway.Migrate)
	w := start(t, func(s *setting) { s.pool = pool })
	if code, err := w.svc.Bootstrap(t.Context()); err != nil || code != "" {
		t.Error("a code is shown where nobody needs it:", code, err)
	}
	if r := w.do("GET", "/api/v1/users/profile", ""); r.code != http.StatusOK || !strings.Contains(r.body, `"local"`) || !strings.Contains(r.body, "platform-admin") {
		t.Error(r)
	}
	for _, secret := range []string{"fmc_pat_AAAA", "junk"} {
		if r := w.do("GET", "/api/v1/users/profile", "", bearer(secret)); r.code != http.StatusUnauthorized {
			t.Error(r)
		}
		if _, err := identityv1.NewOrgServiceClient(w.grpc).ListOrgs(bearing(t.Context(), secret), &identityv1.ListOrgsRequest{}); errs.Reason(err) != "CREDENTIAL_INVALID" {
			t.Error(err)
		}
	}
	if r := w.do("POST", "/api/v1/tokens", `{"name":"x"}`); r.code != http.StatusConflict || reasonOf(r) != "USER_LOCAL" {
		t.Error(r)
	}
	if r := w.do("POST", "/api/v1/auth/login", `{"user":"a","password":"b"}`); reasonOf(r) != "PASSWORDS_OFF" {
		t.Error(r)
	}
	if r := w.do("POST", "/api/v1/users", `{"name":"ann","org":"default"}`); r.code != http.StatusOK {
		t.Error(r)
	}
	res, err := identityv1.NewOrgServiceClient(w.grpc).ListMembers(t.Context(), &identityv1.ListMembersRequest{Org: "default"})
	if err != nil || len(res.GetMembers()) != 1 || res.GetMembers()[0].GetAddedBy() != "local" {
		t.Error(res, err)
	}
	if r := w.do("POST", "/api/v1/orgs", `{"id":"`+strings.Repeat("a", 64)+`"}`); r.code != http.StatusBadRequest {
		t.Error(r)
	}
}

// TestPathsOfIdentity: every path of what the gateway answers itself leads somewhere, and none of two that fit to the wrong one.
func TestPathsOfIdentity(t *testing.T) {
	w := start(t, func(s *setting) { s.conf.LocalUsers = true })
	paths := 0
	protoregistry.GlobalFiles.RangeFilesByPackage("formicary.identity.v1", func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			for j := range f.Services().Get(i).Methods().Len() {
				m := f.Services().Get(i).Methods().Get(j)
				rule, _ := proto.GetExtension(m.Options(), annotations.E_Http).(*annotations.HttpRule)
				if rule == nil {
					switch m.Name() {
					case "ExportAuditEvents": // a file, which is no JSON
					case "FinishProviderLogin", "GrantLogin", "GetDeviceLogin": // what the pages call
					default:
						t.Errorf("%s has no path", m.FullName())
					}
					continue
				}
				for _, r := range append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...) {
					verb, path, body := "GET", r.GetGet(), ""
					for v, p := range map[string]string{"POST": r.GetPost(), "PUT": r.GetPut(), "DELETE": r.GetDelete()} {
						if p != "" {
							verb, path = v, p
						}
					}
					if r.GetBody() != "" {
						body = "{}"
					}
					path = regexp.MustCompile(`\{\w+\}`).ReplaceAllString(path, "x")
					if got := w.do(verb, path, body); reasonOf(got) == "PATH_UNKNOWN" || got.code == http.StatusNotImplemented || got.code == http.StatusMethodNotAllowed {
						t.Errorf("%s %s: %d %s", verb, path, got.code, got.body)
					}
					paths++
				}
			}
		}
		return true
	})
	if paths < 40 || w.peers.count() != 0 {
		t.Errorf("%d paths, %d calls of peers", paths, w.peers.count())
	}
	for path, want := range map[string]string{"/api/v1/users/profile": `"local"`, "/api/v1/auth/ways": `"passwords":true`} {
		if got := w.do("GET", path, ""); got.code != http.StatusOK || !strings.Contains(got.body, want) {
			t.Error(path, got)
		}
	}
	if got := w.do("PUT", "/api/v1/users/profile/password", `{"password":"short"}`); reasonOf(got) != "PASSWORD_WEAK" {
		t.Error(got)
	}
}

// TestWorkersLogIn: a worker gets the work of every organisation, so an administrator of the platform connects it.
func TestWorkersLogIn(t *testing.T) {
	c := secured(t, func(s *setting) {
		s.workers = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	})
	const path = "/ws/ants"
	c.refused("nobody", c.do("GET", path, ""), http.StatusUnauthorized, "CALLER_MISSING")
	c.refused("an unknown token", c.do("GET", path, "", bearer("fmc_pat_x")), http.StatusUnauthorized, "CREDENTIAL_INVALID")
	c.refused("whom it says to be", c.do("GET", path, "", "X-Formicary-User: root", "X-Formicary-Roles: platform-admin"), http.StatusUnauthorized, "CALLER_MISSING")
	c.refused("an administrator of an organisation", c.do("GET", path, "", bearer(c.user("ann", "org-admin"))), http.StatusForbidden, "PERMISSION_MISSING")
	if r := c.do("GET", path, "", bearer(c.root)); r.code != http.StatusOK {
		t.Error(r)
	}
}
