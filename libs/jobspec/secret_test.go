package jobspec_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/jobspec/value"
)

const secretJob = `job_type: j
params: [{name: TOKEN, type: string, default: given}]
tasks:
  - task_type: first
    method: HTTP_POST_JSON
    secrets: [TOKEN, {name: db-password, env: DB}, {name: key, file: id}, params.pin]
    url: "https://example.com/{{.TOKEN | urlquery}}"
    headers: {Authorization: "Bearer {{.TOKEN}}", X-Key: "{{.key}}{{.pin}}"}
    variables: {auth: "user:{{.DB}}", plain: x}
    on_completed: other
  - task_type: other
    method: SHELL
    environment: {T: "{{.TOKEN}}"}
    script: echo
`

// TestSecretsAreKnownAtTheClaimOnly renders them for the task that names them, and for no other.
func TestSecretsAreKnownAtTheClaimOnly(t *testing.T) {
	def, _, err := jobspec.Parse("job.yaml", []byte(secretJob))
	if err != nil {
		t.Fatal(err)
	}
	p, err := def.Plan(value.Vars{"TOKEN": "of the caller"})
	if err != nil {
		t.Fatal(err)
	}
	first := p.Tasks[0]
	if !first.Late || strings.Contains(value.JSON(first), "of the caller") || first.Secrets[2] != (plan.Secret{Name: "key", File: "id", FileEnv: "key_FILE"}) {
		t.Errorf("the plan has %s", value.JSON(first))
	}
	known := &template.Lookups{Secrets: map[string]string{"TOKEN": "se cret", "db-password": "pass", "key": "k1", "params.pin": "-7"}}
	first2, err := def.TaskWith("first", value.Vars{"TOKEN": "of the caller"}, known)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(plan.Spec{
		Method: "HTTP_POST_JSON", URL: "https://example.com/se+cret", Headers: map[string]string{"Authorization": "Bearer se cret", "X-Key": "k1-7"},
		Variables: map[string]any{"auth": "user:pass", "plain": "x"},
	}, first2.Spec); diff != "" {
		t.Error(diff)
	}
	other, err := def.TaskWith("other", value.Vars{"TOKEN": "of the caller"}, known)
	if err != nil || other.Spec.Environment["T"] != "of the caller" {
		t.Errorf("a task that does not name it has %v, %v", other, err)
	}
}

// TestSecretsOfOtherMethods are refused: what workers are told goes over ways that keep it.
func TestSecretsOfOtherMethods(t *testing.T) {
	_, _, err := jobspec.Parse("job.yaml", []byte("job_type: j\ntasks:\n  - {task_type: a, method: MESSAGING, messaging_request_queue: q, secrets: [TOKEN]}\n"))
	if err == nil || !strings.Contains(err.Error(), "a task of the method MESSAGING gets no secrets") {
		t.Error(err)
	}
}

// TestSecretsDecideNothing has them where the launch, or another task, would have to know them.
func TestSecretsDecideNothing(t *testing.T) {
	for name, field := range map[string]string{
		"placement": "tags: ['{{.TOKEN}}']",
		"timeout":   "timeout: '{{.TOKEN}}'",
		"structure": "{{if eq .TOKEN \"x\"}}tags: [x]{{end}}",
		"condition": "when: params.TOKEN == 'x'",
	} {
		text := "job_type: j\ntasks:\n  - task_type: a\n    method: SHELL\n    script: x\n    secrets: [TOKEN]\n    " + field + "\n"
		def, _, err := jobspec.Parse("job.yaml", []byte(text))
		if err != nil {
			continue
		}
		p, err := def.Plan(nil)
		if err == nil && (p.Tasks[0].Tags != nil || p.Tasks[0].When == "" && name == "condition") {
			t.Errorf("%s: %s", name, value.JSON(p.Tasks[0]))
		}
	}
}
