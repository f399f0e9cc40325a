package jobspec_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/formicary/formicary/libs/jobspec/value"
)

func TestRehearse(t *testing.T) {
	const first = "job_type: j\ntasks:\n  - {task_type: a, method: SHELL, script: ['%'], on_completed: b}\n  - {task_type: b, method: SHELL, script: [x]}\n"
	const second = "job_type: j\ntasks:\n  - {task_type: a, method: SHELL, script: [x], on_completed: b}\n  - {task_type: b, method: SHELL, script: ['%']}\n"
	for _, c := range []struct{ text, in, want string }{
		{first, `{{.x}}`, "the variable x is not set"},
		{second, `{{.x}}`, ""}, // a may give it
		{second, "'\n    retry: '{{.x}}", "the variable x is not set"},
		{first, `{{.x | default "y"}}`, ""},
		{first, `{{if .x}}{{.y}}{{end}}`, ""},
		{first, `{{if not .x}}{{.y}}{{end}}`, "the variable y is not set"},
		{first, `{{required "give x" .x}}`, "the variable x is required"},
		{first, `{{.given}} {{.JobID}} {{.JobRetry}} {{.TaskType}} {{.EpochSecs}} {{now}} {{.UserID}}`, ""},
		{first, `{{.EpochSecs}} {{.x}}`, "the variable x is not set"},
		{first, `{{now}} {{.x}}`, "the variable x is not set"},
		{first, `{{if eq .DateDay 13}}{{.x}}{{end}}`, ""},
		{first, `{{if eq .DateDay 14}}{{.x}}{{end}}`, ""},
		{first, `{{if eq (CountByJobTypeAndState "j") 0}}{{.x}}{{end}}`, ""},
		{first, `{{index .given 0}}`, "index"},
		{first, `{{fromJson .given}}`, "fromJson"},
		{first, "'\n    timeout: '{{.given}}", "no duration"},
		{first, "'\n    timeout: '{{.DateDay}}s", ""},
		{first, "'\n    timeout: '{{.DateDay}}", ""}, // another day is no duration either, but nobody has looked
		{first, "'\n    retry: '{{CountByJobTypeAndState \"j\"}}", ""},
	} {
		text := strings.Replace(c.text, "%", c.in, 1)
		if strings.Contains(c.in, "\n") { // a field of its own
			text = strings.Replace(c.text, "['%']", "'x'", 1)
			_, field, _ := strings.Cut(c.in, "\n    ")
			name := map[bool]string{true: "task_type: a,", false: "task_type: b,"}[c.text == first]
			text = strings.Replace(text, name, name+" "+field+"',", 1)
		}
		def := parse(t, text)
		vars := value.Vars{"given": "v", "JobID": "1", "DateDay": int64(13), "EpochSecs": int64(1_783_000_000), "JobRetry": int64(0)}
		start, err := def.Rehearse(vars)
		classes := start.Classes
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.in, err, c.want)
		}
		_, launch := def.Plan(vars)
		if err != nil && launch == nil {
			t.Errorf("%s: refused, and it could be launched", c.in)
		}
		if plain, startErr := def.StartClasses(vars); err == nil && startErr == nil && len(classes) > 0 && len(plain) != len(classes) {
			t.Errorf("%s: classes %v, want %v", c.in, classes, plain)
		}
	}
}

// TestRehearsalKnowsTheItems refuses a fan-out at the start of a job whose list nobody gives.
func TestRehearsalKnowsTheItems(t *testing.T) {
	const first = "job_type: j\n%s\ntasks:\n  - {task_type: a, method: SHELL, script: [x], fan_out: {source: hosts, item_var: h}%s}\n"
	for name, c := range map[string]struct {
		text string
		vars value.Vars
		want string
	}{
		"nobody":       {fmt.Sprintf(first, "", ""), nil, "the variable hosts with the items of the task \"a\" is not set"},
		"with others":  {fmt.Sprintf(first, "description: '{{.JobType}}'", ""), nil, "the items of the task \"a\" is not set"},
		"the request":  {fmt.Sprintf(first, "", ""), value.Vars{"hosts": []any{"a"}}, ""},
		"the job":      {fmt.Sprintf(first, "job_variables: {hosts: [a]}", ""), nil, ""},
		"the task":     {fmt.Sprintf(first, "", ", variables: {hosts: [a]}"), nil, ""},
		"empty":        {fmt.Sprintf(first, "undefined_variables: empty", ""), nil, ""},
		"task before":  {strings.Replace(fmt.Sprintf(first, "", ", depends_on: b"), "tasks:\n", "tasks:\n  - {task_type: b, method: SHELL, script: [x]}\n", 1), nil, ""},
		"part of list": {strings.Replace(fmt.Sprintf(first, "", ""), "source: hosts", "source: hosts.eu", 1), value.Vars{"hosts": map[string]any{"eu": []any{"a"}}}, ""},
	} {
		_, err := parse(t, c.text).Rehearse(c.vars)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
