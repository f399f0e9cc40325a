package jobspec_test

import (
	"testing"

	"github.com/formicary/formicary/libs/jobspec/condition"
	"github.com/formicary/formicary/libs/jobspec/value"
)

func TestDecideRendersTheVariablesOfChores(t *testing.T) {
	def := parse(t, `job_type: job
tasks:
- task_type: find
  script: [find]
  on_completed: expire
- task_type: expire
  method: EXPIRE_ARTIFACTS
  variables: {retention_days: "{{.days}}"}
`)
	p, err := def.Plan(value.Vars{})
	if err != nil || !p.Tasks[1].Decide {
		t.Fatalf("%+v, %v", p, err)
	}
	d, err := def.Decide("expire", value.Vars{"days": "7"}, condition.Facts{})
	if err != nil || d.Variables["retention_days"] != "7" {
		t.Errorf("%+v, %v", d, err)
	}
	if d, err = def.Decide("expire", value.Vars{}, condition.Facts{}); err == nil {
		t.Errorf("decided without the value: %+v", d)
	}
	if p, err = parse(t, "job_type: job\ntasks:\n- {task_type: e, method: EXPIRE_ARTIFACTS, variables: {retention_days: 3}}\n").Plan(value.Vars{}); err != nil || p.Tasks[0].Decide {
		t.Errorf("what is known is asked for: %v", err)
	}
}
