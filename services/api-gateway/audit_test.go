package apigateway_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/testkit"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	identityv1 "github.com/formicary/formicary/proto/gen/formicary/identity/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

// actingAs returns a context of calls over gRPC by a user with a role in an org.
func actingAs(ctx context.Context, org, user, role string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "x-formicary-org", org, "x-formicary-user", user, "x-formicary-roles", role)
}

// marked gives calls a request id of their own.
func marked(ctx context.Context) (marked context.Context, id string) {
	id = uuid.NewString()
	return metadata.AppendToOutgoingContext(ctx, "x-request-id", id), id
}

func (w *world) audit() identityv1.AuditServiceClient {
	return identityv1.NewAuditServiceClient(w.grpc)
}

// sealed waits until no audited call is under way or unsealed, and returns the events by the ids of their requests.
func (w *world) sealed(want int) map[string][]*identityv1.AuditEvent {
	w.t.Helper()
	got := map[string][]*identityv1.AuditEvent{}
	testkit.Eventually(w.t, time.Minute, "all events are sealed", func() bool {
		var events, pending int
		if err := w.pool.QueryRow(w.t.Context(), "SELECT (SELECT count(*) FROM audit_event), (SELECT count(*) FROM audit_pending)").Scan(&events, &pending); err != nil {
			w.t.Fatal(err)
		}
		return pending == 0 && events >= want
	})
	token := ""
	for {
		page, err := w.audit().ListAuditEvents(w.t.Context(), &identityv1.ListAuditEventsRequest{PageSize: 20, PageToken: token})
		if err != nil {
			w.t.Fatal(err)
		}
		for _, e := range page.GetEvents() {
			got[e.GetRequestId()] = append(got[e.GetRequestId()], e)
		}
		if token = page.GetNextPageToken(); token == "" {
			return got
		}
	}
}

// verified returns the faults of the chain.
func (w *world) verified(head string) *identityv1.VerifyAuditLogResponse {
	w.t.Helper()
	s, err := w.audit().VerifyAuditLog(w.t.Context(), &identityv1.VerifyAuditLogRequest{Head: head})
	if err != nil {
		w.t.Fatal(err)
	}
	for {
		m, err := s.Recv()
		if err != nil {
			w.t.Fatal(err)
		}
		if m.GetDone() {
			return m
		}
	}
}

// TestEveryMutatingCallIsAuditedOnce calls every method that people may call, by all ways, also while the caller goes away:
// each that may change something, and each audited read, has exactly one event.
func TestEveryMutatingCallIsAuditedOnce(t *testing.T) {
	w := start(t)
	rules := access.ReadRules(protoregistry.GlobalFiles)
	called := map[string]string{} // request id → method
	for full, rule := range rules {
		if rule.Internal || rule.Ant || rule.Reads && !rule.Audited {
			continue
		}
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(strings.ReplaceAll(full[1:], "/", ".")))
		if err != nil {
			t.Fatal(err)
		}
		if rule.Public || d.ParentFile().Package() == "formicary.identity.v1" && !rule.Audited {
			continue // the gateway's own: they refuse an empty request before anything is done
		}
		m := d.(protoreflect.MethodDescriptor)
		in, out, err := types(full)
		if err != nil {
			t.Fatal(err)
		}
		ctx, id := marked(t.Context())
		called[id] = full
		if !rule.Stream {
			if err := w.grpc.Invoke(ctx, full, in, out); err != nil && errs.Reason(err) != "REQUEST_INVALID" && status.Code(err) != codes.Unimplemented {
				t.Errorf("%s: %v", full, err)
			}
			continue
		}
		s, err := w.grpc.NewStream(ctx, &grpc.StreamDesc{ServerStreams: m.IsStreamingServer(), ClientStreams: m.IsStreamingClient()}, full)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.SendMsg(in); err != nil {
			t.Fatal(err)
		}
		if err := s.CloseSend(); err != nil {
			t.Fatal(err)
		}
		for err == nil {
			err = s.RecvMsg(out)
		}
	}
	if len(called) < 15 {
		t.Errorf("only %d methods are audited", len(called))
	}
	// REST: a call, an upload, a stream.
	for _, c := range [][3]string{
		{"POST", "/api/v1/jobs/requests", `{"job_type":"etl"}`},
		{"POST", "/api/v1/artifacts?name=a.txt", "hello"},
		{"GET", "/api/v1/jobs/requests/" + id + "/tasks/a/log", ""},
	} {
		rid := uuid.NewString()
		called[rid] = c[1]
		w.do(c[0], c[1], c[2], "X-Request-Id: "+rid, "Content-Type: application/json", "User-Agent: "+strings.Repeat("x", 300))
	}
	// A caller who goes away in the middle.
	begun := make(chan struct{})
	w.peers.when(jobs+"PauseJobRequest", func(ctx context.Context, _ proto.Message, _ func(proto.Message) error) error {
		close(begun)
		<-ctx.Done()
		return ctx.Err()
	})
	ctx, killed := marked(t.Context())
	ctx, cancel := context.WithCancel(ctx)
	called[killed] = "killed"
	go func() { <-begun; cancel() }()
	if _, err := jobv1.NewJobRequestServiceClient(w.grpc).PauseJobRequest(ctx, &jobv1.PauseJobRequestRequest{Id: id}); status.Code(err) != codes.Canceled {
		t.Error(err)
	}

	got := w.sealed(len(called))
	for rid, method := range called {
		if len(got[rid]) != 1 {
			t.Errorf("%s: %d events", method, len(got[rid]))
		}
	}
	total := 0
	for rid, events := range got {
		total += len(events)
		if called[rid] == "" {
			t.Errorf("an event of no call: %v", events)
		}
	}
	if e := got[killed]; len(e) == 1 && (e[0].GetOutcome() != identityv1.AuditEvent_OUTCOME_UNKNOWN || e[0].GetObjectId() != id) {
		t.Error(e)
	}
	if v := w.verified(""); v.GetFaultsTotal() != 0 || v.GetChecked() != int64(total) || v.GetSigned() == 0 {
		t.Error(v)
	}
}

// TestWhatAnEventSays: names and digests, and never a value.
func TestWhatAnEventSays(t *testing.T) {
	w := start(t)
	const canary = "c4n4ry-of-the-audit-log"
	w.peers.when(jobs+"SubmitJob", one(&jobv1.SubmitJobResponse{Request: &jobv1.JobRequest{Id: id, JobType: "etl", Description: canary}}))
	w.peers.when("/"+executionv1.ApprovalService_ServiceDesc.ServiceName+"/VoteOnApproval", fails(errs.Denied("NOT_AN_APPROVER", canary)))
	for range 2 {
		rid := uuid.NewString()
		if got := w.do("POST", "/api/v1/jobs/requests", `{"job_type":"etl","params":{"a":"`+canary+`"}}`, "X-Request-Id: "+rid, "X-Formicary-User: ann",
			"X-Formicary-Roles: org-developer", "Content-Type: application/json", "User-Agent: evil\t"+strings.Repeat("x", 300)); got.code != 200 {
			t.Fatal(got)
		}
		e := w.sealed(1)[rid]
		if len(e) != 1 || e[0].GetActor() != "ann" || e[0].GetOrg() != "default" || e[0].GetPermission() != "request.submit" || e[0].GetObjectKind() != "job_request" ||
			e[0].GetObjectId() != id || e[0].GetOutcome() != identityv1.AuditEvent_OUTCOME_OK || e[0].GetAddress() != "127.0.0.1" || len(e[0].GetAgent()) > 210 ||
			len(e[0].GetRequestDigest()) != 64 || len(e[0].GetAfterDigest()) != 64 {
			t.Fatal(e)
		}
	}
	ctx, rid := marked(actingAs(t.Context(), "default", "bob", "org-operator"))
	_, err := executionv1.NewApprovalServiceClient(w.grpc).VoteOnApproval(ctx, &executionv1.VoteOnApprovalRequest{RequestId: id, Task: "a", Comments: canary, Decision: "APPROVED"})
	if errs.Reason(err) != "NOT_AN_APPROVER" {
		t.Error(err)
	}
	// Refused at the door.
	viewer, refused := marked(actingAs(t.Context(), "default", "eve", "org-viewer"))
	if err := w.grpc.Invoke(viewer, jobs+"SubmitJob", &jobv1.SubmitJobRequest{JobType: "etl"}, &jobv1.SubmitJobResponse{}); errs.Reason(err) != "PERMISSION_MISSING" {
		t.Error(err)
	}
	got := w.sealed(4)
	if e := got[rid]; len(e) != 1 || e[0].GetOutcome() != identityv1.AuditEvent_OUTCOME_REFUSED || e[0].GetReason() != "NOT_AN_APPROVER" || e[0].GetObjectId() != id+"/a" || e[0].GetActor() != "bob" {
		t.Error(e)
	}
	if e := got[refused]; len(e) != 1 || e[0].GetOutcome() != identityv1.AuditEvent_OUTCOME_REFUSED || e[0].GetReason() != "PERMISSION_MISSING" || e[0].GetActor() != "eve" {
		t.Error(e)
	}
	submits, err := w.audit().ListAuditEvents(t.Context(), &identityv1.ListAuditEventsRequest{ObjectId: id, Action: "request"})
	if err != nil || len(submits.GetEvents()) != 2 || submits.GetEvents()[0].GetBeforeDigest() != submits.GetEvents()[1].GetAfterDigest() ||
		submits.GetEvents()[0].GetRequestDigest() != submits.GetEvents()[1].GetRequestDigest() {
		t.Error(submits, err)
	}
	var rows string
	if err := w.pool.QueryRow(t.Context(), "SELECT coalesce(string_agg(e::text, '\n'), '') FROM audit_event e").Scan(&rows); err != nil || strings.Contains(rows, canary) {
		t.Errorf("a value is in the log (%v): %s", err, rows)
	}
}

// TestAFloodOfRefusalsIsBounded: one address cannot fill the log.
func TestAFloodOfRefusalsIsBounded(t *testing.T) {
	w := start(t)
	viewer := actingAs(t.Context(), "default", "eve", "org-viewer")
	for range 300 {
		_ = w.grpc.Invoke(viewer, jobs+"SubmitJob", &jobv1.SubmitJobRequest{JobType: "etl"}, &jobv1.SubmitJobResponse{})
	}
	n := 0
	for _, events := range w.sealed(1) {
		n += len(events)
	}
	if n < 10 || n > 200 {
		t.Errorf("%d of 300 refusals are written", n)
	}
}

// TestOrgsSeeTheirOwnEvents, and those of the platform all.
func TestOrgsSeeTheirOwnEvents(t *testing.T) {
	w := start(t)
	for _, org := range []string{"acme", "other"} {
		if err := w.grpc.Invoke(actingAs(t.Context(), org, "ann", "org-developer"), jobs+"SubmitJob", &jobv1.SubmitJobRequest{JobType: "=etl"}, &jobv1.SubmitJobResponse{}); err != nil {
			t.Fatal(err)
		}
	}
	w.sealed(2)
	count := func(ctx context.Context, req *identityv1.ListAuditEventsRequest) (int, error) {
		res, err := w.audit().ListAuditEvents(ctx, req)
		return len(res.GetEvents()), err
	}
	admin := actingAs(t.Context(), "acme", "boss", "org-admin")
	if n, err := count(admin, &identityv1.ListAuditEventsRequest{}); err != nil || n != 1 {
		t.Error(n, err)
	}
	if _, err := count(admin, &identityv1.ListAuditEventsRequest{Org: "other"}); errs.Reason(err) != "ORG_NOT_FOUND" {
		t.Error(err)
	}
	auditor := actingAs(t.Context(), "acme", "watch", "platform-auditor")
	if n, err := count(auditor, &identityv1.ListAuditEventsRequest{}); err != nil || n < 2 {
		t.Error(n, err)
	}
	if n, err := count(auditor, &identityv1.ListAuditEventsRequest{Org: "other", Actor: "ann", Action: "SubmitJob", ObjectKind: "job_request", ObjectId: "=etl", Outcome: identityv1.AuditEvent_OUTCOME_OK}); err != nil || n != 1 {
		t.Error(n, err)
	}
	if _, err := count(actingAs(t.Context(), "acme", "dev", "org-operator"), &identityv1.ListAuditEventsRequest{}); errs.Reason(err) != "PERMISSION_MISSING" {
		t.Error(err)
	}
	if got := w.do("GET", "/api/v1/audit?actor=ann", "", "X-Formicary-Org: acme", "X-Formicary-Roles: org-admin"); got.code != 200 || strings.Count(got.body, `"seq"`) != 1 {
		t.Error(got)
	}
	if got := w.do("GET", "/api/audits?page_size=2000", ""); got.code != 400 {
		t.Error(got)
	}
	if got := w.do("GET", "/api/v1/audit/verify", ""); got.code != 200 || !strings.Contains(got.body, `"done"`) {
		t.Error(got)
	}
	if got := w.do("GET", "/api/v1/audit/export?format=csv&actor=ann&action=SubmitJob", ""); got.code != 200 || strings.Count(got.body, "\n") != 3 {
		t.Error(got)
	}
	for format, check := range map[identityv1.ExportAuditEventsRequest_Format]func([]byte) error{
		identityv1.ExportAuditEventsRequest_FORMAT_CSV: func(raw []byte) error {
			rows, err := csv.NewReader(bytes.NewReader(raw)).ReadAll()
			if err != nil || len(rows) != 2 || rows[1][4] != "ann" || rows[1][10] != "'=etl" {
				return fmt.Errorf("%v %w", rows, err)
			}
			return nil
		},
		identityv1.ExportAuditEventsRequest_FORMAT_JSON: func(raw []byte) error {
			var e struct{ Actor string }
			if err := json.Unmarshal(raw, &e); err != nil || e.Actor != "ann" {
				return fmt.Errorf("%s %w", raw, err)
			}
			return nil
		},
	} {
		s, err := w.audit().ExportAuditEvents(actingAs(t.Context(), "other", "boss", "org-admin"), &identityv1.ExportAuditEventsRequest{Format: format, Action: "request"})
		if err != nil {
			t.Fatal(err)
		}
		var raw []byte
		for {
			m, err := s.Recv()
			if err == io.EOF { //nolint:errorlint // the end of a stream is this very value
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			raw = append(raw, m.GetData()...)
		}
		if err := check(raw); err != nil {
			t.Error(format, err)
		}
	}
}

// TestNothingIsDoneWithoutTheLog: when it cannot be written, answers are withheld, then calls are not begun; what was done
// is written when it can be again.
func TestNothingIsDoneWithoutTheLog(t *testing.T) {
	w := start(t)
	exec := func(sql string) {
		t.Helper()
		if _, err := w.pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	exec("ALTER TABLE audit_pending RENAME TO away")
	submit := func() (string, error) {
		ctx, rid := marked(t.Context())
		return rid, w.grpc.Invoke(ctx, jobs+"SubmitJob", &jobv1.SubmitJobRequest{JobType: "etl"}, &jobv1.SubmitJobResponse{})
	}
	first, err := submit()
	if errs.Reason(err) != "AUDIT_UNAVAILABLE" {
		t.Error(err)
	}
	calls := w.peers.count()
	if _, err := submit(); errs.Reason(err) != "AUDIT_UNAVAILABLE" || w.peers.count() != calls {
		t.Error(err, w.peers.count()-calls)
	}
	if got := w.do("GET", "/api/v1/jobs/requests/"+id+"/tasks/a/log", ""); got.code != http.StatusServiceUnavailable {
		t.Error(got)
	}
	exec("ALTER TABLE away RENAME TO audit_pending")
	if _, err := submit(); err != nil {
		t.Error(err)
	}
	if got := w.sealed(4)[first]; len(got) != 1 || got[0].GetOutcome() != identityv1.AuditEvent_OUTCOME_OK {
		t.Error(got)
	}
	if v := w.verified(""); v.GetFaultsTotal() != 0 {
		t.Error(v)
	}
}
