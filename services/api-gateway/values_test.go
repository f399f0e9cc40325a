package apigateway_test

import (
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/formicary/formicary/libs/errs"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

func TestNumbersKeepTheirDigits(t *testing.T) {
	w := start(t)
	const params = `{"n":9007199254740993,"l":[12345678901234567890123],"f":0.5,"t":"9007199254740993"}`
	if got := w.do("POST", "/api/v1/jobs/requests", `{"job_type":"x","params":`+params+`}`); got.code != http.StatusOK {
		t.Fatalf("%d %s", got.code, got.body)
	}
	if got := w.peers.last(t).req.(*jobv1.SubmitJobRequest).GetParamsJson(); got != params {
		t.Errorf("passed on: %s", got)
	}
	w.do("POST", "/api/v1/jobs/requests", `{"job_type":"x","params":{"n":1234567890123456,"l":1e20}}`)
	if got := w.peers.last(t).req.(*jobv1.SubmitJobRequest); got.ParamsJson != nil || got.GetParams().GetFields()["n"].GetNumberValue() != 1234567890123456 {
		t.Errorf("passed on: %v", got)
	}
	calls := w.peers.count()
	if got := w.do("POST", "/api/v1/jobs/requests", `{"job_type":"x","params":{"n":1e400}}`); got.code != http.StatusBadRequest || w.peers.count() != calls {
		t.Errorf("%d %s", got.code, got.body)
	}

	text, item := params, "9007199254740993"
	request := &jobv1.JobRequest{Id: id, Params: &structpb.Struct{}, ParamsJson: &text}
	w.peers.when(jobs+"GetJobRequest", one(&jobv1.GetJobRequestResponse{Request: request}))
	w.peers.when(jobs+"ListJobRequests", one(&jobv1.ListJobRequestsResponse{Requests: []*jobv1.JobRequest{{}, request}}))
	w.peers.when(runs+"ListTasks", one(&executionv1.ListTasksResponse{Tasks: []*executionv1.Task{{ItemValue: structpb.NewNumberValue(1), ItemValueJson: &item}}}))
	for path, want := range map[string]string{
		"/api/v1/jobs/requests/" + id:            `"params":{"f":0.5,"l":[12345678901234567890123],"n":9007199254740993,"t":"9007199254740993"}`,
		"/api/v1/jobs/requests":                  `"l":[12345678901234567890123]`,
		"/api/v1/jobs/requests/" + id + "/tasks": `"item_value":9007199254740993`,
	} {
		got := w.do("GET", path, "")
		if body := strings.ReplaceAll(got.body, " ", ""); !strings.Contains(body, want) || strings.Contains(body, "_json") {
			t.Errorf("%s: %s", path, got.body)
		}
	}
}

// TestBytesThatAreNoMessageAreTheCallersFault sends over gRPC what a client in Go would not.
func TestBytesThatAreNoMessageAreTheCallersFault(t *testing.T) {
	w := start(t)
	_, err := jobv1.NewJobRequestServiceClient(w.grpc).SubmitJob(t.Context(), &jobv1.SubmitJobRequest{JobType: "a\xff"})
	if errs.CodeOf(err) != errs.CodeInvalid || w.peers.count() != 0 {
		t.Errorf("%v", err)
	}
}
