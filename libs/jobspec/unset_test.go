package jobspec_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/condition"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

const unsetJob = `job_type: j
UNDEFINED
job_variables: {greeting: 'hello {{.who}}'}
description: for {{.customer}}
tasks:
  - task_type: find
    method: SHELL
    script: ['echo {{.greeting}} [{{.first}}] {{upper .other}}']
    tags: ['{{.tag}}']
    retry: '{{.retries}}'
    timeout: '{{.limit}}'
    allow_failure: '{{.soft}}'
    on_completed: [put, '{{.more}}']
  - task_type: put
    method: SHELL
    environment: {ROWS: '{{.Rows}}', DEEP: '{{.a.b.c}}', STATUS: '{{index . "find-x"}}', NUMBER: '{{(Dict "a" .none).a}}'}
    script: ['echo "${ROWS:-none}" {{.JobRetry}}{{if hasPrefix .ref "refs/"}} {{.ref}}{{end}}']
`

func unsetText(field string) string { return strings.Replace(unsetJob, "UNDEFINED", field, 1) }

// TestUndefinedVariablesAreEmpty renders a job whose variables nobody sets.
func TestUndefinedVariablesAreEmpty(t *testing.T) {
	def := parse(t, unsetText("undefined_variables: empty"))
	p, err := def.Plan(value.Vars{"JobID": "1"})
	if err != nil {
		t.Fatal(err)
	}
	find, put := p.Tasks[0], p.Tasks[1]
	if find.Retry != 0 || find.Timeout.Hours() != 1 || find.AllowFailure || len(find.Tags) > 0 || !find.Late || !put.Late {
		t.Errorf("%+v", find)
	}
	if diff := cmp.Diff([]plan.Route{{Key: "COMPLETED", Targets: []string{"put"}}}, find.Routes); diff != "" {
		t.Error(diff)
	}
	first, err := def.Task("find", p.Vars)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := first.Spec.Script[0], "echo hello  [] "; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	vars := value.Vars{"JobRetry": 1}
	second, err := def.Task("put", vars)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"ROWS": "", "DEEP": "", "STATUS": "", "NUMBER": ""}, second.Spec.Environment); diff != "" {
		t.Error(diff)
	}
	if got, want := second.Spec.Script[0], `echo "${ROWS:-none}" 1`; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	// An output that is set goes before nothing.
	vars["Rows"], vars["ref"] = "[1]", "refs/x"
	if second, err = def.Task("put", vars); err != nil || second.Spec.Environment["ROWS"] != "[1]" || !strings.HasSuffix(second.Spec.Script[0], "1 refs/x") {
		t.Errorf("%+v %v", second, err)
	}
}

// TestUndefinedVariablesAreFaults is the default: the launch fails, and its problem tells of the other way.
func TestUndefinedVariablesAreFaults(t *testing.T) {
	for _, field := range []string{"", "undefined_variables: strict"} {
		_, err := parse(t, unsetText(field)).Plan(nil)
		if err == nil || !strings.Contains(err.Error(), "the variable who is not set") || !strings.Contains(err.Error(), "undefined_variables: empty at the job") {
			t.Errorf("%q: %v", field, err)
		}
	}
	_, _, err := jobspec.Parse("job.yaml", []byte(unsetText("undefined_variables: '{{.x}}'")))
	expectProblems(t, err, "job.yaml:2:22: undefined_variables is a template")
	_, _, err = jobspec.Parse("job.yaml", []byte(unsetText("undefined_variables: blank")))
	expectProblems(t, err, `job.yaml:2:22: "blank" is not known here, expected strict or empty`)
}

// TestUndefinedVariablesOfDecisions covers what is rendered when a task is about to start, and for an item.
func TestUndefinedVariablesOfDecisions(t *testing.T) {
	def := parse(t, `{"job_type": "j", "undefined_variables": "empty", "tasks": [
  {"task_type": "a", "method": "SHELL", "script": "x", "on_completed": ["f", "i", "m"]},
  {"task_type": "f", "method": "FORK_JOB", "fork_job_type": "child{{.suffix}}", "sub_workflow": {"input_params": {"rows": "{{.Rows}}"}}},
  {"task_type": "i", "method": "SHELL", "script": "echo {{.item}} {{.none}}", "fan_out": {"items": ["{{.x}}", "y"]}},
  {"task_type": "m", "method": "MANUAL", "when": "{{.ready}}"}]}`)
	p, err := def.Plan(nil)
	if err != nil {
		t.Fatal(err)
	}
	fork, err := def.Decide("f", p.Vars, condition.Facts{})
	if err != nil || fork.Fork.JobType != "child" || fork.Fork.Params["rows"] != "" {
		t.Errorf("%+v %v", fork, err)
	}
	items, err := def.Decide("i", p.Vars, condition.Facts{})
	if err != nil || len(items.Items) != 2 || items.Items[0].Value != "" {
		t.Fatalf("%+v %v", items, err)
	}
	item, err := def.Item("i", items.Items[1], 1, p.Vars)
	if err != nil || item.Spec.Script[0] != "echo y " {
		t.Errorf("%+v %v", item, err)
	}
	manual, err := def.Decide("m", p.Vars, condition.Facts{})
	if err != nil || !manual.Off {
		t.Errorf("%+v %v", manual, err)
	}
}

// TestHintOfUndefinedVariables lints a file of the existing system that prints what nothing gives.
func TestHintOfUndefinedVariables(t *testing.T) {
	text := "job_type: j\nFIELD\nrequired_params: [id]\ntasks:\n  - task_type: a\n    method: SHELL\n    task_variables: {own: 1}\n    script: ['echo {{.id}} {{.own}} {{.JobID}}; echo {{.maybe | default 1}}', 'echo {{.Rows}} {{.More}}']\n"
	for field, want := range map[string]int{"": 1, "undefined_variables: empty": 0} {
		_, warnings, err := jobspec.Parse("job.yaml", []byte(strings.Replace(text, "FIELD", field, 1)))
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, w := range warnings {
			if w.Code == source.CodeUndefinedVariable {
				found++
				if w.Field != "Rows" || w.Line != 8 || !strings.Contains(w.Expected, "undefined_variables: empty") {
					t.Errorf("%v", w)
				}
			}
		}
		if found != want {
			t.Errorf("%q: %v", field, warnings)
		}
	}
	for _, text := range []string{strings.Replace(text, "task_variables", "variables", 1)} { // a file of this language
		_, warnings, _ := jobspec.Parse("job.yaml", []byte(strings.Replace(text, "FIELD", "", 1)))
		for _, w := range warnings {
			if w.Code == source.CodeUndefinedVariable {
				t.Errorf("%v", w)
			}
		}
	}
}
