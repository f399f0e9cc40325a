// Package api answers the gRPC calls.
package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/exact"
	"github.com/formicary/formicary/libs/jobspec/environ"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/rpc"
	"github.com/formicary/formicary/libs/run"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	"github.com/formicary/formicary/services/supervisor/internal/artifact"
	"github.com/formicary/formicary/services/supervisor/internal/attempt"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// Signer makes addresses for one upload.
type Signer interface {
	SignPut(ctx context.Context, key string, valid time.Duration) (*url.URL, error)
}

// Attempts serves ants.
type Attempts struct {
	antv1.UnimplementedAttemptServiceServer
	Manager   *attempt.Manager
	Signer    Signer
	Artifacts *artifact.Manager
}

const uploadTime = 15 * time.Minute

// Claim answers with the work of each attempt. The uids of one call share a transaction, and with those of others. What
// cannot be answered is left for later, if the ant knows that, and keeps nothing else from being answered.
func (a *Attempts) Claim(ctx context.Context, req *antv1.ClaimRequest) (*antv1.ClaimResponse, error) {
	session, err := uuid.Parse(req.GetSession())
	if err != nil {
		return nil, badID("session", err)
	}
	claims := make([]execution.Claim, len(req.GetUids()))
	for i, s := range req.GetUids() {
		uid, _ := uuid.Parse(s) // what is none names no attempt
		claims[i] = execution.Claim{UID: uid, Ant: req.GetAntId(), Session: session}
	}
	works, faults := a.claim(ctx, claims)
	fit(works, faults)
	var later []execution.Claim
	for i, fault := range faults {
		if fault == nil {
			continue
		}
		if err == nil {
			err = fault
		}
		later = append(later, claims[i])
	}
	if err != nil && (!req.GetPartial() || len(later) == len(claims)) {
		a.Manager.Keep(ctx, claims) // the ant hears of none of them
		if !req.GetPartial() && errs.Reason(err) == attempt.ClaimAgain {
			return nil, errs.Exhausted(attempt.ClaimAgain, "%v", err) // asked for together again it would be the same: such an ant halves
		}
		return nil, err
	}
	if len(later) > 0 {
		a.Manager.Keep(ctx, later)
	}
	for i, uid := range req.GetUids() {
		if faults[i] != nil {
			works[i] = &antv1.Work{Later: a.Manager.Later(claims[i], faults[i])}
		}
		works[i].Uid = uid
	}
	return &antv1.ClaimResponse{Works: works}, nil
}

// aside is what one work leaves of a message for the answers that hold none, workFrame what is added to each.
const (
	aside     = 1 << 20
	workFrame = 1 << 8
)

// fit leaves the works for later that find no room in the message. What works share is in it as often as they are, so it must
// be known before one is made of them.
func fit(works []*antv1.Work, faults []error) {
	room := rpc.MaxMessage
	for i, w := range works {
		if faults[i] != nil {
			continue
		}
		size := proto.Size(w) + workFrame
		if size > room {
			works[i], faults[i] = nil, errs.Unavailable(attempt.ClaimAgain, "the answer has no room for it; ask again")
			continue
		}
		room -= size
	}
}

// claim returns the work or the fault of each.
func (a *Attempts) claim(ctx context.Context, claims []execution.Claim) ([]*antv1.Work, []error) {
	ctx, cancel := inTime(ctx)
	defer cancel()
	works, faults := make([]*antv1.Work, len(claims)), make([]error, len(claims))
	one := func(i int) {
		faults[i] = run.Safely(ctx, func(ctx context.Context) (err error) {
			works[i], err = a.work(ctx, claims[i])
			return err
		})
	}
	if len(works) == 1 {
		one(0)
		return works, faults
	}
	var all sync.WaitGroup
	for i := range works {
		all.Go(func() { one(i) })
	}
	all.Wait()
	return works, faults
}

// inTime leaves a fifth of the time of a call for its answer: when the ant has stopped waiting nothing of it arrives.
func inTime(ctx context.Context) (context.Context, context.CancelFunc) {
	end, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, end.Add(-time.Until(end)/5))
}

func (a *Attempts) work(ctx context.Context, c execution.Claim) (*antv1.Work, error) {
	w, err := a.Manager.Claim(ctx, c)
	if err != nil {
		return nil, err
	}
	out, err := work(w)
	if err == nil {
		err = sendable(out)
	}
	if err != nil {
		return &antv1.Work{Refused: "it cannot be handed out"}, a.Manager.Unfit(ctx, w, err)
	}
	return out, nil
}

// sendable says why a work fits no message; sent again it would be the same.
func sendable(w *antv1.Work) error {
	if err := rpc.CheckText(w); err != nil {
		return err
	}
	if size := proto.Size(w); size > rpc.MaxMessage-aside {
		return fmt.Errorf("it has %d bytes, at most %d can be sent", size, rpc.MaxMessage-aside)
	}
	return nil
}

func badID(what string, err error) error {
	return errs.Invalid("REQUEST_INVALID", "%s is not a UUID: %v", what, err)
}

func work(w *attempt.Work) (*antv1.Work, error) {
	out := &antv1.Work{Uid: w.UID.String(), Refused: w.Refused}
	if w.Refused != "" {
		return out, nil
	}
	variables, exactly, err := object(w.Spec.Variables)
	if err != nil {
		return nil, fmt.Errorf("encode variables of attempt %s: %w", w.UID, err)
	}
	s := &w.Spec
	method := s.Method
	if method == "" {
		method = w.Task.Method
	}
	options, err := optionsOf(s)
	if err != nil {
		return nil, fmt.Errorf("encode options of attempt %s: %w", w.UID, err)
	}
	out.RequestId, out.Run, out.JobType = w.Job.Request.String(), int32(w.Job.Key.Run), w.Job.JobType
	out.Task, out.Attempt, out.IdempotencyKey = w.Task.Name, int32(w.Number), w.IdempotencyKey()
	out.OrgId = w.Job.Org
	out.Grace = durationpb.New(w.Task.Grace)
	out.LogFormat = antv1.LogFormat_LOG_FORMAT_RECORDS
	if w.Age > 0 {
		out.Age = durationpb.New(w.Age)
	}
	if w.Timeout > 0 {
		out.Timeout = durationpb.New(w.Timeout)
	}
	out.Spec = &antv1.Spec{
		Method: method, BeforeScript: s.BeforeScript, Script: s.Script, AfterScript: s.AfterScript, Environment: w.Environment.Vars,
		WorkingDir: s.WorkingDir, Url: s.URL, Headers: s.Headers, Query: s.Query, Variables: variables, VariablesJson: exactly,
		CpuMillis: s.CPUMillis, MemoryBytes: s.MemoryBytes, ReportStdout: s.ReportStdout || w.Task.ReportStdout,
		MessagingRequestQueue: s.RequestQueue, MessagingReplyQueue: s.ReplyQueue, Options: options, LogLimit: s.LogLimit,
	}
	out.Missing = w.Missing
	for _, s := range w.Secrets {
		out.Secrets = append(out.Secrets, &antv1.Secret{Name: s.Name, Value: s.Value.Clear(), Env: s.Env, File: s.File, FileEnv: s.FileEnv})
	}
	for _, v := range w.Masks {
		out.Masks = append(out.Masks, v.Clear())
	}
	for _, i := range w.Inputs {
		out.Inputs = append(out.Inputs, &antv1.Input{Id: i.ID.String(), Task: i.Task, Name: i.Name, Bytes: i.Bytes, Sha256: i.SHA256})
	}
	out.Spec.Files = w.Environment.Files
	if environ.Wanted(w.Task) { // of others nothing is incomplete
		out.Spec.Notes = w.Environment.Notes
	}
	return out, nil
}

// optionsOf encodes what executors of containers and pods are told; nil when nothing is set.
func optionsOf(s *plan.Spec) ([]byte, error) {
	if s.Options == nil {
		return nil, nil
	}
	return json.Marshal(s.Options)
}

// object encodes values; text is nil when the message says everything.
func object(m map[string]any) (s *structpb.Struct, text *string, err error) {
	if len(m) == 0 {
		return nil, nil, nil
	}
	s, exactly, err := exact.Struct(m)
	if exactly != "" {
		text = &exactly
	}
	return s, text, err
}

// Sync renews leases.
func (a *Attempts) Sync(ctx context.Context, req *antv1.SyncRequest) (*antv1.SyncResponse, error) {
	session, err := uuid.Parse(req.GetSession())
	if err != nil {
		return nil, badID("session", err)
	}
	res := &antv1.SyncResponse{}
	r := execution.Report{Ant: req.GetAntId(), Session: session, Generation: req.GetGeneration(), First: req.GetFirst()}
	r.Running, res.Stop = parse(req.GetRunning(), res.GetStop())
	r.Spooled, res.Settled = parse(req.GetSpooled(), res.GetSettled())
	answer, err := a.Manager.Sync(ctx, r)
	if err != nil {
		return nil, err
	}
	res.Stop = append(res.Stop, names(answer.Stop)...)
	res.Settled = append(res.Settled, names(answer.Settled)...)
	return res, nil
}

// parse reads uids; what is none belongs to no attempt and goes to bad.
func parse(in, bad []string) ([]uuid.UUID, []string) {
	uids := make([]uuid.UUID, 0, len(in))
	for _, s := range in {
		uid, err := uuid.Parse(s)
		if err != nil {
			bad = append(bad, s)
			continue
		}
		uids = append(uids, uid)
	}
	return uids, bad
}

func names(uids []uuid.UUID) []string {
	out := make([]string, len(uids))
	for i, u := range uids {
		out[i] = u.String()
	}
	return out
}

// CreateLogUpload signs an address for the final log.
func (a *Attempts) CreateLogUpload(ctx context.Context, req *antv1.CreateLogUploadRequest) (*antv1.CreateLogUploadResponse, error) {
	claim, err := claimOf(req)
	if err != nil {
		return nil, err
	}
	place, err := a.Manager.LogPlace(ctx, claim)
	if err != nil {
		return nil, err
	}
	key := place.ObjectKey()
	u, err := a.Signer.SignPut(ctx, key, uploadTime)
	if err != nil {
		return nil, err
	}
	return &antv1.CreateLogUploadResponse{Url: u.String(), Key: key}, nil
}

// spoken is what calls about a live attempt have in common.
type spoken interface {
	GetAntId() string
	GetSession() string
	GetUid() string
}

// place finds the live attempt that an ant speaks of.
func (a *Attempts) place(ctx context.Context, req spoken) (execution.LogPlace, error) {
	claim, err := claimOf(req)
	if err != nil {
		return execution.LogPlace{}, err
	}
	return a.Manager.Place(ctx, claim)
}

func claimOf(req spoken) (execution.Claim, error) {
	session, err := uuid.Parse(req.GetSession())
	if err != nil {
		return execution.Claim{}, badID("session", err)
	}
	uid, err := uuid.Parse(req.GetUid())
	if err != nil {
		return execution.Claim{}, badID("uid", err)
	}
	return execution.Claim{UID: uid, Ant: req.GetAntId(), Session: session}, nil
}
