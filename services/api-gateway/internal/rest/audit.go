package rest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/formicary/formicary/libs/errs"
	identityv1 "github.com/formicary/formicary/proto/gen/formicary/identity/v1"
)

// audits sends the audit log as a file, which generated handlers cannot.
type audits struct {
	to identityv1.AuditServiceClient
}

func (a audits) export(w http.ResponseWriter, r *http.Request) {
	x := streaming(w, r)
	req, kind, err := exportRequest(r)
	if err != nil {
		respond(w, r, err)
		return
	}
	ctx, cancel := context.WithCancel(asked(r))
	defer cancel()
	stream, err := a.to.ExportAuditEvents(ctx, req)
	if err != nil {
		respond(w, r, err)
		return
	}
	m, err := stream.Recv()
	if err != nil && !errors.Is(err, io.EOF) {
		respond(w, r, err)
		return
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Disposition", `attachment; filename="audit`+map[bool]string{true: ".csv", false: ".jsonl"}[strings.HasPrefix(kind, "text/csv")]+`"`)
	for ; err == nil; m, err = stream.Recv() {
		if _, werr := w.Write(m.GetData()); werr != nil { // #nosec G705 -- a file of its own type, sent as an attachment
			return // whoever asked has gone
		}
	}
	if !errors.Is(err, io.EOF) && x != nil { // the answer has begun: only a cut connection says that it is not whole
		x.failed = err
		_ = http.NewResponseController(x.ResponseWriter).SetWriteDeadline(time.Unix(1, 0))
	}
}

func exportRequest(r *http.Request) (req *identityv1.ExportAuditEventsRequest, kind string, err error) {
	q, err := query(r, "org", "actor", "action", "object_kind", "object_id", "outcome", "since", "until", "format")
	if err != nil {
		return nil, "", err
	}
	req = &identityv1.ExportAuditEventsRequest{
		Org: q.Get("org"), Actor: q.Get("actor"), Action: q.Get("action"), ObjectKind: q.Get("object_kind"), ObjectId: q.Get("object_id"),
	}
	switch format := q.Get("format"); format {
	case "", "json":
		req.Format, kind = identityv1.ExportAuditEventsRequest_FORMAT_JSON, "application/x-ndjson"
	case "csv":
		req.Format, kind = identityv1.ExportAuditEventsRequest_FORMAT_CSV, "text/csv; charset=utf-8"
	default:
		return nil, "", errs.Invalid("REQUEST_INVALID", "format is %q, want json or csv", format)
	}
	if outcome := q.Get("outcome"); outcome != "" {
		v, ok := identityv1.AuditEvent_Outcome_value["OUTCOME_"+strings.TrimPrefix(strings.ToUpper(outcome), "OUTCOME_")]
		if !ok {
			return nil, "", errs.Invalid("REQUEST_INVALID", "outcome is %q, want ok, refused, failed or unknown", outcome)
		}
		req.Outcome = identityv1.AuditEvent_Outcome(v)
	}
	for name, to := range map[string]**timestamppb.Timestamp{"since": &req.Since, "until": &req.Until} {
		if text := q.Get(name); text != "" {
			at, err := time.Parse(time.RFC3339, text)
			if err != nil {
				return nil, "", errs.Invalid("REQUEST_INVALID", "%s is %q, want a time as 2006-01-02T15:04:05Z", name, text)
			}
			*to = timestamppb.New(at)
		}
	}
	return req, kind, nil
}
