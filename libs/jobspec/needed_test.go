package jobspec_test

import (
	"strings"
	"testing"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/source"
)

// TestTemplatesThatCanNeverBeRendered looks for values that are asked for before they can be known.
func TestTemplatesThatCanNeverBeRendered(t *testing.T) {
	head := "job_type: j\nparams: [{name: p, default: a}]\nJOB\ntasks:\n  - task_type: list\n    method: SHELL\n    script: ['echo \"::set-output name=oses::[1]\"', 'echo \"n=1\" >> \"$FORMICARY_OUTPUT\"']\n    on_completed: t\n  - task_type: t\n    method: SHELL\n    script: x\n    "
	const output, item = "is an output of a task, and this must be known when the job starts", "is one of an item, and this is one value for all items"
	for field, want := range map[string]string{
		`matrix: {os: "{{ .oses }}"}`:                   "",
		`matrix: {os: ["{{ .oses }}", b]}`:              "",
		`retry: "{{.n}}"`:                               output,
		`timeout: "{{.n}}s"`:                            output,
		`timeouts: {run: "{{.n}}s"}`:                    output,
		`tags: ["a{{.n}}"]`:                             output,
		`slots: "{{.n}}"`:                               output,
		`depends_on: ["{{.n}}"]`:                        output,
		`fan_out: {items: [a], max_parallel: "{{.n}}"}`: output,
		`matrix: {experimental: [true]}` + "\n    " + `retry: "{{ .experimental }}"`:        item,
		`matrix: {experimental: [true]}` + "\n    " + `retry: "{{ .matrix.experimental }}"`: item,
		`matrix: {a: [1], include: [{soft: 1}]}` + "\n    " + `retry: "{{ .soft }}"`:        item,
		`fan_out: {items: [a], item_var: region}` + "\n    " + `timeout: "{{.region}}"`:     item,
		`matrix: {os: [a], go: ["{{ .os }}"]}`:                                              item,
		// what can be known
		`matrix: {os: "{{ .p }}"}`:                           "",
		`retry: "{{.other}}"`:                                "",
		`environment: {A: "{{.oses}}"}`:                      "",
		`matrix: {os: [a]}` + "\n    " + `tags: ["{{.os}}"]`: "",
		`matrix: {os: [1]}` + "\n    " + `slots: "{{.os}}"`:  "",
		`fan_out: {items: "{{.oses}}"}`:                      "",
		`allow_failure: "{{.n}}"`:                            "",
		`matrix: {experimental: [true]}` + "\n    " + `allow_failure: "{{ .matrix.experimental }}"`: "",
		`when: "{{.n}}"`: "",
		`matrix: {os: [a]}` + "\n    " + `environment: {A: "{{.os}}"}`: "",
		`variables: {n: 3}` + "\n    " + `retry: "{{.n}}"`:             "",
		"JOB webhook: 'https://x.example/{{.n}}'":                      output,
		"JOB notify: {email: ['{{.n}}']}":                              output,
		"JOB job_variables: {n: 1}":                                    "",
	} {
		job, own := "", field
		if rest, ok := strings.CutPrefix(field, "JOB "); ok {
			job, own = rest, "description: x"
		}
		_, warnings, err := jobspec.Parse("job.yaml", []byte(strings.Replace(head, "JOB", job, 1)+own+"\n"))
		got := ""
		for _, w := range warnings {
			if w.Code == source.CodeUndefinedVariable {
				got += w.Message
			}
		}
		if err != nil {
			got += err.Error()
		}
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", field, got, want)
		}
	}
}
