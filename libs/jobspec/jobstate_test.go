package jobspec_test

import (
	"strings"
	"testing"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/condition"
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/jobspec/value"
)

const exitHandler = `job_type: j
tasks:
  - {task_type: a, method: SHELL, script: x}
  - task_type: b
    method: SHELL
    always_run: true
    when: job.failed && !job.cancelled && job.state == 'FAILED'
    script: ["echo {{.JobState}} {{.job.state | shellquote}} {{if .job.failed}}true{{else}}false{{end}}"]
`

func TestTheJobIsKnownToConditionsAndTemplates(t *testing.T) {
	def, problems, err := jobspec.Parse("job.yaml", []byte(exitHandler))
	if err != nil || len(problems) > 0 {
		t.Fatalf("%v, %v", problems, err)
	}
	p, err := def.Plan(value.Vars{})
	if err != nil || !p.Tasks[1].Decide || !p.Tasks[1].Late {
		t.Fatalf("%+v, %v", p, err)
	}
	for state, off := range map[string]bool{"EXECUTING": true, "COMPLETED": true, "FAILED": false, "CANCELLED": true} {
		vars := value.Vars{}
		template.SetJob(vars, state)
		d, err := def.Decide("b", vars, condition.Facts{Vars: vars})
		if err != nil || d.Off != off || d.Fault != "" {
			t.Errorf("%s: %+v, %v", state, d, err)
		}
		task, err := def.Task("b", vars)
		want := "echo " + state + " '" + state + "' " + map[bool]string{true: "true", false: "false"}[state == "FAILED"]
		if err != nil || task.Spec.Script[0] != want {
			t.Errorf("%s: %v, %v", state, task, err)
		}
	}
	own := value.Vars{"job": "mine", "JobState": "chosen"}
	template.SetJob(own, "FAILED")
	if own["job"] != "mine" || own["JobState"] != "FAILED" {
		t.Errorf("variables of the definition are replaced: %v", own)
	}
	if _, _, err = jobspec.Parse("job.yaml", []byte(strings.Replace(exitHandler, "job.failed", "job.failled", 1))); err == nil {
		t.Error("a misspelled field of job is accepted")
	}
}
