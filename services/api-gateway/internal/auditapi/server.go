// Package auditapi serves the audit log.
package auditapi

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"slices"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/formicary/formicary/libs/access"
	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/rpc"
	identityv1 "github.com/formicary/formicary/proto/gen/formicary/identity/v1"
	"github.com/formicary/formicary/services/api-gateway/internal/auditlog"
)

// Server is the AuditService.
type Server struct {
	identityv1.UnimplementedAuditServiceServer
	log   *auditlog.Log
	roots func() *x509.CertPool
}

// New returns the service of a log. roots are those of whom its signatures may be; nil when that cannot be checked.
func New(log *auditlog.Log, roots func() *x509.CertPool) *Server {
	return &Server{log: log, roots: roots}
}

const pageSize = 50

// filtering is what lists and exports have in common.
type filtering interface {
	GetOrg() string
	GetActor() string
	GetAction() string
	GetObjectKind() string
	GetObjectId() string
	GetOutcome() identityv1.AuditEvent_Outcome
	GetSince() *timestamppb.Timestamp
	GetUntil() *timestamppb.Timestamp
}

// filter reads a request, and holds everybody but those of the platform to their own org.
func filter(ctx context.Context, req filtering) (auditlog.Filter, error) {
	who := access.From(ctx)
	f := auditlog.Filter{
		Org: req.GetOrg(), Actor: req.GetActor(), Action: req.GetAction(), ObjectKind: req.GetObjectKind(), ObjectID: req.GetObjectId(),
		Outcome: outcomes[req.GetOutcome()],
	}
	if req.GetSince() != nil {
		f.Since = req.GetSince().AsTime()
	}
	if req.GetUntil() != nil {
		f.Until = req.GetUntil().AsTime()
	}
	if slices.ContainsFunc(who.Roles, access.OfPlatform) {
		f.Platform = true
		return f, nil
	}
	if who.Org == "" || f.Org != "" && f.Org != who.Org {
		return f, errs.NotFound("ORG_NOT_FOUND", "there is no org %q here", f.Org)
	}
	f.Org = who.Org
	return f, nil
}

// ListAuditEvents lists events, the newest first.
func (s *Server) ListAuditEvents(ctx context.Context, req *identityv1.ListAuditEventsRequest) (*identityv1.ListAuditEventsResponse, error) {
	f, err := filter(ctx, req)
	if err != nil {
		return nil, err
	}
	list := rpc.PartOf("audit", f)
	place, err := rpc.PagePlace(list, req.GetPageToken())
	if err != nil {
		return nil, err
	}
	if place != "" {
		if f.Before, err = strconv.ParseInt(place, 10, 64); err != nil {
			return nil, rpc.BadPageToken()
		}
	}
	size := int(req.GetPageSize())
	if size == 0 {
		size = pageSize
	}
	f.Limit = size + 1
	events, err := s.log.List(ctx, f)
	if err != nil {
		return nil, err
	}
	res := &identityv1.ListAuditEventsResponse{}
	if len(events) > size {
		events = events[:size]
		res.NextPageToken = rpc.PageToken(list, strconv.FormatInt(events[size-1].Seq, 10))
	}
	for _, e := range events {
		res.Events = append(res.Events, toProto(e))
	}
	return res, nil
}

// ExportAuditEvents sends events as a file.
func (s *Server) ExportAuditEvents(req *identityv1.ExportAuditEventsRequest, ss grpc.ServerStreamingServer[identityv1.ExportAuditEventsResponse]) error {
	f, err := filter(ss.Context(), req)
	if err != nil {
		return err
	}
	write := writeJSON
	if req.GetFormat() == identityv1.ExportAuditEventsRequest_FORMAT_CSV {
		if err := ss.Send(&identityv1.ExportAuditEventsResponse{Data: titles()}); err != nil {
			return err
		}
		write = writeCSV
	}
	return s.log.Export(ss.Context(), f, func(events []*auditlog.Event) error {
		data, err := write(events)
		if err != nil {
			return err
		}
		return ss.Send(&identityv1.ExportAuditEventsResponse{Data: data})
	})
}

// VerifyAuditLog walks the chain.
func (s *Server) VerifyAuditLog(req *identityv1.VerifyAuditLogRequest, ss grpc.ServerStreamingServer[identityv1.VerifyAuditLogResponse]) error {
	var known auditlog.Head
	if req.GetHead() != "" {
		var err error
		if known, err = auditlog.ParseHead(req.GetHead()); err != nil {
			return err
		}
	}
	var roots *x509.CertPool
	if s.roots != nil {
		roots = s.roots()
	}
	return s.log.Verify(ss.Context(), known, roots, func(p auditlog.Progress) error {
		m := &identityv1.VerifyAuditLogResponse{Checked: p.Checked, Done: p.Done}
		for _, f := range p.Faults {
			m.Faults = append(m.Faults, &identityv1.AuditFault{Seq: f.Seq, Kind: f.Kind, Message: f.Message})
		}
		if p.Done {
			m.Head, m.FaultsTotal, m.Signed = p.Head.String(), p.Total, p.Signed
		}
		return ss.Send(m)
	})
}

var outcomes = map[identityv1.AuditEvent_Outcome]auditlog.Outcome{ //nolint:gochecknoglobals // a constant table
	identityv1.AuditEvent_OUTCOME_OK: auditlog.OK, identityv1.AuditEvent_OUTCOME_REFUSED: auditlog.Refused,
	identityv1.AuditEvent_OUTCOME_FAILED: auditlog.Failed, identityv1.AuditEvent_OUTCOME_UNKNOWN: auditlog.Unknown,
}

func toProto(e *auditlog.Event) *identityv1.AuditEvent {
	p := &identityv1.AuditEvent{
		Seq: e.Seq, Id: e.ID.String(), Time: timestamppb.New(e.At), Org: e.Org, Actor: e.Actor, ActorKind: e.ActorKind, Credential: e.Credential,
		Method: e.Method, Permission: e.Permission, ObjectKind: e.ObjectKind, ObjectId: e.ObjectID, RequestDigest: hex.EncodeToString(e.RequestDigest),
		BeforeDigest: hex.EncodeToString(e.BeforeDigest), AfterDigest: hex.EncodeToString(e.AfterDigest), Address: e.Address,
		RequestId: e.RequestID, Agent: e.Agent, Code: e.Code, Reason: e.Reason, TookMicros: e.Took.Microseconds(),
		PrevHash: hex.EncodeToString(e.PrevHash), Hash: hex.EncodeToString(e.Hash),
	}
	for k, v := range outcomes {
		if v == e.Outcome {
			p.Outcome = k
		}
	}
	return p
}
