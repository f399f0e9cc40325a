package jobspec_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/formicary/formicary/libs/jobspec"
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
	vars := jobspec.Vars{
		"b": "param", "n": 5.0, "yes": true, "JobID": "id", "PATH": "/evil", "LD_PRELOAD": "x", "a-b": "x", "1x": "x", "none": nil,
		"nul": "a\x00b", "long": strings.Repeat("x", 200_000), "FORMICARY_OUTPUT": "x",
	}
	p, err := def.Plan(vars)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"a": "job", "b": "param", "c": "declared", "d": "task", "list": `[1,"x"]`, "n": "5", "yes": "true", "JobID": "id", "none": "",
		"PATH": "/bin", "FLAG": "True", "N": "1.10", "EMPTY": "",
	}
	if diff := cmp.Diff(want, p.Tasks[0].Env(p.Vars)); diff != "" {
		t.Error(diff)
	}
	// At the claim the job's variables come back among the others and stay below the task's.
	claim := jobspec.Vars{"c": "output"}
	for name, v := range p.Vars {
		if name != "c" {
			claim[name] = v
		}
	}
	if !p.Tasks[0].NeedsRender(jobspec.Vars{"d": 1}) || p.Tasks[0].NeedsRender(jobspec.Vars{"z": 1}) {
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
