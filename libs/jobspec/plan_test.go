package jobspec_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/value"
)

func TestStaticPlan(t *testing.T) {
	def := parse(t, hello)
	if def.JobType != "hello" || def.MaxConcurrency != 1 || def.Priority != 50 || def.Description != "says hello" {
		t.Errorf("definition: %+v", def)
	}
	p, err := def.Plan(value.Vars{"JobID": "1"})
	if err != nil {
		t.Fatal(err)
	}
	want := []plan.Task{
		{
			Name: "greet", Method: "SHELL", Tags: []string{"amd64", "linux"}, Slots: 1, Timeout: time.Hour, Grace: 10 * time.Second,
			Backoff: plan.Backoff{Delay: time.Second, Jitter: true},
			Routes:  []plan.Route{{Key: "COMPLETED", Targets: []string{"bye"}}},
			Spec:    plan.Spec{Method: "SHELL", Shell: true, Script: []string{"echo hello"}},
		},
		{
			Name: "bye", Method: "SHELL", Slots: 1, Timeout: time.Hour, Grace: 10 * time.Second,
			Backoff: plan.Backoff{Delay: time.Second, Jitter: true},
			Spec:    plan.Spec{Method: "SHELL", Shell: true, Script: []string{"echo bye"}},
		},
	}
	if diff := cmp.Diff(want, p.Tasks); diff != "" {
		t.Error(diff)
	}
	if p.Timeout != 2*time.Hour || p.CleanupTimeout != 5*time.Minute || p.Vars["who"] != "world" || p.Vars["JobID"] != "1" {
		t.Errorf("plan: %+v", p)
	}
	classes, err := def.StartClasses(nil)
	if err != nil || len(classes) != 1 || classes[0].String() != "SHELL|amd64,linux|1" {
		t.Errorf("classes %v, %v", classes, err)
	}
}

func TestLoopMakesTasks(t *testing.T) {
	p := planOf(t, `job_type: iterate-job
dynamic_template_tasks: true
tasks:
{{- range $val := Iterate 5 }}
- task_type: task-{{$val}}
  method: SHELL
  script:
    - echo executing task for {{$val}}
  {{ if lt $val 4 }}
  on_completed: task-{{ Add $val 1}}
  {{ end  }}
{{ end  }}
`, nil)
	if len(p.Tasks) != 5 || p.Tasks[3].Routes[0].Targets[0] != "task-4" || len(p.Tasks[4].Routes) != 0 {
		t.Errorf("%+v", p.Tasks)
	}
	if p.Tasks[2].Spec.Script[0] != "echo executing task for 2" {
		t.Errorf("script %q", p.Tasks[2].Spec.Script)
	}
}

func TestValuesCannotChangeStructure(t *testing.T) {
	text := `job_type: j
tasks:
  - task_type: a
    method: SHELL
    environment:
      A: {{.x}}
      B: "{{.x}}"
      C: '{{.x}}'
      D: pre {{.x}} post
    script:
      - echo {{.x}}
      - |
        cat {{.x}}
        end
`
	for _, x := range []string{
		"v\n    privileged: true", "a: b", "- x", "\"", "'", "{a: b}", "[1]", "# c", "&a", "*a", "!t", "|", "\n---\n", "{{.y}}",
		"\ttab", "%", "@", "`", "true", "5", "", "~", "\uE0F00\uE0F1",
	} {
		p := planOf(t, text, value.Vars{"x": x})
		spec := p.Tasks[0].Spec
		want := map[string]string{"A": x, "B": x, "C": x, "D": "pre " + x + " post"}
		if diff := cmp.Diff(want, spec.Environment); diff != "" {
			t.Errorf("%q: %s", x, diff)
		}
		if diff := cmp.Diff([]string{"echo " + x, "cat " + x + "\nend\n"}, spec.Script); diff != "" {
			t.Errorf("%q: %s", x, diff)
		}
	}
}

func TestSingleTokenKeepsItsType(t *testing.T) {
	p := planOf(t, `job_type: j
tasks:
  - task_type: a
    method: SHELL
    retry: {{.n}}
    timeout: {{.t}}
    tags: {{.tags}}
    variables:
      num: {{.n}}
      text: "{{.n}}"
      both: {{.n}}{{.n}}
      list: {{.tags}}
      yes: {{.b}}
      version: 1.10
      mode: 0644
      int: 12
    script: {{.tags}}
`, value.Vars{"n": 3, "t": "90s", "tags": []string{"a", "B"}, "b": true})
	task := p.Tasks[0]
	if task.Retry != 3 || task.Timeout != 90*time.Second || strings.Join(task.Tags, ",") != "a,b" {
		t.Errorf("%+v", task)
	}
	want := map[string]any{
		"num": int64(3), "text": "3", "both": "33", "list": []any{"a", "B"}, "yes": true, "version": "1.10", "mode": "0644", "int": int64(12),
	}
	if diff := cmp.Diff(want, task.Spec.Variables); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"a", "B"}, task.Spec.Script); diff != "" {
		t.Error(diff)
	}
}

func TestLateRendering(t *testing.T) {
	def := parse(t, `job_type: j
job_variables:
  region: eu
tasks:
  - task_type: build
    method: SHELL
    script: [make]
    on_completed: ship
  - task_type: ship
    method: SHELL
    variables:
      region: us
      own: 1
    script:
      - deploy {{.version}} to {{.region}}
      {{if gt .JobRetry 1}}
      - echo again
      {{end}}
`)
	p, err := def.Plan(value.Vars{"JobID": "x"})
	if err != nil {
		t.Fatal(err)
	}
	build, ship := &p.Tasks[0], &p.Tasks[1]
	if build.Late || build.NeedsRender(map[string]any{"version": "1"}) {
		t.Errorf("build: %+v", build)
	}
	if !ship.Late || !ship.NeedsRender(nil) || ship.Spec.Script[0] != "deploy {{.version}} to us" {
		t.Errorf("ship: %+v", ship)
	}
	claim := value.Vars{"version": "1.2", "JobRetry": 2}
	maps.Copy(claim, p.Vars)
	task, err := def.Task("ship", claim)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"deploy 1.2 to us", "echo again"}, task.Spec.Script); diff != "" {
		t.Error(diff)
	}
	claim["region"] = "asia" // an output goes before the task's own variable
	if task, err = def.Task("ship", claim); err != nil || task.Spec.Script[0] != "deploy 1.2 to asia" {
		t.Errorf("%v, %v", task, err)
	}
	delete(claim, "version")
	_, err = def.Task("ship", claim)
	expectProblems(t, err, "job.yaml:15:18: the variable version is not set")
	_, err = def.Task("nope", claim)
	expectProblems(t, err, `job.yaml: the task "nope" is not in the rendered definition`)
}

func TestUndefinedVariable(t *testing.T) {
	def := parse(t, `job_type: j
tasks:
  - task_type: a
    method: SHELL
    script:
      - echo {{.known}} {{default "x" .absent}} {{if .absent}}never{{end}}
      - echo {{upper .secretName}}
`)
	_, err := def.Plan(value.Vars{"known": "topsecret"})
	expectProblems(t, err, "job.yaml:7:22: the variable secretName is not set")
	p, err := def.Plan(value.Vars{"known": 1, "secretName": "s"})
	if err != nil || p.Tasks[0].Spec.Script[0] != "echo 1 x" || p.Tasks[0].Spec.Script[1] != "echo S" {
		t.Errorf("%v %v", p, err)
	}
}

func TestJobVariablesSteerLoops(t *testing.T) {
	def := parse(t, `job_type: j
job_variables:
  - name: count
    value: 3
tasks:
{{range $i := Iterate .count}}
  - task_type: t{{$i}}
    method: SHELL
    script: [run]
    on_completed: join
{{end}}
  - task_type: join
    method: SHELL
    script: [join]
`)
	for _, c := range []struct {
		vars value.Vars
		want int
	}{{nil, 4}, {value.Vars{"count": "200"}, 201}, {value.Vars{"count": 1.0}, 2}, {nil, 4}} {
		p, err := def.Plan(c.vars)
		if err != nil || len(p.Tasks) != c.want {
			t.Errorf("%v: %v", c, err)
		}
	}
}

func TestSkip(t *testing.T) {
	text := `job_type: j
skip_if: {{if ne .branch "main"}} true {{end}}
tasks:
  - task_type: a
    method: SHELL
    except: '{{eq .branch "main"}}'
    script: x
`
	p := planOf(t, text, value.Vars{"branch": "dev"})
	if !p.Skip || p.Tasks[0].Skip {
		t.Errorf("%+v", p)
	}
	p = planOf(t, text, value.Vars{"branch": "main"})
	if p.Skip || !p.Tasks[0].Skip {
		t.Errorf("%+v", p)
	}
}
