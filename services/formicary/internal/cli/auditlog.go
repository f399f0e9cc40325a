package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/formicary/formicary/libs/errs"
	identityv1 "github.com/formicary/formicary/proto/gen/formicary/identity/v1"
)

// auditFlags choose events.
type auditFlags struct {
	of                                   string // the org
	actor, action, kind, object, outcome string
	since, until                         string
	sinceTime, untilTime                 *timestamppb.Timestamp
	outcomeValue                         identityv1.AuditEvent_Outcome
}

func (f *auditFlags) add(c *cobra.Command) {
	s := c.Flags()
	s.StringVar(&f.of, "of", "", "only of this `org`; those of the platform see all without it")
	s.StringVar(&f.actor, "actor", "", "only of this `user`")
	s.StringVar(&f.action, "action", "", "only this `action`: a permission (secret.reveal), a noun (secret) or a method (SubmitJob)")
	s.StringVar(&f.kind, "kind", "", "only about this `kind` of object, as job_request or secret")
	s.StringVar(&f.object, "object", "", "only about the object with this `id`")
	s.StringVar(&f.outcome, "outcome", "", "only with this `outcome`: ok, refused, failed or unknown")
	s.StringVar(&f.since, "since", "", "only from this `time` on: 2006-01-02T15:04:05Z, or as 24h ago")
	s.StringVar(&f.until, "until", "", "only before this `time`")
}

func (f *auditFlags) read() error {
	if f.outcome != "" {
		v, ok := identityv1.AuditEvent_Outcome_value["OUTCOME_"+strings.ToUpper(f.outcome)]
		if !ok || v == 0 {
			return usageError(fmt.Errorf("outcome %q: want ok, refused, failed or unknown", f.outcome))
		}
		f.outcomeValue = identityv1.AuditEvent_Outcome(v)
	}
	var err, uerr error
	f.sinceTime, err = ago(f.since)
	f.untilTime, uerr = ago(f.until)
	return errors.Join(err, uerr)
}

// ago reads a time or how long ago it was; "" is none.
func ago(text string) (*timestamppb.Timestamp, error) {
	if text == "" {
		return nil, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return timestamppb.New(time.Now().Add(-d)), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return nil, usageError(fmt.Errorf("time %q: want 2006-01-02T15:04:05Z or a duration as 24h", text))
	}
	return timestamppb.New(at), nil
}

func (a *app) auditLogCmd() *cobra.Command {
	var f auditFlags
	var most int
	c := &cobra.Command{
		Use: "log", Short: "Show the audit log: who did what, the newest first", Args: cobra.NoArgs,
		Long: `Shows the audit log. It has one event for every call that may change something, for every read of secrets and logs, for
logins, and for calls that were refused. Nobody can change it unseen: see formicary audit log verify.`,
		Example: `  formicary audit log --since 24h
  formicary audit log --action secret.reveal --outcome refused
  formicary audit log --object 0198f2c1-7d3f-7abc-8000-000000000000 -o json`,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.read(); err != nil {
				return err
			}
			return a.with(c.Context(), func(ctx context.Context, cl *client) error { return a.auditLog(ctx, cl, &f, most) })
		},
	}
	f.add(c)
	c.Flags().IntVar(&most, "limit", 50, "show at most so `many`")
	c.AddCommand(a.auditExportCmd(), a.auditVerifyCmd())
	return c
}

func (a *app) auditLog(ctx context.Context, cl *client, f *auditFlags, most int) error {
	all := &identityv1.ListAuditEventsResponse{}
	err := pages(func(token string) (string, error) {
		res, err := identityv1.NewAuditServiceClient(cl.conn).ListAuditEvents(ctx, &identityv1.ListAuditEventsRequest{
			Org: f.of, Actor: f.actor, Action: f.action, ObjectKind: f.kind, ObjectId: f.object, Outcome: f.outcomeValue, Since: f.sinceTime, Until: f.untilTime,
			PageSize: int32(min(max(most-len(all.GetEvents()), 1), 1000)), PageToken: token,
		})
		all.Events = append(all.Events, res.GetEvents()...)
		if len(all.GetEvents()) >= most {
			return "", err
		}
		return res.GetNextPageToken(), err
	})
	if err != nil {
		return err
	}
	ids := make([]string, len(all.GetEvents()))
	for i, e := range all.GetEvents() {
		ids[i] = e.GetId()
	}
	return a.show(all, ids, func(w io.Writer) {
		row(w, "SEQ", "TIME", "ORG", "ACTOR", "ACTION", "OBJECT", "OUTCOME", "FROM")
		for _, e := range all.GetEvents() {
			_, method, _ := strings.Cut(e.GetMethod(), "/")
			outcome := strings.ToLower(strings.TrimPrefix(e.GetOutcome().String(), "OUTCOME_"))
			if e.GetReason() != "" {
				outcome += " " + e.GetReason()
			}
			row(w, fmt.Sprint(e.GetSeq()), e.GetTime().AsTime().Local().Format(time.DateTime), e.GetOrg(), inert(e.GetActor(), false), method,
				inert(strings.TrimSuffix(e.GetObjectKind()+" "+e.GetObjectId(), " "), false), outcome, inert(e.GetAddress(), false))
		}
	})
}

func (a *app) auditExportCmd() *cobra.Command {
	var f auditFlags
	var format, file string
	c := &cobra.Command{
		Use: "export", Short: "Write the audit log to a file, the oldest event first", Args: cobra.NoArgs,
		Long:    "Writes events as lines of JSON, or as CSV with a line of titles. The export is an event of the log itself.",
		Example: "  formicary audit log export --since 720h --to audit.jsonl\n  formicary audit log export --format csv --actor ann",
		RunE: func(c *cobra.Command, _ []string) error {
			kind := map[string]identityv1.ExportAuditEventsRequest_Format{
				"json": identityv1.ExportAuditEventsRequest_FORMAT_JSON, "csv": identityv1.ExportAuditEventsRequest_FORMAT_CSV,
			}[format]
			if kind == 0 {
				return usageError(fmt.Errorf("format %q: want json or csv", format))
			}
			if err := f.read(); err != nil {
				return err
			}
			req := &identityv1.ExportAuditEventsRequest{
				Org: f.of, Actor: f.actor, Action: f.action, ObjectKind: f.kind, ObjectId: f.object, Outcome: f.outcomeValue, Since: f.sinceTime,
				Until: f.untilTime, Format: kind,
			}
			return a.patiently(c.Context(), func(ctx context.Context, cl *client) error { return a.auditExport(ctx, cl, req, file) })
		},
	}
	f.add(c)
	c.Flags().StringVar(&format, "format", "json", "json (one event a line) or csv")
	c.Flags().StringVar(&file, "to", "", "`file` to write; the standard output without it")
	return c
}

func (a *app) auditExport(ctx context.Context, cl *client, req *identityv1.ExportAuditEventsRequest, file string) (err error) {
	stream, err := identityv1.NewAuditServiceClient(cl.conn).ExportAuditEvents(ctx, req)
	if err != nil {
		return err
	}
	to := a.Out
	for {
		m, rerr := stream.Recv()
		if rerr != nil && !errors.Is(rerr, io.EOF) {
			return rerr
		}
		if file != "" && to == a.Out { // only when the first answer has come: a refusal leaves no file behind
			f, ferr := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
			if ferr != nil {
				return ferr
			}
			defer func() { err = errors.Join(err, f.Close()) }()
			to = f
		}
		if rerr != nil {
			return nil
		}
		if _, err := to.Write(m.GetData()); err != nil {
			return err
		}
	}
}

func (a *app) auditVerifyCmd() *cobra.Command {
	var head string
	c := &cobra.Command{
		Use: "verify", Short: "Prove that nobody changed, removed or added events of the audit log", Args: cobra.NoArgs,
		Long: `Walks the chain of the whole audit log, and says which events are not what was written. Exit code 1 when any is.

It prints the end of the chain. Keep it where nobody who can write to the database can reach it, and give it to the next
verification: whoever writes the whole chain anew, or cuts its end and all that is stored about it, is found by that alone.`,
		Example: "  formicary audit log verify\n  formicary audit log verify --head 4711:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
		RunE: func(c *cobra.Command, _ []string) error {
			return a.patiently(c.Context(), func(ctx context.Context, cl *client) error { return a.auditVerify(ctx, cl, head) })
		},
	}
	c.Flags().StringVar(&head, "head", "", "`SEQ:HASH` with which an earlier verification ended")
	return c
}

func (a *app) auditVerify(ctx context.Context, cl *client, head string) error {
	stream, err := identityv1.NewAuditServiceClient(cl.conn).VerifyAuditLog(ctx, &identityv1.VerifyAuditLogRequest{Head: head})
	if err != nil {
		return err
	}
	all := &identityv1.VerifyAuditLogResponse{}
	for !all.GetDone() {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return errs.Unavailable("AUDIT_UNVERIFIED", "the verification broke off after %d events; try again", all.GetChecked())
		}
		if err != nil {
			return err
		}
		m.Faults = slices.Concat(all.GetFaults(), m.GetFaults())
		all = m
	}
	if err := a.show(all, []string{all.GetHead()}, func(w io.Writer) {
		for _, f := range all.GetFaults() {
			printf(w, "%s: %s\n", strings.ToUpper(f.GetKind()), inert(f.GetMessage(), false))
		}
		if all.GetFaultsTotal() == 0 {
			printf(w, "%d events, none changed, removed or added; signed up to %d\n", all.GetChecked(), all.GetSigned())
		}
		printf(w, "head: %s\n", all.GetHead())
	}); err != nil {
		return err
	}
	if n := all.GetFaultsTotal(); n > 0 {
		return &exit{exitFailed, fmt.Errorf("the audit log was tampered with: %d faults", n)}
	}
	return nil
}
