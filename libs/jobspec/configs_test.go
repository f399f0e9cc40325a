package jobspec_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// TestConfigsStandBelowVariables at the launch, and at the claim with what the launch has left.
func TestConfigsStandBelowVariables(t *testing.T) {
	const templated = `job_type: j
variables:
  VJ: job-var
  VJC: job-var
  VT: job-var
  FROM: "{{.OUT}}-made"
tasks:
- task_type: first
  method: SHELL
  script: ["{{.OUT}} {{.JC}} {{.VJ}} {{.VJC}} {{.PARAM}} {{.FROM}}"]
- task_type: own
  method: SHELL
  depends_on: first
  variables: {OUT: task-var, JC: task-var, VT: task-var, PARAM: task-var}
  script: ["{{.OUT}} {{.JC}} {{.VT}} {{.PARAM}} {{.RESULT}}"]
`
	outer := value.Vars{"OUT": "outer", "JC": "outer", "VJ": "outer", "PARAM": "outer", "FROM": "outer", "RESULT": "outer"}
	job := value.Vars{"JC": "job-config", "VJC": "job-config"}
	vars := jobspec.WithConfigs(outer, job, value.Vars{"PARAM": "param"})
	def := parse(t, templated)
	p, err := def.Plan(vars)
	if err != nil {
		t.Fatal(err)
	}
	want := "outer job-config job-var job-config param outer-made"
	if got := p.Tasks[0].Spec.Script[0]; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	raw, err := json.Marshal(p.Vars)
	if err != nil {
		t.Fatal(err)
	}
	later := value.Vars{}
	if err := json.Unmarshal(raw, &later); err != nil {
		t.Fatal(err)
	}
	first, err := def.Task("first", later)
	if err != nil || first.Spec.Script[0] != want {
		t.Errorf("at the claim: %v, %v", first, err)
	}
	later["RESULT"] = "output"
	own, err := def.Task("own", later)
	if err != nil || own.Spec.Script[0] != "task-var task-var task-var param output" {
		t.Errorf("at the claim: %q, %v", own.Spec.Script, err)
	}
	if got := fmt.Sprint(own.Spec.Variables); got != "map[JC:task-var OUT:task-var PARAM:param VT:task-var]" {
		t.Error(got)
	}

	static := parse(t, "job_type: j\nvariables: {VJ: job-var}\ntasks:\n- task_type: a\n  method: SHELL\n  script: x\n")
	sp, err := static.Plan(vars)
	if err != nil || sp.Vars["VJ"] != "job-var" || sp.Vars["OUT"] != "outer" || sp.Vars["PARAM"] != "param" {
		t.Errorf("%v, %v", sp.Vars, err)
	}
}
