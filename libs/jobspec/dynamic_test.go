package jobspec_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// outline is a plan in few words: for each task its name, where it leads and its script.
func outline(p *plan.Plan) string {
	var b strings.Builder
	for i := range p.Tasks {
		t := &p.Tasks[i]
		b.WriteString(t.Name)
		if len(t.DependsOn) > 0 {
			fmt.Fprintf(&b, " after %s", strings.Join(t.DependsOn, "+"))
		}
		for _, r := range t.Routes {
			fmt.Fprintf(&b, " %s>%s", r.Key, strings.Join(r.Targets, "+"))
		}
		fmt.Fprintf(&b, ": %s\n", strings.Join(t.Spec.Script, "; "))
	}
	return strings.TrimSpace(b.String())
}

type dynamic struct {
	name, text string
	vars       value.Vars
	want       string
	// partial says that the upload can check it in part only.
	partial bool
}

// oneOfMany is YAML only when exactly one of its conditions holds.
const oneOfMany = `job_type: one-of-many
description: its tasks are no YAML before they are rendered
retry: 1
tasks:
  - {task_type: a, method: SHELL,
{{- if eq .Mode "m1"}} script: run m1} {{end}}
{{- if eq .Mode "m2"}} script: run m2} {{end}}
{{- if eq .Mode "m3"}} script: run m3} {{end}}
{{- if eq .Mode "m4"}} script: run m4} {{end}}
{{- if eq .Mode "m5"}} script: run m5} {{end}}
{{- if eq .Mode "m6"}} script: run m6} {{end}}
{{- if eq .Mode "m7"}} script: run m7} {{end}}
{{- if eq .Mode "m8"}} script: run m8} {{end}}
{{- if eq .Mode "m9"}} script: run m9} {{end}}
`

// dynamics are definitions whose tasks, lines and edges are made by templates.
func dynamics() []dynamic {
	return []dynamic{
		{name: "farm of devices", text: `job_type: android-farm
dynamic_template_tasks: true
job_variables:
  Devices: 3
tasks:
  - task_type: allocate
    method: SHELL
    script: [reserve]
    on_completed: device-0
{{- range $i := Iterate .Devices}}
  - task_type: device-{{$i}}
    method: SHELL
    tags: [android]
    script:
      - flash --slot {{$i}}
      {{- if eq $i 0}}
      - adb root
      {{- end}}
    on_completed: {{if lt (Add $i 1) $.Devices}}device-{{Add $i 1}}{{else}}release{{end}}
    on_failed: release
{{- end}}
  - task_type: release
    method: SHELL
    always_run: true
    script: [free]
`, want: `
allocate COMPLETED>device-0: reserve
device-0 COMPLETED>device-1 FAILED>release: flash --slot 0; adb root
device-1 COMPLETED>device-2 FAILED>release: flash --slot 1
device-2 COMPLETED>release FAILED>release: flash --slot 2
release: free`},
		{name: "count of a parameter", text: `job_type: ios-farm
params:
  - {name: Phones, type: int, required: true}
tasks:
{{range $i := Iterate .Phones}}
  - task_type: phone{{$i}}
    method: SHELL
    script: ['xcodebuild -destination {{$i}}']
    on_completed: report
{{end}}
  - task_type: report
    method: SHELL
    script: ['collect {{.Phones}}']
`, vars: value.Vars{"Phones": 2}, want: `
phone0 COMPLETED>report: xcodebuild -destination 0
phone1 COMPLETED>report: xcodebuild -destination 1
report: collect 2`},
		{name: "ETL for each table", text: `job_type: etl
tasks:
{{- range $t := split .Tables ","}}
  - task_type: extract-{{$t}}
    method: SHELL
    script: ['pull {{shellquote $t}}']
    on_completed: load-{{$t}}
  - task_type: load-{{$t}}
    method: SHELL
    script: ['push {{shellquote $t}}']
    on_completed: verify
{{- end}}
  - task_type: verify
    method: SHELL
    script: [check]
`, vars: value.Vars{"Tables": "users,orders"}, want: `
extract-users COMPLETED>load-users: pull 'users'
load-users COMPLETED>verify: push 'users'
extract-orders COMPLETED>load-orders: pull 'orders'
load-orders COMPLETED>verify: push 'orders'
verify: check`},
		{name: "a step that a parameter asks for", text: `job_type: release
params:
  - {name: Deploy, type: bool, default: false}
tasks:
  - task_type: build
    method: SHELL
    script: [make]
{{- if .Deploy}}
    on_completed: deploy
  - task_type: deploy
    method: SHELL
    script: [ship]
    on_failed: rollback
  - task_type: rollback
    method: SHELL
    script: [undo]
{{- end}}
`, vars: value.Vars{"Deploy": true}, want: `
build COMPLETED>deploy: make
deploy FAILED>rollback: ship
rollback: undo`},
		{name: "lines of a script on conditions", text: `job_type: lines
tasks:
  - task_type: a
    method: SHELL
    script:
      - begin
      {{- if eq .Env "prod"}}
      - confirm
      {{- else if eq .Env "stage"}}
      - copy-data
      {{- else}}
      - fake-data
      {{- end}}
      {{- if not .Quiet}}
      - report
      {{- end}}
      - end
`, vars: value.Vars{"Env": "stage", "Quiet": false}, want: `a: begin; copy-data; report; end`},
		{name: "opposite conditions around one key", text: `job_type: opposite
tasks:
  - task_type: a
    method: SHELL
    script: x
    {{- if .Fast}}
    timeout: 1m
    {{- end}}
    {{- if not .Fast}}
    timeout: 1h
    {{- end}}
    {{- if eq .Next "b"}}
    on_completed: b
    {{- end}}
    {{- if ne .Next "b"}}
    on_completed: c
    {{- end}}
  {{- if eq .Next "b"}}
  - {task_type: b, method: SHELL, script: y}
  {{- else}}
  - {task_type: c, method: SHELL, script: z}
  {{- end}}
`, vars: value.Vars{"Fast": true, "Next": "b"}, want: "a COMPLETED>b: x\nb: y"},
		{name: "a list with separators", text: `job_type: separators
tasks:
  - task_type: a
    method: SHELL
    script: x
    tags: [{{range $i, $t := .Tags}}{{if $i}}, {{end}}"{{$t}}"{{end}}]
    on_completed: [{{range $i, $r := .Regions}}{{if $i}}, {{end}}r-{{$r}}{{end}}]
{{range .Regions}}
  - {task_type: r-{{.}}, method: SHELL, script: 'deploy {{.}}'}
{{end}}
`, vars: value.Vars{"Tags": []any{"x", "y"}, "Regions": []any{"eu", "us"}}, want: `
a COMPLETED>r-eu+r-us: x
r-eu: deploy eu
r-us: deploy us`},
		{name: "nested loops over a dictionary", text: `job_type: nested
tasks:
  - task_type: plan
    method: SHELL
    script: [plan]
    on_completed: [{{range $i, $os := split "linux,mac" ","}}{{if $i}},{{end}}{{$os}}-0{{end}}]
{{- range $os, $n := Dict "linux" 2 "mac" .Macs}}
{{- range $i := Iterate $n}}
  - task_type: {{$os}}-{{$i}}
    method: SHELL
    script: ['test {{$os}} {{$i}}']
    {{- if lt (Add $i 1) $n}}
    on_completed: {{$os}}-{{Add $i 1}}
    {{- end}}
{{- end}}
{{- end}}
`, vars: value.Vars{"Macs": 1}, want: `
plan COMPLETED>linux-0+mac-0: plan
linux-0 COMPLETED>linux-1: test linux 0
linux-1: test linux 1
mac-0: test mac 0`},
		{name: "a chain through a variable", text: `job_type: chain
tasks:
{{$previous := ""}}
{{range .Steps}}
  - task_type: {{.name}}
    method: SHELL
    script: ['{{.run}}']
    {{if $previous}}depends_on: [{{$previous}}]{{end}}
{{$previous = .name}}
{{end}}
`, vars: value.Vars{"Steps": []any{
			map[string]any{"name": "one", "run": "1"}, map[string]any{"name": "two", "run": "2"}, map[string]any{"name": "three", "run": "3"},
		}}, want: "one: 1\ntwo after one: 2\nthree after two: 3"},
		{name: "a template of a task", text: `job_type: define
{{define "step"}}
  - task_type: {{.name}}
    method: SHELL
    script: ['run {{.name}}']
    {{if .next}}on_completed: {{.next}}{{end}}
{{end}}
tasks:
{{template "step" (Dict "name" "a" "next" "b")}}
{{template "step" (Dict "name" "b" "next" .Last)}}
{{if .Last}}{{template "step" (Dict "name" .Last "next" "")}}{{end}}
`, vars: value.Vars{"Last": "c"}, want: "a COMPLETED>b: run a\nb COMPLETED>c: run b\nc: run c"},
		{name: "an environment of a mapping", text: `job_type: env
tasks:
  - task_type: a
    method: SHELL
    environment:
      FIXED: x
    {{- range $k, $v := .Env}}
      APP_{{$k}}: {{$v}}
    {{- end}}
    script:
    {{- range $k, $v := .Env}}
      - 'echo $APP_{{$k}}'
    {{- end}}
`, vars: value.Vars{"Env": map[string]any{"A": "1: 2", "B": "x\nprivileged: true"}}, want: "a: echo $APP_A; echo $APP_B"},
		{name: "no tasks without a parameter", text: `job_type: only-loop
tasks:
{{range $i, $x := .Items}}
  - task_type: item-{{$i}}
    method: SHELL
    script: ['{{$x}}']
{{end}}
`, vars: value.Vars{"Items": []any{"p", "q"}}, want: "item-0: p\nitem-1: q"},
		{name: "JSON of a parameter", text: `job_type: from-json
tasks:
{{range fromJson .Plan}}
  - task_type: {{.id}}
    method: {{default "SHELL" .method}}
    {{with .url}}url: {{.}}{{end}}
    {{if .lines}}script: {{.lines}}{{end}}
    {{with .after}}depends_on: {{.}}{{end}}
{{end}}
`, vars: value.Vars{"Plan": `[{"id": "a", "lines": ["x", "y"]}, {"id": "b", "lines": ["z"], "after": ["a"]}]`}, want: "a: x; y\nb after a: z"},
		{name: "a flow mapping in pieces", text: `job_type: flow
tasks: [{{range $i, $n := .Names}}{{if $i}},{{end}}
  {task_type: {{$n}}, method: SHELL, script: [x]{{if $.After}}, depends_on: [{{index $.Names 0}}]{{end}}}{{end}}
]
`, vars: value.Vars{"Names": []any{"a", "b"}}, want: "a: x\nb: x"},
		{name: "a key whose value is always there", text: `job_type: value
tasks:
  - task_type: a
    method: SHELL
    script: x
    retry: {{if .Careful}}3{{else}}0{{end}}
    timeout: {{if .Careful}}2{{else}}1{{end}}h
    {{if .Careful}}allow_failure: false{{else}}allow_failure: true{{end}}
`, vars: value.Vars{"Careful": true}, want: "a: x"},
		{name: "steps that exclude each other, many ways", text: `job_type: modes
tasks:
  - task_type: start
    method: SHELL
    script: x
    on_completed: {{.Mode}}
{{if eq .Mode "fast"}}
  - {task_type: fast, method: SHELL, script: f, on_completed: end}
{{end}}
{{if eq .Mode "slow"}}
  - {task_type: slow, method: SHELL, script: s, on_completed: end}
{{end}}
{{if and .Audit (eq .Mode "slow")}}
  - {task_type: audit, method: SHELL, script: a, depends_on: slow}
{{end}}
  - {task_type: end, method: SHELL, script: e}
`, vars: value.Vars{"Mode": "slow", "Audit": true}, want: `
start COMPLETED>slow: x
slow COMPLETED>end: s
audit after slow: a
end: e`},
		{name: "indentation of a parameter", text: `job_type: indentation
description: its tasks are no YAML before they are rendered
params:
  - {name: Wrap, type: bool, required: true}
tasks:
{{if .Wrap}} - task_type: a
   method: SHELL
   script: x
{{else}}- task_type: a
  method: SHELL
  script: x
{{end}}{{if .Wrap}} - task_type: b
   method: SHELL
   script: y
{{else}}- task_type: b
  method: SHELL
  script: y
{{end}}{{range .More}}{{if $.Wrap}} {{end}}- {task_type: {{.}}, method: SHELL, script: z}
{{end}}`, vars: value.Vars{"Wrap": true, "More": []any{"c"}}, want: "a: x\nb: y\nc: z"},
		{name: "braces of a parameter", text: `job_type: braces
tasks:
{{if .Open}}  - {task_type: a, method: SHELL,{{end}}
{{if not .Closed}}    script: x}{{end}}
{{if .Closed}}    script: y}{{end}}
{{if eq .Open "no"}}  ]{{end}}
`, vars: value.Vars{"Open": "yes", "Closed": false}, want: "a: x"},
		{name: "one of many", partial: true, text: oneOfMany, vars: value.Vars{"Mode": "m7"}, want: "a: run m7"},
		{name: "one of many with a default", text: strings.Replace(oneOfMany, "tasks:", "params: [{name: Mode, default: m3}]\ntasks:", 1), want: "a: run m3"},
	}
}

func TestDynamicTasks(t *testing.T) {
	for _, c := range dynamics() {
		t.Run(c.name, func(t *testing.T) {
			def, warnings, err := jobspec.Parse("job.yaml", []byte(c.text))
			if err != nil {
				t.Fatal(err)
			}
			if partial := strings.Contains(warnings.Error(), source.CodePartialCheck); partial != c.partial {
				t.Errorf("warnings: %v", warnings)
			}
			vars, err := def.CheckParams(c.vars)
			if err != nil {
				t.Fatal(err)
			}
			p, err := def.Plan(vars)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.TrimSpace(c.want), outline(p)); diff != "" {
				t.Error(diff)
			}
			for i := range p.Tasks { // the claim finds each of them again
				task, err := def.Task(p.Tasks[i].Name, p.Vars)
				if err != nil || task.Name != p.Tasks[i].Name || cmp.Diff(task.Spec, p.Tasks[i].Spec) != "" {
					t.Errorf("%s: %v", p.Tasks[i].Name, err)
				}
			}
		})
	}
}

func TestTemplatesAsKeys(t *testing.T) {
	const text = `job_type: j
tasks:
  - task_type: a
    method: SHELL
    script: x
    environment: {'P_{{.k}}': '{{.v}}', FIXED: 1}
    variables: {deep: {'{{.k}}': {'{{.k}}x': 1}}, '{{.k}}': [2]}
`
	p := planOf(t, text, value.Vars{"k": "K", "v": "\nx: y"})
	raw, _ := json.Marshal([]any{p.Tasks[0].Spec.Environment, p.Tasks[0].Spec.Variables})
	if want := `[{"FIXED":"1","P_K":"\nx: y"},{"K":[2],"deep":{"K":{"Kx":1}}}]`; string(raw) != want {
		t.Errorf("%s", raw)
	}
	for k, want := range map[string]string{
		"a b": `cannot be used`, "x\nprivileged: true": `cannot be used`, "a=b": "cannot be used", "": `the name "{{.k}}" cannot be used`,
	} {
		_, err := parse(t, text).Plan(value.Vars{"k": k, "v": ""})
		if err == nil || !strings.Contains(err.Error(), want) || k != "" && strings.Contains(err.Error(), k) {
			t.Errorf("%q: %v", k, err)
		}
	}
	const env = "job_type: j\ntasks:\n  - {task_type: a, method: SHELL, script: x, environment: {'{{.k}}': 1, '{{.l}}': 2, X: 3}}\n"
	for _, c := range []struct{ k, l, want string }{
		{"A", "A", "is that of another entry"},
		{"X", "B", "is that of another entry"},
		{"LD_PRELOAD", "B", "changes how programs run"},
		{"A", "FORMICARY_OUTPUT", "changes how programs run"},
	} {
		if _, err := parse(t, env).Plan(value.Vars{"k": c.k, "l": c.l}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v", c.k, c.l, err)
		}
	}
}

// TestVariablesOfTasks prints what earlier tasks set: unknown when the job starts, but no fault.
func TestVariablesOfTasks(t *testing.T) {
	def := parse(t, `job_type: j
tasks:
  - {task_type: fork, method: SHELL, script: x, on_completed: use}
  - task_type: use
    method: SHELL
    script:
      - 'a {{.fork.ForkedJobID}} {{index . "fork.ForkedJobID"}} {{index $ "fork-status"}}'
      - 'b {{.fork_ArtifactURL_0}} {{.debug}} {{.UnescapeHTML}} {{.UserID}}{{.log_interval}} {{.FanOutIndex}}'
  - task_type: ask
    method: SHELL
    script: ['{{if .fork.ForkedJobID}}forked{{else}}not{{end}}']
    depends_on: fork
`)
	p, err := def.Plan(value.Vars{"JobID": "j"})
	if err != nil || !p.Tasks[1].Late {
		t.Fatalf("%+v, %v", p, err)
	}
	outputs := value.Vars{"fork.ForkedJobID": "child", "fork-status": "COMPLETED", "fork_ArtifactURL_0": "https://x"}
	if p.Tasks[0].NeedsRender(outputs) || !p.Tasks[2].NeedsRender(outputs) {
		t.Errorf("uses %v, %v", p.Tasks[0].Uses, p.Tasks[2].Uses)
	}
	task, err := def.Task("use", outputs)
	if err != nil || strings.Join(task.Spec.Script, "|") != "a child child COMPLETED|b https://x false false  0" {
		t.Errorf("%+v, %v", task, err)
	}
	if task, err = def.Task("ask", outputs); err != nil || task.Spec.Script[0] != "forked" {
		t.Errorf("%+v, %v", task, err)
	}
	delete(outputs, "fork_ArtifactURL_0")
	_, err = def.Task("use", outputs)
	expectProblems(t, err, `job.yaml:8:14: the variable fork_ArtifactURL_0 is not set, expected an artifact with this number, of a task "fork"`)
}

// TestPartialCheck tells what is wrong for certain also when the rest is not known.
func TestPartialCheck(t *testing.T) {
	def, warnings, err := jobspec.Parse("job.yaml", []byte(oneOfMany))
	if err != nil || def.JobType != "one-of-many" || len(warnings) != 1 {
		t.Fatalf("%+v, %v, %v", def, warnings, err)
	}
	if _, err := def.Plan(value.Vars{"Mode": "none"}); err == nil || !strings.Contains(err.Error(), "[YAML_SYNTAX]") {
		t.Errorf("%v", err)
	}
	if _, err := def.StartClasses(value.Vars{"Mode": "m1"}); err != nil {
		t.Error(err)
	}
	for text, want := range map[string]string{
		strings.Replace(oneOfMany, "retry: 1", "retry: x", 1):                                    `job.yaml:3:8: "x" is out of bounds`,
		strings.Replace(oneOfMany, "job_type: one-of-many\n", "", 1):                             "[YAML_SYNTAX]",
		strings.Replace(oneOfMany, "description: its", "{{if .a}}b{{end}}: c: its", 1):           "[YAML_SYNTAX]",
		strings.Replace(oneOfMany, "tasks:", "params: [{name: Mode, default: none}]\ntasks:", 1): "[YAML_SYNTAX]",
	} {
		if _, _, err := jobspec.Parse("job.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
