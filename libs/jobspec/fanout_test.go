package jobspec_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/formicary/formicary/libs/jobspec/condition"
	"github.com/formicary/formicary/libs/jobspec/environ"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// values of items, for comparisons.
func valuesOf(items []plan.Item) []any {
	out := make([]any, len(items))
	for i := range items {
		out[i] = items[i].Value
	}
	return out
}

func TestFanOutSources(t *testing.T) {
	object := map[string]any{"name": "a", "n": int64(1)}
	for _, c := range []struct {
		fan  string
		vars value.Vars
		want []any
		plan bool // known at the plan
	}{
		{"items: [a, 1, {name: a, n: 1}]", nil, []any{"a", int64(1), object}, true},
		{"items: '{{.list}}'", value.Vars{"list": `["a"]`}, []any{"a"}, true},
		{"items: {{.list}}", value.Vars{"list": []any{"a", object}}, []any{"a", object}, true},
		{"items: [a, '{{.x}}']", value.Vars{"x": "b"}, []any{"a", "b"}, true},
		{"source: list", value.Vars{"list": []string{"a", "b"}}, []any{"a", "b"}, true},
		{"source: list", value.Vars{"list": `["a", {"name": "a", "n": 1}]`}, []any{"a", object}, true},
		{"source: build.files", value.Vars{"build.files": `[1]`}, []any{int64(1)}, true},
		{"source: config.regions", value.Vars{"config": map[string]any{"regions": []any{"eu"}}}, []any{"eu"}, true},
		{"source: '{{.name}}'", value.Vars{"name": "list", "list": "[2]"}, []any{int64(2)}, true},
		{"source: {{.list}}", value.Vars{"list": []any{"z"}}, []any{"z"}, true},
		{"source: list", value.Vars{"list": "[]"}, []any{}, true},
	} {
		def := parse(t, flowJob("method: SHELL\nscript: x\nfan_out:\n  "+c.fan))
		p, err := def.Plan(c.vars)
		if err != nil || !p.Tasks[0].Decide {
			t.Fatalf("%s: %+v, %v", c.fan, p, err)
		}
		d, err := def.Decide("a", c.vars, condition.Facts{})
		if err != nil {
			t.Fatalf("%s: %v", c.fan, err)
		}
		if diff := cmp.Diff(c.want, valuesOf(d.Items)); diff != "" {
			t.Errorf("%s: %s", c.fan, diff)
		}
	}
}

func TestFanOutFaultsAtItsStart(t *testing.T) {
	many := make([]any, plan.MaxItems+1)
	for _, c := range []struct {
		vars value.Vars
		want string
	}{
		{nil, "job.yaml:6:23: the variable list is not set"},
		{value.Vars{"list": "canary"}, "job.yaml:6:23: the list of the fan-out is no JSON list"},
		{value.Vars{"list": `{"a": 1}`}, "job.yaml:6:23: the list of the fan-out is no JSON list"},
		{value.Vars{"list": `["a\u0000"]`}, "job.yaml:6:23: the list of the fan-out cannot be used: it gives the character NUL"},
		{value.Vars{"list": `[1e400]`}, "job.yaml:6:23: the list of the fan-out cannot be used: the value holds a number that is too large or too small"},
		{value.Vars{"list": map[string]any{}}, "job.yaml:6:23: the variable list holds no list"},
		{value.Vars{"list": 3}, "job.yaml:6:23: the variable list holds no list"},
		{value.Vars{"list": many}, "job.yaml:6:23: the fan-out has 10001 items, expected at most 10000"},
		{value.Vars{"list": []any{strings.Repeat("x", 5<<20)}}, "job.yaml:6:23: the items of the fan-out are too large"},
	} {
		_, err := parse(t, flowJob("method: SHELL\nscript: x\nfan_out: {source: list}")).Decide("a", c.vars, condition.Facts{})
		expectProblems(t, err, c.want)
	}
}

func TestItemRendering(t *testing.T) {
	def := parse(t, `job_type: j
job_variables: {file: of the job}
tasks:
  - {task_type: before, method: SHELL, script: x, on_completed: a}
  - task_type: a
    method: SHELL
    tags: ['{{.file.os}}', fix]
    slots: '{{.file.slots}}'
    variables: {label: "x-{{.file.name}}"}
    except: '{{eq .file.name "skip"}}'
    script:
      - run {{.file.name}} {{.FanOutIndex}} {{.label}} {{.late}}
      {{if eq .mode "fast"}}
      - fast
      {{end}}
    fan_out: {source: files, item_var: file, max_parallel: 2, fail_fast: true, min_success: 90%}
`)
	files := []any{map[string]any{"name": "one", "os": "linux", "slots": 2}, map[string]any{"name": "skip", "os": "mac", "slots": 1}}
	vars := value.Vars{"files": files, "mode": "fast"}
	p, err := def.Plan(vars)
	if err != nil {
		t.Fatal(err)
	}
	group := p.Tasks[1]
	if !group.Late || !group.Decide || !group.ItemClass || group.Skip || strings.Join(group.Spec.Script, "|") != "run {{.file.name}} {{.FanOutIndex}} {{.label}} {{.late}}|fast" {
		t.Errorf("%+v", group)
	}
	want := &plan.FanOut{Source: "files", ItemVar: "file", MaxParallel: 2, FailFast: true, MinSuccessPercent: 90, Items: group.FanOut.Items}
	if diff := cmp.Diff(want, group.FanOut); diff != "" {
		t.Error(diff)
	}
	d, err := def.Decide("a", vars, condition.Facts{})
	if err != nil {
		t.Fatal(err)
	}
	var shown []string
	for _, item := range d.Items {
		shown = append(shown, item.Name+" "+item.Class.String())
	}
	if diff := cmp.Diff([]string{"a[0] SHELL|fix,linux|2", "a[1] SHELL|fix,mac|1"}, shown); diff != "" {
		t.Error(diff)
	}
	vars["late"] = "now"
	for i, want := range []string{"run one 0 x-one now", "run skip 1 x-skip now"} {
		task, err := def.Item("a", d.Items[i], i, vars)
		if err != nil {
			t.Fatal(err)
		}
		if task.Late || task.Skip != (i == 1) || task.Spec.Script[0] != want {
			t.Errorf("%+v", task)
		}
		env := environ.Of(task, vars).Vars
		if env["FORMICARY_ITEM_INDEX"] != fmt.Sprint(i) || !strings.Contains(env["file"], `"name"`) || env["FanOutIndex"] != fmt.Sprint(i) {
			t.Errorf("%v", env)
		}
	}
	if again, _ := def.Plan(vars); again.Tasks[1].Spec.Environment["FORMICARY_ITEM_INDEX"] != "" {
		t.Error("an item changed the plan")
	}
}

func TestItemsOfATextWithoutTemplates(t *testing.T) {
	def := parse(t, flowJob("method: SHELL\nscript: echo $item\nenvironment: {A: b}\nfan_out: {items: [x, y]}"))
	d, err := def.Decide("a", nil, condition.Facts{})
	if err != nil || len(d.Items) != 2 || d.Items[1].Name != "a[1]" || d.Items[1].Class != nil {
		t.Fatalf("%+v, %v", d, err)
	}
	task, err := def.Item("a", d.Items[1], 1, value.Vars{"x": 1})
	if err != nil {
		t.Fatal(err)
	}
	if env := environ.Of(task, nil).Vars; env["item"] != "y" || env["A"] != "b" || env["FORMICARY_ITEM_INDEX"] != "1" {
		t.Errorf("%v", env)
	}
	p, err := def.Plan(nil)
	if err != nil || len(p.Tasks[0].Spec.Environment) != 1 {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestMatrix(t *testing.T) {
	def := parse(t, flowJob(`method: SHELL
tags: ['{{.os}}']
script: go{{.go}} test {{.matrix.os}} {{.extra}}
variables: {extra: none}
matrix:
  os: [linux, mac]
  go: ["1.25", "1.26"]
  exclude: [{os: mac, go: "1.25"}]
  include:
    - {os: mac, extra: slow}
    - {os: windows, go: tip}
fan_out: {max_parallel: 2}
`))
	p, err := def.Plan(nil)
	if err != nil {
		t.Fatal(err)
	}
	f := p.Tasks[0].FanOut
	if !f.Matrix || f.ItemVar != "matrix" || f.MaxParallel != 2 || len(f.Items) != 4 || !p.Tasks[0].ItemClass {
		t.Errorf("%+v", f)
	}
	d, err := def.Decide("a", nil, condition.Facts{})
	if err != nil {
		t.Fatal(err)
	}
	var shown []string
	for i, item := range d.Items {
		task, err := def.Item("a", item, i, nil)
		if err != nil {
			t.Fatal(err)
		}
		shown = append(shown, item.Name+" "+strings.Join(item.Class.Tags, ",")+": "+task.Spec.Script[0])
	}
	want := []string{
		"a[linux,1.25] linux: go1.25 test linux none", "a[linux,1.26] linux: go1.26 test linux none",
		"a[mac,1.26] mac: go1.26 test mac slow", "a[windows,tip] windows: gotip test windows none",
	}
	if diff := cmp.Diff(want, shown); diff != "" {
		t.Error(diff)
	}
}

func TestMatrixOfTemplates(t *testing.T) {
	def := parse(t, flowJob("method: SHELL\nscript: x\nmatrix: {os: '{{.none}}', go: {{.versions}}}"))
	_, err := def.Plan(value.Vars{"versions": []any{"1", "2"}})
	expectProblems(t, err, "job.yaml:6:21: the variable none is not set")
	def = parse(t, flowJob("method: SHELL\nscript: x\nmatrix: {os: [a], go: {{.versions}}}"))
	for _, versions := range []any{[]any{"1", "2"}, `["1", "2"]`} {
		p, err := def.Plan(value.Vars{"versions": versions})
		if err != nil || len(p.Tasks[0].FanOut.Items) != 2 {
			t.Errorf("%+v, %v", p, err)
		}
	}
	for _, versions := range []any{"1", `{"a": 1}`, "[1", 1} {
		_, err = def.Plan(value.Vars{"versions": versions})
		expectProblems(t, err, "job.yaml:6:27: go of the matrix is no list")
	}
}

func TestJobMode(t *testing.T) {
	def := parse(t, flowJob(`fan_out:
  source: regions
  item_var: region
  fork_job_type: deploy-{{.region}}
  fork_job_version: ~2
sub_workflow: {input_params: {zone: "{{.region}}-a"}, output_variables: [url]}
`))
	vars := value.Vars{"regions": []any{"eu", "us"}}
	p, err := def.Plan(vars)
	if err != nil || p.Tasks[0].Method != plan.MethodForkJob || !p.Tasks[0].Decide {
		t.Fatalf("%+v, %v", p, err)
	}
	d, err := def.Decide("a", vars, condition.Facts{})
	if err != nil || len(d.Items) != 2 || d.Fork != nil {
		t.Fatalf("%+v, %v", d, err)
	}
	d, err = def.DecideItem("a", d.Items[1], 1, vars, condition.Facts{})
	if err != nil {
		t.Fatal(err)
	}
	want := &plan.Fork{
		JobType: "deploy-us", Version: "~2", Wait: true, Outputs: []plan.OutputName{{Name: "url", As: "url"}},
		Params: map[string]any{"zone": "us-a", "region": "us", "FanOutIndex": int64(1)},
	}
	if diff := cmp.Diff(want, d.Fork); diff != "" {
		t.Error(diff)
	}
}

func TestGroupOutputs(t *testing.T) {
	task := &plan.Task{Name: "a", FanOut: &plan.FanOut{Source: "list", ItemVar: "file"}}
	out := plan.GroupOutputs(task, plan.ModeTask, []plan.ItemResult{
		{Index: 0, Status: "COMPLETED", Outputs: map[string]string{"k": "v"}},
		{Index: 1, Status: "FAILED", ExitCode: 3, ErrorCode: "ERR_X", ErrorMessage: "no"},
	})
	var results []plan.ItemResult
	if err := json.Unmarshal([]byte(out["a_results"]), &results); err != nil || results[0].Outputs["k"] != "v" {
		t.Errorf("%v: %v", out["a_results"], err)
	}
	delete(out, "a_results")
	want := map[string]string{
		"FanOutItemCount": "2", "FanOutSource": "list", "FanOutMode": "task", "file_0_status": "COMPLETED", "file_0_exit_code": "0", "file_0_k": "v", "file_1_status": "FAILED",
		"file_1_exit_code": "3", "file_1_error_code": "ERR_X", "file_1_error_message": "no",
	}
	if diff := cmp.Diff(want, out); diff != "" {
		t.Error(diff)
	}
	if out = plan.GroupOutputs(task, plan.ModeJob, nil); out["a_results"] != "[]" || out["FanOutItemCount"] != "0" {
		t.Errorf("%v", out)
	}
	if out = plan.GroupOutputs(task, plan.ModeTask, make([]plan.ItemResult, 10_000)); len(out) != 404 {
		t.Errorf("%d outputs", len(out))
	}
}

func TestNeeded(t *testing.T) {
	for _, c := range []struct {
		f           plan.FanOut
		total, want int
	}{
		{plan.FanOut{}, 10, 10},
		{plan.FanOut{MinSuccess: 3}, 10, 3},
		{plan.FanOut{MinSuccess: 30}, 10, 10},
		{plan.FanOut{MinSuccessPercent: 90}, 9, 9},
		{plan.FanOut{MinSuccessPercent: 90}, 10, 9},
		{plan.FanOut{MinSuccessPercent: 1}, 10_000, 100},
	} {
		if got := c.f.Needed(c.total); got != c.want {
			t.Errorf("%+v of %d: %d", c.f, c.total, got)
		}
	}
}

// FuzzFanOut reads any list: it becomes items or a fault, and each item renders with its own value.
func FuzzFanOut(f *testing.F) {
	for _, text := range []string{`["a"]`, `[1, {"a": [null]}, true]`, "[]", "[[", "{}", `["{{.x}}", "\n- x", ""]`, "[1e400]", `["a","a"]`} {
		f.Add(text)
	}
	def := parse(f, flowJob("method: SHELL\nscript: run {{.item}}\nfan_out: {source: list, item_var: item}"))
	f.Fuzz(func(t *testing.T, text string) {
		vars := value.Vars{"list": text}
		d, err := def.Decide("a", vars, condition.Facts{})
		if err != nil {
			checkPlaces(t, strings.Repeat("\n", 10)+strings.Repeat("x", 200), err)
			return
		}
		for i, item := range d.Items[:min(len(d.Items), 5)] {
			task, err := def.Item("a", item, i, vars)
			if err != nil || len(task.Spec.Script) != 1 || !strings.HasPrefix(task.Spec.Script[0], "run ") {
				t.Errorf("%v: %+v, %v", item, task, err)
			}
		}
	})
}

// TestMatrixOfReservedNames builds with two compilers: the definition names CC, so its items have it.
func TestMatrixOfReservedNames(t *testing.T) {
	def := parse(t, flowJob("method: SHELL\nscript: make\nmatrix: {CC: [gcc, clang], include: [{CC: tcc, LD: ld.tcc}]}"))
	task, err := def.Item("a", plan.Item{Value: map[string]any{"CC": "tcc", "LD": "ld.tcc", "LD_PRELOAD": "x"}}, 2, nil)
	if err != nil {
		t.Fatal(err)
	}
	env := environ.Of(task, nil).Vars
	if _, given := env["LD_PRELOAD"]; env["CC"] != "tcc" || env["LD"] != "ld.tcc" || given {
		t.Errorf("%v", env)
	}
}

// TestVariablesThatAreNotKnownAreLeftOut looks at variables of a task that only an item, or a later task, completes.
func TestVariablesThatAreNotKnownAreLeftOut(t *testing.T) {
	def := parse(t, flowJob(`method: SHELL
script: echo {{.item}}
fan_out: {items: [a]}
variables: {item: mine, whole: '{{.item}}', list: ['{{.item}}'], plain: 1}
`))
	p, err := def.Plan(nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{"plain": int64(1)}, p.Tasks[0].Spec.Variables); diff != "" {
		t.Error(diff)
	}
	task, err := def.Item("a", plan.Item{Value: "a"}, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"item": "a", "whole": "a", "list": []any{"a"}, "plain": int64(1), "FanOutIndex": int64(0)}
	if diff := cmp.Diff(want, task.Spec.Variables); diff != "" {
		t.Error(diff)
	}
}
