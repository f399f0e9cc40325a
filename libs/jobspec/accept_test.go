package jobspec_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// TestFilesOfTheExistingSystem reads what such files hold: each line is accepted with a warning that says how it is read.
func TestFilesOfTheExistingSystem(t *testing.T) {
	schema := compiledSchema(t)
	for _, c := range []struct {
		name, text string
		warnings   []string
		check      func(p *plan.Plan) (got, want any)
	}{
		{
			"variables of both names", "job_type: j\njob_variables: {a: 1, b: 2}\nvariables: [{name: c, value: 3}]\ntasks:\n  - {task_type: t, method: SHELL, script: 'echo {{.a}} {{.c}}'}\n",
			[]string{"job.yaml:3:12: warning: job_variables and variables are both given: they are read as one"},
			func(p *plan.Plan) (got, want any) { return p.Tasks[0].Spec.Script, []string{"echo 1 3"} },
		},
		{
			"expire_after", taskWith("artifacts: {paths: [a], expire_after: 24h}"),
			[]string{"job.yaml:6:29: warning: the field expire_after is misspelled, expected expires_after"},
			func(p *plan.Plan) (got, want any) {
				return p.Tasks[0].Spec.Options.Artifacts.ExpiresAfter.String(), "24h0m0s"
			},
		},
		{
			"expire_after of a cache", taskWith("cache: {key: k, paths: [a], expire_after: 7d}"),
			[]string{"job.yaml:6:33: warning: the field expire_after is misspelled, expected expires_after"},
			func(p *plan.Plan) (got, want any) {
				return p.Tasks[0].Spec.Options.Cache.ExpiresAfter.String(), "168h0m0s"
			},
		},
		{
			"a cache without a key", taskWith("cache: {paths: [a]}"),
			[]string{"job.yaml:6:12: warning: the cache has no key: it is that of the task"},
			func(p *plan.Plan) (got, want any) { return p.Tasks[0].Spec.Options.Cache.Key, "t" },
		},
		{
			"when none", "job_type: j\nnotify: {email: {recipients: [a@example.com], when: none}}\ntasks:\n  - {task_type: t, method: SHELL, script: x}\n",
			[]string{`job.yaml:2:53: warning: "none" is read as never`},
			func(p *plan.Plan) (got, want any) { return p.Notify[0].When, plan.Never },
		},
		{
			"when on_failure", taskWith("artifacts: {paths: [a], when: on_failure}"),
			[]string{`job.yaml:6:35: warning: "on_failure" is read as onFailure`},
			func(p *plan.Plan) (got, want any) {
				return p.Tasks[0].Spec.Options.Artifacts.When, plan.OnFailure
			},
		},
		{
			"its own dependency", "job_type: j\ntasks:\n  - {task_type: s, method: SHELL, script: x}\n  - {task_type: t, method: SHELL, script: x, dependencies: [s, t]}\n",
			[]string{`job.yaml:4:64: warning: the task "t" is among its own dependencies: it is left out there`},
			func(p *plan.Plan) (got, want any) {
				return append(p.Tasks[1].DependsOn, p.Tasks[1].Downloads...), []string{"s", "s"}
			},
		},
		{
			"outcomes in any case", taskWith("on_exit_code: {completed: ERR_A, Failed: FATAL, 4XX: ERR_B}"),
			[]string{`job.yaml:6:20: warning: the outcome "completed" is read as COMPLETED`, `job.yaml:6:38: warning: the outcome "Failed" is read as FAILED`},
			func(p *plan.Plan) (got, want any) {
				return p.Tasks[0].Routes, []plan.Route{{Key: "4XX", Targets: []string{"ERR_B"}}, {Key: "COMPLETED", Targets: []string{"ERR_A"}}, {Key: "FAILED", Targets: []string{"FATAL"}}}
			},
		},
		{
			"a delay", taskWith("delay: 7s"),
			[]string{"job.yaml:6:5: warning: the field delay is misspelled, expected delay_between_retries"},
			func(p *plan.Plan) (got, want any) { return p.Tasks[0].Backoff.Delay.String(), "7s" },
		},
		{
			"memory of container tools", taskWith("memory_limit: 500m"),
			[]string{`job.yaml:6:19: warning: "500m" is read with units of 1024`},
			func(p *plan.Plan) (got, want any) { return p.Tasks[0].Spec.MemoryBytes, int64(500 << 20) },
		},
		{
			"nobody is told", "job_type: j\nnotify: {email: [a@example.com], except: 'params.quiet == true'}\ntasks:\n  - {task_type: t, method: SHELL, script: x}\n",
			nil,
			func(p *plan.Plan) (got, want any) { return len(p.Notify), 1 },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if doc, ok := asJSON([]byte(c.text)); !ok || schema.Validate(doc) != nil {
				t.Errorf("the schema refuses %s: %v", c.text, schema.Validate(doc))
			}
			def, warnings, err := jobspec.Parse("job.yaml", []byte(c.text))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, w := range warnings {
				if w.Code == source.CodeReadAs || w.Code == source.CodeMisspelledField {
					got = append(got, w.String())
				}
			}
			for i, want := range c.warnings {
				if i >= len(got) || !strings.HasPrefix(got[i], want) {
					t.Errorf("warnings %q, want %q", got, c.warnings)
				}
			}
			if len(got) != len(c.warnings) {
				t.Errorf("warnings %q, want %q", got, c.warnings)
			}
			p, err := def.Plan(nil)
			if err != nil {
				t.Fatal(err)
			}
			val, want := c.check(p)
			if diff := cmp.Diff(want, val); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func taskWith(field string) string {
	return "job_type: j\ntasks:\n  - task_type: t\n    method: SHELL\n    script: x\n    " + field + "\n"
}

// TestNotifyExcept asks at the launch, by an expression and by a template around the value.
func TestNotifyExcept(t *testing.T) {
	for _, except := range []string{"'params.quiet == true'", "'{{.quiet}}'", "{{if .quiet}} true {{end}}"} {
		def := parse(t, "job_type: j\nparams: [{name: quiet, type: bool, default: false}]\nnotify: {email: [a@example.com], except: "+except+"}\ntasks:\n  - {task_type: t, method: SHELL, script: x}\n")
		for quiet, want := range map[bool]int{true: 0, false: 1} {
			p, err := def.Plan(value.Vars{"quiet": quiet})
			if err != nil || len(p.Notify) != want {
				t.Errorf("%s, quiet %v: %v, %v", except, quiet, p, err)
			}
		}
	}
	_, _, err := jobspec.Parse("job.yaml", []byte("job_type: j\nnotify: {email: [a@example.com], except: tasks.t.exit_code == 1}\ntasks:\n  - {task_type: t, method: SHELL, script: x}\n"))
	expectProblems(t, err, `job.yaml:2:42: the task "t" has not run when notify.except is asked`)
}

// TestStillRefused holds the borders of what is accepted.
func TestStillRefused(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"job_type: j\njob_variables:\n  a: 1\nvariables:\n  b: 2\n  a: 3\ntasks:\n  - {task_type: t, method: SHELL, script: x}\n", `job.yaml:6:3: the variable "a" stands in job_variables in line 3 already`},
		{"job_type: j\njob_variables: [{name: a, value: 1}]\nvariables: {a: 3}\ntasks:\n  - {task_type: t, method: SHELL, script: x}\n", `job.yaml:3:13: the variable "a" stands in job_variables in line 2 already`},
		{taskWith("depends_on: [t]"), `job.yaml:6:18: the task "t" leads to itself`},
		{taskWith("on_completed: t"), `job.yaml:6:19: the task "t" leads to itself`},
		{taskWith("artifacts: {paths: [a], expire_after: 1h, expires_after: 2h}"), "job.yaml:6:29: expires_after and expire_after are both given"},
		{taskWith("delay: 1s\n    delay_between_retries: 2s"), "job.yaml:6:5: delay_between_retries and delay are both given"},
		{taskWith("variables: {a: 1}\n    task_variables: {b: 1}"), "job.yaml:7:5: variables and task_variables are both given"},
		{taskWith("on_exit_code: {complete: FATAL}"), `job.yaml:6:20: "complete" is no outcome`},
		{taskWith("on_exit_code: {completed: FATAL, COMPLETED: ERR_A}"), "job.yaml:6:38: the outcome COMPLETED leads to different tasks"},
		{taskWith("memory_limit: 500x"), `job.yaml:6:19: "500x" is no amount of memory`},
		{taskWith("memory_limit: m"), `job.yaml:6:19: "m" is no amount of memory`},
		{taskWith("artifacts: {paths: [a], when: nobody}"), `job.yaml:6:35: "nobody" is not known here`},
		{"job_type: j\nnotify: {excepts: 'true'}\ntasks:\n  - {task_type: t, method: SHELL, script: x}\n", `job.yaml:2:10: the field "excepts" is not known`},
	} {
		_, _, err := jobspec.Parse("job.yaml", []byte(c.text))
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s\n%v, want %s", c.text, err, c.want)
		}
	}
}

func TestMemoryUnits(t *testing.T) {
	for text, want := range map[string]int64{
		"1000": 1000, "1k": 1000, "1K": 1000, "1M": 1e6, "1G": 1e9, "1Ki": 1 << 10, "1Mi": 1 << 20, "1.5Gi": 3 << 29, "1Ti": 1 << 40,
		"500m": 500 << 20, "1g": 1 << 30, "512mb": 512 << 20, "512MB": 512 << 20, "1 GiB": 1 << 30, "64kb": 64 << 10, "100b": 100, "1tb": 1 << 40,
	} {
		def, _, err := jobspec.Parse("job.yaml", []byte(taskWith("memory_limit: '"+text+"'")))
		if err != nil {
			t.Error(err)
			continue
		}
		p, err := def.Plan(nil)
		if err != nil || p.Tasks[0].Spec.MemoryBytes != want {
			t.Errorf("%s: %d, %v; want %d", text, p.Tasks[0].Spec.MemoryBytes, err, want)
		}
	}
}
