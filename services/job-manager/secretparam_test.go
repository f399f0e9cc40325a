package jobmanager_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/structpb"

	jobv1 "github.com/formicary/formicary/proto/gen/formicary/job/v1"
)

const secretJob = `job_type: build
params:
- {name: PASS, type: secret, required: true, pattern: 'canary-.*'}
- {name: branch, default: main}
tasks:
- task_type: a
  method: SHELL
  script: ["echo {{.branch}}"]
`

func given(t *testing.T, of map[string]any) *structpb.Struct {
	t.Helper()
	s, err := structpb.NewStruct(of)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSecretParametersAreNeverStoredInClear(t *testing.T) {
	c := newColony(t)
	heard := hearChanged(c)
	c.upload(secretJob)
	submit := &jobv1.SubmitJobRequest{JobType: "build", Params: given(t, map[string]any{"PASS": canary, "branch": "x"}), IdempotencyKey: "k"}
	r := c.submit(submit)
	if again := c.submit(submit); again.GetId() != r.GetId() {
		t.Error("the same key made another request")
	}
	_, err := c.requests.SubmitJob(t.Context(), &jobv1.SubmitJobRequest{JobType: "build", Params: given(t, map[string]any{"PASS": canary + "x", "branch": "x"}), IdempotencyKey: "k"})
	wantReason(t, err, "IDEMPOTENCY_CONFLICT")
	list, err := c.requests.ListJobRequests(t.Context(), &jobv1.ListJobRequestsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	c.admit(r.GetId())
	launch, err := c.launch.GetLaunches(t.Context(), &jobv1.GetLaunchesRequest{Runs: []*jobv1.RunRef{{RequestId: r.GetId(), Run: 1}}})
	if err != nil || len(launch.GetLaunches()) != 1 || launch.GetLaunches()[0].GetErrorCode() != "" {
		t.Fatalf("%v, %v", launch, err)
	}
	var vars map[string]any
	if err := json.Unmarshal(launch.GetLaunches()[0].GetVars(), &vars); err != nil || vars["branch"] != "x" {
		t.Errorf("%v, %v", vars, err)
	}
	if v, ok := vars["PASS"]; ok {
		t.Errorf("every task sees %v", v)
	}
	shown := []string{r.String(), c.get(r.GetId()).String(), list.String(), launch.String(), fmt.Sprint(heard())}
	for _, text := range shown {
		if strings.Contains(text, canary) {
			t.Errorf("it is shown: %.200s", text)
		}
	}
	if got := r.GetParams().GetFields()["PASS"].GetStringValue(); got != "****" {
		t.Error(got)
	}
	if found := c.leaks(canary); found != nil {
		t.Errorf("the database holds the value: %v", found)
	}
	q := &jobv1.SecretQuery{OrgId: "default", JobType: "build", RequestId: r.GetId(), Names: []string{"params.PASS", "params.branch"}}
	if got := c.resolve(q); !slices.Equal(got, []string{canary, "SECRET_NOT_FOUND"}) {
		t.Error(got)
	}
	q.OrgId = "evil"
	if got := c.resolve(q); !slices.Equal(got, []string{"SECRET_NOT_FOUND", "SECRET_NOT_FOUND"}) {
		t.Error(got)
	}
}

func TestSecretParametersAreChecked(t *testing.T) {
	c := newColony(t)
	c.upload(secretJob)
	for name, values := range map[string]map[string]any{
		"missing": {}, "masked": {"PASS": "****"}, "short": {"PASS": "can"}, "another pattern": {"PASS": "my-canary-3f9"}, "a list": {"PASS": []any{canary}},
	} {
		_, err := c.requests.SubmitJob(t.Context(), &jobv1.SubmitJobRequest{JobType: "build", Params: given(t, values)})
		wantReason(t, err, "PARAMS_INVALID")
		if err != nil && strings.Contains(err.Error(), "canary-3f9") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, bad := range map[string]string{"default": "{name: PASS, type: secret, default: x}", "enum": "{name: PASS, type: secret, enum: [a, b]}"} {
		_, err := c.definitions.CreateJobDefinition(t.Context(), &jobv1.CreateJobDefinitionRequest{Yaml: job("bad", "params:\n- "+bad+"\n")})
		if wantReason(t, err, "DEFINITION_INVALID"); err == nil {
			t.Error(name)
		}
	}
	// A version in which it is no secret any more would show it.
	r := c.submit(&jobv1.SubmitJobRequest{JobType: "build", Params: given(t, map[string]any{"PASS": canary})})
	c.upload(strings.ReplaceAll(secretJob, "type: secret", "type: string"))
	if _, err := c.requests.CancelJobRequest(t.Context(), &jobv1.CancelJobRequestRequest{Id: r.GetId()}); err != nil {
		t.Fatal(err)
	}
	_, err := c.requests.RestartJobRequest(t.Context(), &jobv1.RestartJobRequestRequest{Id: r.GetId(), JobVersion: "2"})
	wantReason(t, err, "PARAMS_INVALID")
	if _, err := c.requests.RestartJobRequest(t.Context(), &jobv1.RestartJobRequestRequest{Id: r.GetId()}); err != nil {
		t.Error(err)
	}
	if got := c.resolve(&jobv1.SecretQuery{OrgId: "default", JobType: "build", RequestId: r.GetId(), Names: []string{"params.PASS"}}); got[0] != canary {
		t.Error(got)
	}
}

func TestConfigsReachLaunches(t *testing.T) {
	c := newColony(t)
	ctx := c.as("default", "ann")
	yaml := "job_type: build\nvariables: {OWN: own}\ntasks:\n- task_type: a\n  method: SHELL\n  script: [\"{{.ORG}} {{.BOTH}} {{.OWN}} {{.N}}\"]\n"
	c.upload(yaml)
	_, err := c.requests.SubmitJob(ctx, &jobv1.SubmitJobRequest{JobType: "build"})
	wantReason(t, err, "PARAMS_INVALID") // nothing is set
	c.setConfig(ctx, "orgs/default", "ORG", "", "org")
	c.setConfig(ctx, "orgs/default", "OWN", "", "hidden")
	c.setConfig(ctx, "users", "BOTH", "", "user")
	c.setConfig(ctx, "orgs/default", "N", "int", "3")
	run := func() string {
		t.Helper()
		res, err := c.requests.SubmitJob(ctx, &jobv1.SubmitJobRequest{JobType: "build"})
		if err != nil {
			t.Fatal(err)
		}
		c.admit(res.GetRequest().GetId())
		launch, err := c.launch.GetLaunches(t.Context(), &jobv1.GetLaunchesRequest{Runs: []*jobv1.RunRef{{RequestId: res.GetRequest().GetId(), Run: 1}}})
		if err != nil || len(launch.GetLaunches()) != 1 {
			t.Fatalf("%v, %v", launch, err)
		}
		return string(launch.GetLaunches()[0].GetPlan())
	}
	if got := run(); !strings.Contains(got, "org user own 3") {
		t.Error(got)
	}
	c.setConfig(ctx, "jobs/build", "BOTH", "", "job")
	c.setConfig(ctx, "jobs/build", "OWN", "", "operator")
	if got := run(); !strings.Contains(got, "org job operator 3") {
		t.Error(got)
	}
	_, err = c.requests.SubmitJob(c.as("default", "bob"), &jobv1.SubmitJobRequest{JobType: "build"})
	if err != nil { // the job's config is there for bob, too
		t.Error(err)
	}
}
