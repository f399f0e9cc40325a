package apigateway_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/passport/passporttest"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

const (
	id      = "0198c0de-0000-7000-8000-000000000001"
	jobs    = "/formicary.job.v1.JobRequestService/"
	defs    = "/formicary.job.v1.JobDefinitionService/"
	runs    = "/formicary.execution.v1.ExecutionService/"
	logs    = "/formicary.execution.v1.LogService/"
	ants    = "/formicary.resource.v1.AntService/"
	joins   = "/formicary.resource.v1.AntIdentityService/"
	hosts   = "/formicary.resource.v1.ExecutorService/"
	queue   = "/formicary.schedule.v1.QueueService/"
	watches = "/formicary.job.v1.EventService/"
	votes   = "/formicary.execution.v1.ApprovalService/"
	files   = "/formicary.execution.v1.ArtifactService/"
	caches  = "/formicary.execution.v1.CacheService/"
	codesOf = "/formicary.job.v1.ErrorCodeService/"
	notices = "/formicary.job.v1.NotificationService/"
	confs   = "/formicary.job.v1.ConfigService/"
	hidden  = "/formicary.job.v1.SecretService/"
)

type documented struct{ verb, path, body, peer, method, want string }

// paths are all documented paths: what they call and with which request.
var paths = append(scoped(), []documented{
	{"POST", "/api/v1/jobs/definitions", `{"yaml":"a","file_name":"f"}`, "job-manager", defs + "CreateJobDefinition", `{"yaml":"a","file_name":"f"}`},
	{"POST", "/api/jobs/definitions", `{"yaml":"a"}`, "job-manager", defs + "CreateJobDefinition", `{"yaml":"a"}`},
	{"GET", "/api/v1/jobs/definitions", ``, "job-manager", defs + "ListJobDefinitions", `{}`},
	{"GET", "/api/jobs/definitions?page_size=7", ``, "job-manager", defs + "ListJobDefinitions", `{"page_size":7}`},
	{"GET", "/api/v1/jobs/definitions/etl@3", ``, "job-manager", defs + "GetJobDefinition", `{"id":"etl@3"}`},
	{"GET", "/api/v1/jobs/definitions/etl/versions?page_token=x", ``, "job-manager", defs + "ListJobDefinitionVersions", `{"job_type":"etl","page_token":"x"}`},
	{"POST", "/api/v1/jobs/definitions/etl/enable", ``, "job-manager", defs + "EnableJobDefinition", `{"id":"etl"}`},
	{"POST", "/api/v1/jobs/definitions/etl/disable", `{}`, "job-manager", defs + "DisableJobDefinition", `{"id":"etl"}`},
	{"DELETE", "/api/v1/jobs/definitions/etl", ``, "job-manager", defs + "DeleteJobDefinition", `{"id":"etl"}`},
	{"POST", "/api/v1/jobs/requests", `{"job_type":"etl","params":{"a":1},"priority":0}`, "job-manager", jobs + "SubmitJob", `{"job_type":"etl","params":{"a":1},"priority":0}`},
	{"POST", "/api/jobs/requests", `{"job_type":"etl"}`, "job-manager", jobs + "SubmitJob", `{"job_type":"etl"}`},
	{"GET", "/api/v1/jobs/requests/" + id, ``, "job-manager", jobs + "GetJobRequest", `{"id":"` + id + `"}`},
	{"GET", "/api/jobs/requests/@latest", ``, "job-manager", jobs + "GetJobRequest", `{"id":"@latest"}`},
	{"GET", "/api/v1/jobs/requests?states=FAILED&states=PENDING&job_type=etl", ``, "job-manager", jobs + "ListJobRequests", `{"states":["FAILED","PENDING"],"job_type":"etl"}`},
	{"GET", "/api/jobs/requests", ``, "job-manager", jobs + "ListJobRequests", `{}`},
	{"POST", "/api/v1/jobs/requests/" + id + "/cancel", `{"reason":"r"}`, "job-manager", jobs + "CancelJobRequest", `{"id":"` + id + `","reason":"r"}`},
	{"POST", "/api/jobs/requests/" + id + "/cancel", ``, "job-manager", jobs + "CancelJobRequest", `{"id":"` + id + `"}`},
	{"POST", "/api/v1/jobs/requests/x/pause", ``, "job-manager", jobs + "PauseJobRequest", `{"id":"x"}`},
	{"POST", "/api/v1/jobs/requests/x/resume", ``, "job-manager", jobs + "ResumeJobRequest", `{"id":"x"}`},
	{"POST", "/api/v1/jobs/requests/x/restart", `{"hard":true}`, "job-manager", jobs + "RestartJobRequest", `{"id":"x","hard":true}`},
	{"GET", "/api/v1/jobs/requests/x/explain", ``, "job-manager", jobs + "ExplainJobRequest", `{"id":"x"}`},
	{"GET", "/api/v1/jobs/requests/" + id + "/execution?run=2", ``, "supervisor", runs + "GetExecution", `{"request_id":"` + id + `","run":2}`},
	{"GET", "/api/v1/jobs/requests/" + id + "/tasks", ``, "supervisor", runs + "ListTasks", `{"request_id":"` + id + `"}`},
	{"GET", "/api/v1/jobs/requests/" + id + "/logs/search?pattern=a%7Cb&regexp=true&tasks=a&tasks=b", ``, "supervisor", logs + "SearchLogs", `{"request_id":"` + id + `","pattern":"a|b","regexp":true,"tasks":["a","b"]}`},
	{"GET", "/api/v1/jobs/requests/" + id + "/tasks/a%20b/log?follow=true&offset=9", ``, "supervisor", logs + "WatchTaskLog", `{"request_id":"` + id + `","task":"a b","follow":true,"offset":"9"}`},
	{"POST", "/api/v1/jobs/requests/" + id + "/tasks/a%20b/vote", `{"decision":"APPROVED"}`, "supervisor", votes + "VoteOnApproval", `{"request_id":"` + id + `","task":"a b","decision":"APPROVED"}`},
	{"POST", "/api/jobs/requests/" + id + "/tasks/ok/vote", `{"decision":"REJECTED","comments":"no"}`, "supervisor", votes + "VoteOnApproval", `{"request_id":"` + id + `","task":"ok","decision":"REJECTED","comments":"no"}`},
	{"GET", "/api/v1/jobs/requests/" + id + "/tasks/ok/approval", ``, "supervisor", votes + "GetApproval", `{"request_id":"` + id + `","task":"ok"}`},
	{"GET", "/api/jobs/requests/" + id + "/tasks/ok/approval", ``, "supervisor", votes + "GetApproval", `{"request_id":"` + id + `","task":"ok"}`},
	{"GET", "/api/v1/artifacts?task=build&page_size=3", ``, "supervisor", files + "ListArtifacts", `{"task":"build","page_size":3}`},
	{"GET", "/api/artifacts", ``, "supervisor", files + "ListArtifacts", `{}`},
	{"GET", "/api/v1/artifacts/" + id, ``, "supervisor", files + "GetArtifact", `{"id":"` + id + `"}`},
	{"GET", "/api/artifacts/" + id, ``, "supervisor", files + "GetArtifact", `{"id":"` + id + `"}`},
	{"GET", "/api/v1/artifacts/" + id + "/files", ``, "supervisor", files + "ListArtifactFiles", `{"id":"` + id + `"}`},
	{"DELETE", "/api/v1/artifacts/" + id, ``, "supervisor", files + "DeleteArtifact", `{"id":"` + id + `"}`},
	{"DELETE", "/api/artifacts/" + id, ``, "supervisor", files + "DeleteArtifact", `{"id":"` + id + `"}`},
	{"GET", "/api/v1/caches?job_type=etl&key_prefix=go-", ``, "supervisor", caches + "ListCaches", `{"job_type":"etl","key_prefix":"go-"}`},
	{"DELETE", "/api/v1/caches/" + id, ``, "supervisor", caches + "DeleteCache", `{"id":"` + id + `"}`},
	{"GET", "/api/v1/approvals/pending?page_size=3", ``, "supervisor", votes + "ListPendingApprovals", `{"page_size":3}`},
	{"GET", "/api/approvals/pending", ``, "supervisor", votes + "ListPendingApprovals", `{}`},
	{"GET", "/api/v1/jobs/plugins", ``, "job-manager", defs + "ListPlugins", `{}`},
	{"GET", "/api/jobs/plugins?page_size=2", ``, "job-manager", defs + "ListPlugins", `{"page_size":2}`},
	{"GET", "/api/v1/error-codes?job_type=etl", ``, "job-manager", codesOf + "ListErrorCodes", `{"job_type":"etl"}`},
	{"GET", "/api/errors", ``, "job-manager", codesOf + "ListErrorCodes", `{}`},
	{"POST", "/api/v1/error-codes", `{"error_code":"ERR_A"}`, "job-manager", codesOf + "SaveErrorCode", `{"error_code":{"error_code":"ERR_A"}}`},
	{"PUT", "/api/v1/error-codes/" + id, `{"error_code":"ERR_A","updated_at":"2030-01-01T00:00:00Z"}`, "job-manager", codesOf + "SaveErrorCode", `{"error_code":{"id":"` + id + `","error_code":"ERR_A","updated_at":"2030-01-01T00:00:00Z"}}`},
	{"POST", "/api/errors", `{"error_code":"ERR_A"}`, "job-manager", codesOf + "SaveErrorCode", `{"error_code":{"error_code":"ERR_A"}}`},
	{"DELETE", "/api/v1/error-codes/" + id, ``, "job-manager", codesOf + "DeleteErrorCode", `{"id":"` + id + `"}`},
	{"DELETE", "/api/errors/" + id, ``, "job-manager", codesOf + "DeleteErrorCode", `{"id":"` + id + `"}`},
	{"GET", "/api/v1/jobs/requests/" + id + "/notifications", ``, "job-manager", notices + "ListNotifications", `{"request_id":"` + id + `"}`},
	{"GET", "/api/v1/orgs/acme/quota", ``, "job-manager", "/formicary.job.v1.QuotaService/GetQuota", `{"org":"acme"}`},
	{"PUT", "/api/v1/orgs/acme/quota", `{"limits":{"queued":10}}`, "job-manager", "/formicary.job.v1.QuotaService/SetQuota", `{"org":"acme","limits":{"queued":"10"}}`},
	{"GET", "/api/v1/executors", ``, "resource-manager", hosts + "ListExecutors", `{}`},
	{"GET", "/api/executors", ``, "resource-manager", hosts + "ListExecutors", `{}`},
	{"DELETE", "/api/v1/executors/u-1", ``, "resource-manager", hosts + "DeleteExecutor", `{"id":"u-1"}`},
	{"DELETE", "/api/executors/u-1", ``, "resource-manager", hosts + "DeleteExecutor", `{"id":"u-1"}`},
	{"GET", "/api/v1/ants", ``, "resource-manager", ants + "ListAnts", `{}`},
	{"GET", "/api/ants", ``, "resource-manager", ants + "ListAnts", `{}`},
	{"GET", "/api/v1/ants/ant-1", ``, "resource-manager", ants + "GetAnt", `{"id":"ant-1"}`},
	{"POST", "/api/v1/ants/ant-1/drain", ``, "resource-manager", ants + "DrainAnt", `{"id":"ant-1"}`},
	{"POST", "/api/v1/ants/ant-1/resume", ``, "resource-manager", ants + "ResumeAnt", `{"id":"ant-1"}`},
	{"POST", "/api/v1/ants/ant-1/revoke", ``, "resource-manager", joins + "RevokeAnt", `{"id":"ant-1"}`},
	{"POST", "/api/v1/ants/tokens", `{"pool":"build"}`, "resource-manager", joins + "CreateJoinToken", `{"pool":"build"}`},
	{"GET", "/api/v1/ants/tokens", ``, "resource-manager", joins + "ListJoinTokens", `{}`},
	{"DELETE", "/api/v1/ants/tokens/" + id, ``, "resource-manager", joins + "RevokeJoinToken", `{"id":"` + id + `"}`},
	{"GET", "/api/v1/scheduler", ``, "scheduler", queue + "GetScheduler", `{}`},
	{"GET", "/api/v1/keyring", ``, "job-manager", hidden + "GetKeyRing", `{}`},
	{"POST", "/api/v1/keyring/rotate", ``, "job-manager", hidden + "RotateKeyRing", `{}`},
}...)

// scoped are the paths of configs and secrets, of every scope.
func scoped() []documented {
	var all []documented
	for scope, root := range map[string]string{"": "/api/v1", "orgs/acme": "/api/v1/orgs/acme", "users": "/api/v1/users", "jobs/etl": "/api/v1/jobs/etl"} {
		in := `"scope":"` + scope + `"`
		for noun, service := range map[string]string{"configs": confs, "secrets": hidden} {
			one := strings.TrimSuffix(strings.ToUpper(noun[:1])+noun[1:], "s")
			list, named := root+"/"+noun, root+"/"+noun+"/TOKEN"
			all = append(all,
				documented{"GET", list + "?page_size=7", ``, "job-manager", service + "List" + one + "s", `{` + in + `,"page_size":7}`},
				documented{"POST", list, `{"name":"TOKEN","value":"v"}`, "job-manager", service + "Set" + one, `{` + in + `,"name":"TOKEN","value":"v"}`},
				documented{"GET", named, ``, "job-manager", service + "Get" + one, `{` + in + `,"name":"TOKEN"}`},
				documented{"PUT", named, `{"value":"v"}`, "job-manager", service + "Set" + one, `{` + in + `,"name":"TOKEN","value":"v"}`},
				documented{"DELETE", named, ``, "job-manager", service + "Delete" + one, `{` + in + `,"name":"TOKEN"}`},
				documented{"GET", named + "/reveal", ``, "job-manager", hidden + "RevealSecret", `{` + in + `,"name":"TOKEN"}`})
		}
	}
	return all
}

func TestPathsReachTheirServices(t *testing.T) {
	w := start(t)
	for _, c := range paths {
		t.Run(c.verb+" "+c.path, func(t *testing.T) {
			if got := w.do(c.verb, c.path, c.body, "Content-Type: application/json"); got.code != http.StatusOK {
				t.Fatalf("%d %s", got.code, got.body)
			}
			got := w.peers.last(t)
			if got.peer != c.peer || got.method != c.method {
				t.Errorf("called %s %s, want %s %s", got.peer, got.method, c.peer, c.method)
			}
			if !reflect.DeepEqual(got.caller, passporttest.Person("default", "local")) {
				t.Errorf("caller %v", got.caller)
			}
			wanted, _, err := types(c.method)
			if err != nil {
				t.Fatal(err)
			}
			if err := protojson.Unmarshal([]byte(c.want), wanted); err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(got.req, wanted) {
				t.Errorf("request %v, want %v", got.req, wanted)
			}
		})
	}
}

// TestEveryBindingIsTested keeps the table above complete.
func TestEveryBindingIsTested(t *testing.T) {
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			for j := range f.Services().Get(i).Methods().Len() {
				m := f.Services().Get(i).Methods().Get(j)
				rule, ok := proto.GetExtension(m.Options(), annotations.E_Http).(*annotations.HttpRule)
				if !ok || rule == nil || !strings.HasPrefix(string(m.FullName()), "formicary.") {
					continue
				}
				method := "/" + string(m.Parent().FullName()) + "/" + string(m.Name())
				bindings, tested := 1+len(rule.GetAdditionalBindings()), 0
				for _, p := range paths {
					if p.method == method {
						tested++
					}
				}
				own := f.Package() == "formicary.identity.v1" // TestPathsOfIdentity
				if tested != bindings && method != watches+"WatchEvents" && !own {
					t.Errorf("%s has %d bindings, %d are tested", method, bindings, tested)
				}
			}
		}
		return true
	})
}

func TestAnswersNameEveryField(t *testing.T) {
	w := start(t)
	w.peers.when(jobs+"SubmitJob", one(&jobv1.SubmitJobResponse{Request: &jobv1.JobRequest{Id: id, State: jobv1.JobRequest_PENDING}}))
	got := w.do("POST", "/api/v1/jobs/requests", `{"job_type":"etl"}`)
	var m struct {
		Created *bool
		Request map[string]any
	}
	if err := json.Unmarshal([]byte(got.body), &m); err != nil {
		t.Fatal(err)
	}
	if m.Created == nil || m.Request["state"] != "PENDING" || m.Request["error_code"] != "" || m.Request["run"] != 0.0 {
		t.Errorf("%s", got.body)
	}
	if _, ok := m.Request["ended_at"]; ok {
		t.Errorf("an unset time is there: %s", got.body)
	}
	if got := w.do("GET", "/api/v1/jobs/requests", ""); !strings.Contains(strings.ReplaceAll(got.body, " ", ""), `"requests":[]`) {
		t.Errorf("an empty list is missing: %s", got.body)
	}
}

func TestUploadYAML(t *testing.T) {
	w := start(t)
	text := "job_type: x # ü\ntasks:\n\t- \"a\"\n"
	for _, ct := range []string{"application/yaml", "text/yaml; charset=utf-8", "application/x-yaml", "text/plain"} {
		for _, path := range []string{"/api/v1/jobs/definitions", "/api/jobs/definitions"} {
			if got := w.do("POST", path+"?file_name=a.yaml&validate_only=true", text, "Content-Type: "+ct); got.code != http.StatusOK {
				t.Fatalf("%d %s", got.code, got.body)
			}
			want := &jobv1.CreateJobDefinitionRequest{Yaml: text, FileName: "a.yaml", ValidateOnly: true}
			if got := w.peers.last(t); !proto.Equal(got.req, want) {
				t.Errorf("%s: %v", ct, got.req)
			}
		}
	}
	for _, c := range []struct{ path, body, reason string }{
		{"?validate_only=perhaps", "a: b", "REQUEST_MALFORMED"},
		{"?valdate_only=true", "a: b", "PARAMETER_UNKNOWN"},
		{"", "a: \xff", "DEFINITION_INVALID"},
		{"", "", "REQUEST_INVALID"},
	} {
		if got := w.do("POST", "/api/v1/jobs/definitions"+c.path, c.body, "Content-Type: application/yaml"); got.code != http.StatusBadRequest || reason(t, got) != c.reason {
			t.Errorf("%s %q: %d %s", c.path, c.body, got.code, got.body)
		}
	}
}

// failure is a google.rpc.Status in JSON.
type failure struct {
	Code    codes.Code
	Message string
	Details []detail
}

type detail struct {
	Type            string `json:"@type"`
	Reason, Domain  string
	RequestID       string                                        `json:"request_id"`
	FieldViolations []struct{ Field, Description, Reason string } `json:"field_violations"`
}

func failed(t testing.TB, r reply) failure {
	t.Helper()
	var f failure
	if err := json.Unmarshal([]byte(r.body), &f); err != nil {
		t.Fatalf("%d %q: %v", r.code, r.body, err)
	}
	if ct := r.header.Get("Content-Type"); ct != "application/json" {
		t.Errorf("content type of an error is %q", ct)
	}
	if !slices.ContainsFunc(f.Details, func(d detail) bool { return d.RequestID != "" && d.RequestID == r.header.Get("X-Request-Id") }) {
		t.Errorf("the error has no request id: %s", r.body)
	}
	return f
}

func reason(t testing.TB, r reply) string {
	t.Helper()
	for _, d := range failed(t, r).Details {
		if d.Reason != "" {
			return d.Reason
		}
	}
	return ""
}

func TestErrorsOfServices(t *testing.T) {
	w := start(t)
	for _, c := range []struct {
		err    error
		code   int
		reason string
	}{
		{errs.NotFound("REQUEST_NOT_FOUND", "no"), http.StatusNotFound, "REQUEST_NOT_FOUND"},
		{errs.Conflict("IDEMPOTENCY_CONFLICT", "no"), http.StatusConflict, "IDEMPOTENCY_CONFLICT"},
		{errs.Precondition("REQUEST_STATE", "no"), http.StatusConflict, "REQUEST_STATE"},
		{errs.Exhausted("LIMIT", "no"), http.StatusTooManyRequests, "LIMIT"},
		{errs.Unavailable("LATER", "no"), http.StatusServiceUnavailable, "LATER"},
		{errs.Denied("NO", "no"), http.StatusForbidden, "NO"},
		{fmt.Errorf("secret"), http.StatusInternalServerError, ""},
		{status.Error(codes.Unimplemented, "no"), http.StatusNotImplemented, ""},
	} {
		w.peers.when(jobs+"GetJobRequest", fails(c.err))
		got := w.do("GET", "/api/v1/jobs/requests/x", "")
		if got.code != c.code || reason(t, got) != c.reason || strings.Contains(got.body, "secret") {
			t.Errorf("%v: %d %s", c.err, got.code, got.body)
		}
		if (c.code == http.StatusServiceUnavailable || c.code == http.StatusTooManyRequests) != (got.header.Get("Retry-After") != "") {
			t.Errorf("%v: Retry-After %q", c.err, got.header.Get("Retry-After"))
		}
	}
}

func TestErrorsSayWhere(t *testing.T) {
	w := start(t)
	w.peers.when(defs+"CreateJobDefinition", fails(errs.Invalid("DEFINITION_INVALID", "2 faults").WithViolations(
		errs.Violation{Field: "job.yaml:3:5", Description: "unknown field", Reason: "UNKNOWN_FIELD"},
		errs.Violation{Field: "job.yaml:9:1", Description: "cycle", Reason: "CYCLE"})))
	got := w.do("POST", "/api/v1/jobs/definitions", "x", "Content-Type: application/yaml")
	var fields []string
	for _, d := range failed(t, got).Details {
		for _, v := range d.FieldViolations {
			fields = append(fields, v.Field+" "+v.Reason)
		}
	}
	if want := []string{"job.yaml:3:5 UNKNOWN_FIELD", "job.yaml:9:1 CYCLE"}; !slices.Equal(fields, want) || got.code != http.StatusBadRequest {
		t.Errorf("%d %v, want %v", got.code, fields, want)
	}
}

func TestBadRequests(t *testing.T) {
	w := start(t, func(s *setting) { s.conf.MaxBody = 1 << 10 })
	large := `{"job_type":"` + strings.Repeat("x", 1<<10) + `"}`
	for _, c := range []struct {
		name, verb, path, body, contentType string
		code                                int
		reason, message                     string
	}{
		{"unknown field", "POST", "/api/v1/jobs/requests", "{\n \"job_typ\":\"x\"}", "application/json", 400, "REQUEST_MALFORMED", `line 2, column 2: unknown field "job_typ"`},
		{"not JSON", "POST", "/api/v1/jobs/requests", "{nope}", "application/json", 400, "REQUEST_MALFORMED", "line 1, column 2: "},
		{"two values", "POST", "/api/v1/jobs/requests", `{"job_type":"x"} {}`, "application/json", 400, "REQUEST_MALFORMED", "line 1, column 18: "},
		{"wrong type", "POST", "/api/v1/jobs/requests", `{"job_type":7}`, "application/json", 400, "REQUEST_MALFORMED", "line 1, column 13: "},
		{"rule of the proto", "POST", "/api/v1/jobs/requests", `{"job_type":"x","priority":101}`, "application/json", 400, "REQUEST_INVALID", "priority"},
		{"page size", "GET", "/api/v1/jobs/requests?page_size=1001", "", "", 400, "REQUEST_INVALID", "page_size"},
		{"unknown parameter", "GET", "/api/v1/jobs/requests?state=FAILED", "", "", 400, "PARAMETER_UNKNOWN", `"state"`},
		{"parameter beside a body", "POST", "/api/v1/jobs/requests?job_type=x", `{"job_type":"x"}`, "application/json", 400, "PARAMETER_UNKNOWN", `"job_type"`},
		{"parameter's type", "GET", "/api/v1/jobs/requests?page_size=many", "", "", 400, "REQUEST_MALFORMED", "page_size"},
		{"parameter's enum", "GET", "/api/v1/jobs/requests?states=GONE", "", "", 400, "REQUEST_MALFORMED", "states"},
		{"parameter is no UTF-8", "GET", "/api/v1/jobs/requests?job_type=%ff", "", "", 400, "REQUEST_MALFORMED", "UTF-8"},
		{"NUL in a parameter", "GET", "/api/v1/jobs/requests?job_type=%00", "", "", 400, "REQUEST_MALFORMED", "NUL"},
		{"path is no UTF-8", "GET", "/api/v1/jobs/requests/%ff", "", "", 400, "REQUEST_MALFORMED", "UTF-8"},
		{"NUL in the path", "GET", "/api/v1/ants/%00", "", "", 400, "REQUEST_MALFORMED", "NUL"},
		{"NUL in a field", "POST", "/api/v1/jobs/requests", `{"job_type":"a\u0000"}`, "application/json", 400, "REQUEST_MALFORMED", "job_type holds the character NUL"},
		{"unknown field of a field", "POST", "/api/v1/error-codes", `{"error_code":"ERR_A","nonsense":1}`, "application/json", 400, "REQUEST_MALFORMED", "nonsense"},
		{"NUL in a field of a field", "POST", "/api/v1/error-codes", `{"error_code":"ERR_A","regex":"a\u0000"}`, "application/json", 400, "REQUEST_MALFORMED", "regex holds the character NUL"},
		{"nested deeply", "POST", "/api/v1/jobs/requests", `{"params":{"a":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}}`, "application/json", 400, "REQUEST_MALFORMED", "recursion depth"},
		{"too large", "POST", "/api/v1/jobs/requests", large, "application/json", 413, "REQUEST_TOO_LARGE", "1024 bytes"},
		{"content type", "POST", "/api/v1/jobs/requests", "{}", "nonsense", 415, "CONTENT_TYPE_UNSUPPORTED", "nonsense"},
		{"YAML", "POST", "/api/v1/jobs/requests", "a: b", "application/yaml", 415, "CONTENT_TYPE_UNSUPPORTED", "application/json"},
		{"no such path", "GET", "/api/v1/nothing", "", "", 404, "PATH_UNKNOWN", "/api/v1/nothing"},
		{"no such verb", "PUT", "/api/v1/jobs/requests", "{}", "application/json", 405, "METHOD_NOT_ALLOWED", "GET, POST"},
		{"method override", "POST", "/api/v1/ants", "", "application/x-www-form-urlencoded", 405, "METHOD_NOT_ALLOWED", "GET"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := w.do(c.verb, c.path, c.body, "Content-Type: "+c.contentType, "X-HTTP-Method-Override: GET")
			if got.code != c.code || reason(t, got) != c.reason || !strings.Contains(failed(t, got).Message, c.message) {
				t.Errorf("%d %s", got.code, got.body)
			}
			if got.code == http.StatusMethodNotAllowed && got.header.Get("Allow") == "" {
				t.Error("405 without Allow")
			}
		})
	}
	if n := w.peers.count(); n != 0 {
		t.Errorf("%d bad requests reached a service", n)
	}
	t.Run("too large, length unknown", func(t *testing.T) {
		res := w.open(t.Context(), "POST", "/api/v1/jobs/requests", struct{ *strings.Reader }{strings.NewReader(large)}, "Content-Type: application/json")
		defer func() { _ = res.Body.Close() }()
		if res.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("%d", res.StatusCode)
		}
	})
	t.Run("too large over gRPC", func(t *testing.T) {
		_, err := jobv1.NewJobRequestServiceClient(w.grpc).SubmitJob(t.Context(), &jobv1.SubmitJobRequest{JobType: large})
		if errs.CodeOf(err) != errs.CodeInvalid || errs.Reason(err) != "REQUEST_TOO_LARGE" || !strings.Contains(err.Error(), "at most 1024 are taken") {
			t.Error(err)
		}
	})
}

// TestTooLargeBodyIsAnswered: most clients read the answer when they have sent all that they have.
func TestTooLargeBodyIsAnswered(t *testing.T) {
	w := start(t, func(s *setting) { s.conf.MaxBody = 1 << 10 })
	const size = 20 << 20 // more than the buffers on the way take
	for name, head := range map[string]string{
		"length known":   fmt.Sprintf("Content-Length: %d\r\n\r\n", size),
		"length unknown": fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n", size),
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", strings.TrimPrefix(w.base, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			body := strings.Repeat("x", size)
			if strings.Contains(head, "chunked") {
				body += "\r\n0\r\n\r\n"
			}
			_, err = io.WriteString(conn, "POST /api/v1/jobs/definitions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/yaml\r\n"+head+body)
			if err != nil {
				t.Fatalf("send: %v", err)
			}
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != http.StatusRequestEntityTooLarge || !strings.Contains(string(text), "1024 bytes") {
				t.Errorf("%d %s %v", res.StatusCode, text, err)
			}
			_ = res.Body.Close()
		})
	}
}

func TestCurlsDefaultBodyIsJSON(t *testing.T) {
	w := start(t)
	got := w.do("POST", "/api/v1/jobs/requests", `{"job_type":"x"}`, "Content-Type: application/x-www-form-urlencoded")
	if got.code != http.StatusOK {
		t.Errorf("%d %s", got.code, got.body)
	}
}

func TestIdempotencyKey(t *testing.T) {
	w := start(t)
	for _, c := range []struct{ body, want string }{
		{`{"job_type":"x"}`, "from-header"},
		{`{"job_type":"x","idempotency_key":""}`, "from-header"},
		{`{"job_type":"x","idempotency_key":"from-header"}`, "from-header"},
	} {
		w.do("POST", "/api/v1/jobs/requests", c.body, "Idempotency-Key: from-header")
		if got := w.peers.last(t).req.(*jobv1.SubmitJobRequest).GetIdempotencyKey(); got != c.want {
			t.Errorf("%s: key %q, want %q", c.body, got, c.want)
		}
	}
	calls := w.peers.count()
	if got := w.do("POST", "/api/v1/jobs/requests", `{"job_type":"x"}`, "Idempotency-Key: schlüssel"); got.code != http.StatusBadRequest || w.peers.count() != calls {
		t.Errorf("a key that cannot be passed on: %d %s", got.code, got.body)
	}
	for body, headers := range map[string][]string{
		`{"job_type":"x","idempotency_key":"from-body"}`: {"Idempotency-Key: from-header"},
		`{"job_type":"x"}`: {"Idempotency-Key: one", "Idempotency-Key: other"},
	} {
		if got := w.do("POST", "/api/v1/jobs/requests", body, headers...); got.code != http.StatusBadRequest || w.peers.count() != calls || reason(t, got) != "IDEMPOTENCY_KEY_AMBIGUOUS" {
			t.Errorf("two keys: %d %s", got.code, got.body)
		}
	}
	if got := w.do("POST", "/api/v1/jobs/requests/x/pause", "", "Idempotency-Key: k"); got.code != http.StatusOK {
		t.Errorf("a method without key: %d %s", got.code, got.body)
	}
}

func TestRequestID(t *testing.T) {
	w := start(t)
	if got := w.do("GET", "/livez", "", "X-Request-Id: my-id.1").header.Get("X-Request-Id"); got != "my-id.1" {
		t.Errorf("given: %q", got)
	}
	for _, bad := range []string{"", "a b", "<script>", strings.Repeat("x", 65)} {
		if got := w.do("GET", "/livez", "", "X-Request-Id: "+bad).header.Get("X-Request-Id"); len(got) != 36 {
			t.Errorf("given %q: %q", bad, got)
		}
	}
}

// TestTheLocalCallerIsBelieved: where no login is asked for callers say who they are; they cannot be the system, and a
// credential that they send counts.
func TestTheLocalCallerIsBelieved(t *testing.T) {
	w := start(t)
	for _, c := range []struct {
		headers []string
		want    access.Caller
		reason  string
	}{
		{nil, passporttest.Person("default", "local"), ""},
		{[]string{"X-Formicary-User: ann", "X-Formicary-Roles: lead, qa"}, passporttest.Person("default", "ann", "lead", "qa"), ""},
		{[]string{"X-Formicary-Roles: org-viewer"}, passporttest.Person("default", "local", "org-viewer"), ""},
		{[]string{"X-Formicary-Org: other"}, passporttest.Person("other", "local"), ""},
		{[]string{"Grpc-Metadata-X-Formicary-Org: other", "Grpc-Metadata-X-Formicary-User: root", "X-Formicary-Token: x"}, passporttest.Person("default", "local"), ""},
		{[]string{"X-Formicary-User: jürgen", "X-Formicary-Roles: prüfer"}, access.Caller{}, "USER_INVALID"},
		{[]string{"X-Formicary-User: a\xff"}, access.Caller{}, "USER_INVALID"},
		{[]string{"X-Formicary-Roles: a\xff"}, access.Caller{}, "USER_INVALID"},
		{[]string{"X-Formicary-User: a", "X-Formicary-User: b"}, access.Caller{}, "USER_INVALID"},
		{[]string{"X-Formicary-User: system"}, passporttest.Person("default", "local"), ""},
		{[]string{"X-Formicary-User: system:sla-timeout"}, access.Caller{}, "USER_INVALID"},
		{[]string{"X-Formicary-User: " + strings.Repeat("x", 101)}, access.Caller{}, "USER_INVALID"},
		{[]string{"X-Formicary-Roles: " + strings.Repeat("x,", 51)}, access.Caller{}, "USER_INVALID"},
	} {
		got := w.do("GET", "/api/v1/ants", "", c.headers...)
		if c.reason != "" {
			if got.code != http.StatusBadRequest || reason(t, got) != c.reason {
				t.Errorf("%v: %d %s", c.headers, got.code, got.body)
			}
			continue
		}
		if got := w.peers.last(t).caller; !reflect.DeepEqual(got, c.want) {
			t.Errorf("%v: %v", c.headers, got)
		}
	}
	for _, headers := range [][]string{{"Authorization: Bearer x"}, {"Authorization: bearer x", "X-Formicary-User: ann"}, {"Cookie: formicary=x"}, {"Cookie: __Host-formicary=x"}} {
		if got := w.do("GET", "/api/v1/ants", "", headers...); got.code != http.StatusUnauthorized || reason(t, got) != "CREDENTIAL_INVALID" {
			t.Errorf("%v: %d %s", headers, got.code, got.body)
		}
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-formicary-user", "ann", "x-formicary-roles", "lead")
	if _, err := jobv1.NewJobRequestServiceClient(w.grpc).GetJobRequest(ctx, &jobv1.GetJobRequestRequest{Id: "x"}); err != nil {
		t.Fatal(err)
	}
	if got := w.peers.last(t).caller; !reflect.DeepEqual(got, passporttest.Person("default", "ann", "lead")) {
		t.Errorf("over gRPC: %v", got)
	}
	ctx = metadata.AppendToOutgoingContext(t.Context(), "x-formicary-user-bin", "jürgen", "x-formicary-roles-bin", "prüfer")
	if _, err := jobv1.NewJobRequestServiceClient(w.grpc).GetJobRequest(ctx, &jobv1.GetJobRequestRequest{Id: "x"}); err != nil || w.peers.last(t).caller.User != "jürgen" {
		t.Errorf("over gRPC: %v, %v", w.peers.last(t).caller, err)
	}
	ctx = metadata.AppendToOutgoingContext(t.Context(), "x-formicary-user", "system:x")
	if _, err := jobv1.NewJobRequestServiceClient(w.grpc).GetJobRequest(ctx, &jobv1.GetJobRequestRequest{Id: "x"}); errs.Reason(err) != "USER_INVALID" {
		t.Errorf("over gRPC: %v", err)
	}
}

func TestPanicStaysInside(t *testing.T) {
	w := start(t)
	w.peers.when(jobs+"GetJobRequest", func(context.Context, proto.Message, func(proto.Message) error) error { panic("secret") })
	if got := w.do("GET", "/api/v1/jobs/requests/x", ""); got.code != http.StatusInternalServerError || strings.Contains(got.body, "secret") {
		t.Errorf("%d %s", got.code, got.body)
	}
}

func TestPages(t *testing.T) {
	w := start(t)
	got := w.do("GET", "/openapi.json", "")
	var doc struct {
		Info  struct{ Title string }
		Paths map[string]any
		Tags  []struct{ Name string }
	}
	if err := json.Unmarshal([]byte(got.body), &doc); err != nil || len(doc.Paths) < 20 || doc.Info.Title != "Formicary" {
		t.Errorf("%q, %d paths, %v", doc.Info.Title, len(doc.Paths), err)
	}
	for _, tag := range doc.Tags {
		if tag.Name == "AdmissionService" || tag.Name == "RegistrationService" {
			t.Errorf("the document tells of %s, which REST does not serve", tag.Name)
		}
	}
	for _, path := range []string{"/api/v1/jobs/schema", "/schemas/job.v1.json"} {
		got = w.do("GET", path, "")
		var schema map[string]any
		if err := json.Unmarshal([]byte(got.body), &schema); err != nil || schema["$schema"] == nil || got.header.Get("Content-Type") != "application/schema+json" {
			t.Errorf("%s: %d %s, %v", path, got.code, got.header.Get("Content-Type"), err)
		}
	}
	for _, page := range []string{"/livez", "/readyz"} {
		if got := w.do("GET", page, ""); got.code != http.StatusOK || got.body != "ok\n" {
			t.Errorf("%s: %d %s", page, got.code, got.body)
		}
	}
	if err := w.svc.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	w.nats.Close()
	if got := w.do("GET", "/readyz", ""); got.code != http.StatusServiceUnavailable || !strings.Contains(got.body, "nats") {
		t.Errorf("without NATS: %d %s", got.code, got.body)
	}
}

func TestListTasksOverREST(t *testing.T) {
	w := start(t)
	w.peers.when(runs+"ListTasks", one(&executionv1.ListTasksResponse{Tasks: []*executionv1.Task{{Name: "a", State: executionv1.Task_COMPLETED}}}))
	got := w.do("GET", "/api/v1/jobs/requests/"+id+"/tasks", "")
	if !strings.Contains(strings.ReplaceAll(got.body, " ", ""), `"exit_code":0`) {
		t.Errorf("%s", got.body)
	}
}
