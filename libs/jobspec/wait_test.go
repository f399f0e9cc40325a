package jobspec_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/condition"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// The time of a task that waits is bounded, and known when it starts at the latest.
func TestWait(t *testing.T) {
	for fields, want := range map[string]string{
		`wait: 10m`:                 "10m0s",
		`wait: 1d, JOB timeout: 2d`: "24h0m0s",
		`wait: "{{.min}}m"`:         "5m0s",
		`wait: "{{.out}}s"`:         "7s",
		`wait: "{{.item}}s", fan_out: {items: [1, 2]}`: "0s 1s 2s",
		`wait: 3s, fan_out: {items: [1, 2]}`:           "3s 0s 0s",
		`wait: 10m, timeout: 20m`:                      "10m0s",
		``:                                             "the field wait is missing",
		`wait: ~`:                                      "the field wait is missing",
		`wait: 0`:                                      "is no time to wait",
		`wait: -1s`:                                    "is no time to wait",
		`wait: soon`:                                   "is no time to wait",
		`wait: 366d`:                                   "is no time to wait",
		`wait: "{{.name}}"`:                            "is no time to wait",
		`wait: "{{.out}}x"`:                            `"{{.out}}x" ("7x") is no time to wait`,
		`wait: "{{.item}}", fan_out: {items: [1s, xy]}`: `1s job.yaml:5:38: "{{.item}}" ("xy") is no time to wait`,
		`wait: "{{.nothing}}"`:                          "the variable nothing is not set",
		`wait: 2h`:                                      "the timeout of the job is 2h0m0s",
		`wait: 10m, JOB timeout: 10m`:                   "the timeout of the job is 10m0s",
		`wait: 10m, JOB timeouts: {total: 5m}`:          "the timeout of the job is 5m0s",
		`wait: 10m, timeout: 5m`:                        "the timeout of the task is 5m0s",
		`wait: 10m, timeouts: {total: 5m}`:              "the timeout of the task is 5m0s",
		`wait: "{{.min}}m", JOB timeout: "{{.min}}m"`:   "the timeout of the job is 5m0s",
		`wait: 10m, script: x, method: SHELL`:           "the field wait is for the method WAIT",
	} {
		own, job, _ := strings.Cut(fields, ", JOB ")
		if !strings.Contains(own, "method") {
			own = strings.TrimSuffix("method: WAIT, "+own, ", ")
		}
		text := fmt.Sprintf("job_type: j\n%s\ntasks:\n- {task_type: a, method: SHELL, script: x, on_completed: w}\n- {task_type: w, %s}\n", job, own)
		if got := waitOf(text); got != want && (!strings.Contains(got, want) || !strings.Contains(want, " ") || want[0] == '0') {
			t.Errorf("%s: %s, want %s", fields, got, want)
		}
	}
}

// waitOf is the time of the task w, then those of its items; or what is wrong.
func waitOf(text string) string {
	def, _, err := jobspec.Parse("job.yaml", []byte(text))
	if err != nil {
		return err.Error()
	}
	vars := value.Vars{"min": 5, "name": "x"}
	plan, err := def.Plan(vars)
	if err != nil {
		return err.Error()
	}
	w := &plan.Tasks[1]
	if w.Timeout == time.Hour {
		return "it has the timeout of a script"
	}
	if !w.Decide {
		return w.Wait.String()
	}
	vars = value.Merged(vars, value.Vars{"out": "7"})
	d, err := def.Decide("w", vars, condition.Facts{Vars: vars})
	if err != nil {
		return err.Error()
	}
	out := d.Wait.String()
	for _, item := range d.Items {
		if item.Fault != "" {
			out += " " + item.Fault
			continue
		}
		out += " " + item.Wait.String()
	}
	return out
}
