package jobmanager_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

func TestParametersKeepTheirDigits(t *testing.T) {
	c := newColony(t)
	const digits = "9007199254740993"
	c.upload("job_type: j\nparams:\n  - {name: n, type: int, default: " + digits + "}\n  - {name: j, type: json}\n" +
		"tasks:\n  - {task_type: a, method: SHELL, script: ['{{.n}} {{.free}} {{.sixteen}} {{.j | toJson}}']}\n")
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
	fork.ParamsJson = proto.String(`{"n":` + digits + `,"free":1}`)
	broken := childOf(parent, "g", "j")
	broken.ParamsJson = proto.String(`[`)
	large := childOf(parent, "h", "j")
	large.ParamsJson = proto.String(`{"x":1e400}`)
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
