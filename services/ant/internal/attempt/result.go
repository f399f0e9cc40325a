package attempt

import (
	"maps"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/formicary/formicary/libs/exact"
	"github.com/formicary/formicary/libs/storable"
	antv1 "github.com/formicary/formicary/proto/gen/formicary/ant/v1"
	"github.com/formicary/formicary/services/ant/internal/executor"
)

// maxMessage bounds the message of a result: what happened and the last lines of the log.
const maxMessage = 2 << 10

// maxBody bounds the body of a result, shortBody is what is kept of a longer one.
const maxBody, shortBody = 64 << 10, 4 << 10

// toTask maps the work of a claim to what an executor needs.
func toTask(w *antv1.Work) executor.Task {
	s := w.GetSpec()
	env := make(map[string]string, len(s.GetEnvironment())+8)
	maps.Copy(env, s.GetEnvironment())
	for _, secret := range w.GetSecrets() {
		if name := secret.GetEnv(); name != "" {
			env[name] = secret.GetValue()
		}
	}
	env["CI"] = "true"
	env["FORMICARY_JOB_ID"] = w.GetRequestId()
	env["FORMICARY_JOB_TYPE"] = w.GetJobType()
	env["FORMICARY_RUN"] = strconv.Itoa(int(w.GetRun()))
	env["FORMICARY_TASK"] = w.GetTask()
	env["FORMICARY_ATTEMPT"] = strconv.Itoa(int(w.GetAttempt()))
	env["FORMICARY_ATTEMPT_UID"] = w.GetUid()
	env["FORMICARY_IDEMPOTENCY_KEY"] = w.GetIdempotencyKey()
	t := executor.Task{
		UID: w.GetUid(), Org: w.GetOrgId(), JobID: w.GetRequestId(), JobType: w.GetJobType(), Run: int(w.GetRun()), Name: w.GetTask(), Attempt: int(w.GetAttempt()),
		Timeout: w.GetTimeout().AsDuration(), Method: s.GetMethod(), Before: s.GetBeforeScript(), Script: s.GetScript(), After: s.GetAfterScript(),
		Environment: env, Files: s.GetFiles(), WorkingDir: s.GetWorkingDir(), URL: s.GetUrl(), Headers: s.GetHeaders(), Query: s.GetQuery(),
		IdempotencyKey: w.GetIdempotencyKey(), CPUMillis: s.GetCpuMillis(), MemoryBytes: s.GetMemoryBytes(),
		RequestQueue: s.GetMessagingRequestQueue(), ReplyQueue: s.GetMessagingReplyQueue(), Options: s.GetOptions(),
	}
	for _, secret := range w.GetSecrets() {
		if file := secret.GetFile(); file != "" {
			t.Secrets = append(t.Secrets, executor.Secret{File: file, Value: secret.GetValue(), Variable: secret.GetFileEnv()})
		}
	}
	t.Variables, _ = exact.Map(s.GetVariables(), s.GetVariablesJson()) // supervisor has encoded them
	return t
}

// result of an execution; why is set when the ant ended it. Nothing of it is unmasked.
func (a *attempt) result(end executor.End, why *stopped) *antv1.Result {
	r := &antv1.Result{
		Uid: a.uid, AntId: a.m.opts.Ant, Outcome: antv1.Result_SUCCEEDED, ExitCode: int32(end.ExitCode), FailureClass: string(end.Class),
		StartedAt: timestamppb.New(a.began), EndedAt: timestamppb.New(time.Now()),
	}
	r.Usage = &antv1.Usage{
		CpuMillis: end.Usage.CPU.Milliseconds(), PeakMemoryBytes: end.Usage.PeakMemory, PullMillis: end.Usage.Pull.Milliseconds(), RunMillis: a.ran.Milliseconds(),
		BytesIn: a.moved.in, BytesOut: a.moved.out, DownloadMillis: a.moved.download.Milliseconds(), UploadMillis: a.moved.upload.Milliseconds(),
	}
	if a.cache != nil {
		r.Cache = a.cache.use
	}
	summary := a.text(end.Message)
	switch {
	case why != nil:
		r.Outcome, r.FailureClass, summary = why.outcome, why.class, a.text(why.message)
	case end.Lost:
		r.Outcome = antv1.Result_LOST
	case end.Class != executor.None:
		r.Outcome = antv1.Result_FAILED
	}
	r.Artifacts = a.artifacts
	if r.GetOutcome() != antv1.Result_SUCCEEDED {
		r.Message = a.message(summary)
	}
	if len(end.Outputs) > 0 {
		r.Outputs = make(map[string]string, len(end.Outputs))
		for k, v := range end.Outputs {
			r.Outputs[a.text(k)] = a.text(v)
		}
	}
	r.Body, r.BodyCut = a.text(end.Body), end.BodyCut
	if a.work.GetSpec().GetReportStdout() && end.Body == "" { // the answer of a server is the result of an HTTP task
		r.Body = storable.Text(a.log.Head())
	}
	if len(r.GetBody()) > maxBody { // what stands for bytes that are no text is longer than they are
		r.Body, r.BodyCut = strings.ToValidUTF8(r.GetBody()[:shortBody], ""), true
	}
	return r
}

// text masks and cleans.
func (a *attempt) text(s string) string { return storable.Text(a.masks.String(s)) }

// message of a failure.
func (a *attempt) message(summary string) string {
	if len(summary) > maxMessage/2 {
		summary = strings.ToValidUTF8(summary[:maxMessage/2], "")
	}
	if tail := a.log.Tail(maxMessage - len(summary) - 1); tail != "" {
		return strings.ToValidUTF8(summary+"\n"+storable.Text(tail), "")
	}
	return summary
}
