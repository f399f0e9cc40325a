package jobmanager_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/formicary/formicary/libs/errs"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

func TestParametersKeepTheirDigits(t *testing.T) {
	c := newColony(t)
	const digits = "9007199254740993"
	c.upload("job_type: j\nparams:\n  - {name: n, type: int, default: " + digits + "}\n  - {name: j, type: json}\n" +
		"tasks:\n  - {task_type: a, method: SHELL, script: ['{{.n}} {{.free}} {{.sixteen | default 0}} {{.j | default 0 | toJson}}']}\n")
	given := `{"free":12345678901234567890123,"j":"[` + digits + `]"}`
	req := &jobv1.SubmitJobRequest{JobType: "j", ParamsJson: &given, IdempotencyKey: "k", Params: &structpb.Struct{}}
	r := c.submit(req)
	stored := `{"free":12345678901234567890123,"j":[` + digits + `],"n":` + digits + `}`
	if got := c.get(r.GetId()).GetParamsJson(); got != stored || r.GetParamsJson() != stored {
		t.Errorf("stored %s", got)
	}
	if again := c.submit(req); again.GetId() != r.GetId() {
		t.Error("the same parameters are others")
	}
	s, err := structpb.NewStruct(map[string]any{"free": 0.5, "sixteen": 1234567890123456, "j": `"123"`})
	if err != nil {
		t.Fatal(err)
	}
	small := c.submit(&jobv1.SubmitJobRequest{JobType: "j", Params: s})
	launch := c.launched(small.GetId(), 1)
	if plan := string(launch.GetPlan()); !strings.Contains(plan, digits+` 0.5 1234567890123456 \"123\"`) {
		t.Errorf("plan %s", plan)
	}
	c.upload(job("p", ""))
	parent := c.submit(&jobv1.SubmitJobRequest{JobType: "p"})
	fork := childOf(parent, "f", "j")
	fork.ParamsJson = new(`{"n":` + digits + `,"free":1}`)
	broken := childOf(parent, "g", "j")
	broken.ParamsJson = new(`[`)
	large := childOf(parent, "h", "j")
	large.ParamsJson = new(`{"x":1e400}`)
	answers := c.fork(fork, broken, large)
	if got := c.get(answers[0].GetRequestId()).GetParamsJson(); got != `{"free":1,"n":`+digits+`}` {
		t.Errorf("child: %s", got)
	}
	for _, a := range answers[1:] {
		if a.GetReason() != "INVALID_PARAMS" || a.GetRefused() == "" {
			t.Errorf("%v", a)
		}
	}
	for _, bad := range []string{`[`, `[1]`, `{"x":1e400}`, `{"n":12345678901234567890}`, `{"n":9007199254740993.5}`} {
		_, err := c.requests.SubmitJob(t.Context(), &jobv1.SubmitJobRequest{JobType: "j", ParamsJson: &bad})
		wantReason(t, err, "PARAMS_INVALID")
	}
}

func TestJSONParametersAreReadOnceOnTheWay(t *testing.T) {
	c := newColony(t)
	c.upload("job_type: j\nsem_version: 1.0.0\nparams:\n  - {name: v, type: json, required: true}\ntasks:\n  - {task_type: a, method: SHELL, script: ['<{{.v | toJson}}>']}\n")
	for _, text := range []string{`"123"`, `"[1]"`, `"null"`, `"str"`, `null`} {
		r := c.submit(&jobv1.SubmitJobRequest{JobType: "j", Params: params(t, "v", text)})
		for run := int32(1); run <= 2; run++ {
			want := strings.ReplaceAll("<"+text+">", `"`, `\"`)
			want = strings.NewReplacer("<", `\u003c`, ">", `\u003e`).Replace(want)
			if plan := string(c.launched(r.GetId(), run).GetPlan()); !strings.Contains(plan, want) {
				t.Errorf("%s, run %d: %s", text, run, plan)
			}
			c.saidEnd(r.GetId(), run, executionv1.Execution_FAILED)
			c.awaitState(r.GetId(), jobv1.JobRequest_FAILED, run)
			if run == 1 {
				c.restart(&jobv1.RestartJobRequestRequest{Id: r.GetId(), JobVersion: "1"})
			}
		}
	}
}

func TestSubmitRefusesWhatTheLaunchWould(t *testing.T) {
	c := newColony(t)
	c.upload(job("p", ""))
	c.upload(job("free", "sem_version: 1.0.0\n"))
	c.upload("job_type: j\nretry: '{{.tries}}'\ntasks:\n  - {task_type: a, method: SHELL, script: ['{{.who}}'], on_completed: b}\n  - {task_type: b, method: SHELL, script: ['{{.later}}']}\n")
	refused := func(err error, fields ...string) {
		t.Helper()
		wantReason(t, err, "PARAMS_INVALID")
		var e *errs.Error
		if !asTyped(err, &e) || len(e.Violations) != len(fields) {
			t.Fatalf("%v", err)
		}
		for i, name := range fields {
			if v := e.Violations[i]; v.Reason != "UNDEFINED_VARIABLE" || !strings.Contains(v.Description, "the variable "+name+" is not set") || !strings.Contains(v.Field, "j.yaml:") && !strings.Contains(v.Field, "job.yaml:") {
				t.Errorf("%+v", v)
			}
		}
	}
	for _, only := range []bool{true, false} {
		_, err := c.requests.SubmitJob(t.Context(), &jobv1.SubmitJobRequest{JobType: "j", ValidateOnly: only})
		refused(err, "tries", "who")
		_, err = c.requests.SubmitJob(t.Context(), &jobv1.SubmitJobRequest{JobType: "j", ValidateOnly: only, Params: params(t, "tries", "3")})
		refused(err, "who")
	}
	_, err := c.requests.SubmitJob(t.Context(), &jobv1.SubmitJobRequest{JobType: "j", Params: params(t, "tries", "many", "who", "x")})
	wantReason(t, err, "PARAMS_INVALID")
	parent := c.submit(&jobv1.SubmitJobRequest{JobType: "p"})
	if a := c.fork(childOf(parent, "f", "j"))[0]; a.GetReason() != "INVALID_PARAMS" || !strings.Contains(a.GetRefused(), "the variable who is not set") {
		t.Errorf("%v", a)
	}
	if n := c.count("SELECT count(*) FROM request"); n != 1 {
		t.Errorf("%d requests are stored", n)
	}
	r := c.submit(&jobv1.SubmitJobRequest{JobType: "j", Params: params(t, "tries", "3", "who", "x")})
	if l := c.launched(r.GetId(), 1); l.GetErrorCode() != "" {
		t.Errorf("%v", l)
	}
	// Another version that needs more.
	old := c.submit(&jobv1.SubmitJobRequest{JobType: "free"})
	c.ended(old.GetId(), 1, executionv1.Execution_FAILED, nil)
	c.awaitState(old.GetId(), jobv1.JobRequest_FAILED, 1)
	c.upload(strings.ReplaceAll(job("free", "sem_version: 1.1.0\n"), `"true"`, `"{{.who}}"`))
	_, err = c.requests.RestartJobRequest(t.Context(), &jobv1.RestartJobRequestRequest{Id: old.GetId(), JobVersion: "1.1.0"})
	refused(err, "who")
}
