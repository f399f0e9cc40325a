package jobspec_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/formicary/formicary/libs/jobspec/environ"
	"github.com/formicary/formicary/libs/jobspec/value"
)

func TestEnv(t *testing.T) {
	def := parse(t, `job_type: j
job_variables: {a: job, b: job, c: job, list: [1, x]}
tasks:
  - task_type: t
    method: SHELL
    script: env
    variables: {b: task, c: task, d: task}
    environment: {c: declared, PATH: /bin, FLAG: True, N: 1.10, EMPTY: }
`)
	vars := value.Vars{
		"b": "param", "n": 5.0, "yes": true, "JobID": "id", "PATH": "/evil", "LD_PRELOAD": "x", "a-b": "x", "1x": "x", "none": nil,
		"nul": "a\x00b", "long": strings.Repeat("x", 65<<10), "FORMICARY_OUTPUT": "x", "PYTHONPATH": "/evil", "BASH_ENV": "/evil",
		"https_proxy": "evil", "GIT_SSH_COMMAND": "evil", "GIT_BRANCH": "main",
	}
	p, err := def.Plan(vars)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"a": "job", "b": "param", "c": "declared", "d": "task", "list": `[1,"x"]`, "n": "5", "yes": "true", "JobID": "id", "none": "",
		"GIT_BRANCH": "main", "PATH": "/bin", "FLAG": "True", "N": "1.10", "EMPTY": "",
	}
	if diff := cmp.Diff(want, environ.Of(&p.Tasks[0], p.Vars).Vars); diff != "" {
		t.Error(diff)
	}
	// At the claim the job's variables come back among the others and stay below the task's.
	claim := value.Vars{"c": "output"}
	for name, v := range p.Vars {
		if name != "c" {
			claim[name] = v
		}
	}
	if !p.Tasks[0].NeedsRender(value.Vars{"d": 1}) || p.Tasks[0].NeedsRender(value.Vars{"z": 1}) {
		t.Errorf("uses %v", p.Tasks[0].Uses)
	}
	task, err := def.Task("t", claim)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{"b": "param", "c": "output", "d": "task"}, task.Spec.Variables); diff != "" {
		t.Error(diff)
	}
}

// TestEnvReserved exports what changes how programs run only when the definition names it.
func TestEnvReserved(t *testing.T) {
	const text = `job_type: j
%s
tasks:
  - task_type: t
    method: SHELL
    script: env
%s
`
	for _, c := range []struct {
		name, job, task string
		vars            value.Vars
		want            string
	}{
		{"from the request", "", "", value.Vars{"NODE_OPTIONS": "--require /tmp/x"}, ""},
		{"declared parameter", "params: [{name: NODE_OPTIONS}]", "", value.Vars{"NODE_OPTIONS": "x"}, "x"},
		{"job variable", "job_variables: {NODE_OPTIONS: a}", "", nil, "a"},
		{"job variable, list form", "job_variables: [{name: NODE_OPTIONS, value: a}]", "", nil, "a"},
		{"task variable", "", "    variables: {NODE_OPTIONS: a}", nil, "a"},
		{"environment", "", "    environment: {NODE_OPTIONS: a}", value.Vars{"NODE_OPTIONS": "x"}, "a"},
		{"another name", "job_variables: {PYTHONPATH: a}", "", value.Vars{"NODE_OPTIONS": "x"}, ""},
	} {
		p := planOf(t, fmt.Sprintf(text, c.job, c.task), c.vars)
		if got := environ.Of(&p.Tasks[0], p.Vars).Vars["NODE_OPTIONS"]; got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
