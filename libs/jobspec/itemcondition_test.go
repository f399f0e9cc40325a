package jobspec_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/condition"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// decideItems shows what is decided of the task m: of the group, and of the items that differ from others.
func decideItems(t *testing.T, text string, vars value.Vars) string {
	t.Helper()
	def, problems, err := jobspec.Parse("job.yaml", []byte(text))
	if err != nil {
		return err.Error()
	}
	if len(problems) > 0 {
		t.Errorf("%v", problems)
	}
	plan, err := def.Plan(vars)
	if err != nil {
		return "plan: " + err.Error()
	}
	tasks := map[string]condition.TaskFact{"a": {State: "COMPLETED", Outputs: map[string]string{"go": "yes"}}}
	d, err := def.Decide("m", vars, condition.Facts{Vars: vars, Tasks: tasks})
	if err != nil {
		return err.Error()
	}
	var off, allowed []string
	for i, item := range d.Items {
		if item.Off {
			off = append(off, fmt.Sprint(i))
		}
		if item.AllowFailure {
			allowed = append(allowed, fmt.Sprint(i))
		}
		if _, err := def.Item("m", item, i, value.Merged(vars, value.Vars{"it": item.Value})); err != nil {
			return "item: " + err.Error()
		}
	}
	m := &plan.Tasks[len(plan.Tasks)-1]
	return fmt.Sprintf("off=%s allowed=%s group=%t/%t,%t", strings.Join(off, ","), strings.Join(allowed, ","), m.AllowFailure, m.AllowDecided, d.AllowFailure)
}

// Whether an item may fail is asked of each item, whichever way it is named.
func TestAllowFailureOfItems(t *testing.T) {
	for allow, want := range map[string]string{
		`true`:                 "off= allowed= group=true/false,true",
		`"no"`:                 "off= allowed= group=false/false,false",
		`"{{.flag}}"`:          "off= allowed= group=true/false,true",
		`params.flag`:          "off= allowed= group=true/false,true",
		`params.flag == false`: "off= allowed= group=false/false,false",
		`"{{.it.new}}"`:        "off= allowed=1 group=false/true,false",
		`it.new`:               "off= allowed=1 group=false/true,false",
		`params.it.name != 'c' && FanOutIndex > 0`:                      "off= allowed=1 group=false/true,false",
		`it.name == vars.pick || tasks.a.outputs.go == 'no'`:            "off= allowed=2 group=false/true,false",
		`tasks.a.outputs.go == 'yes'`:                                   "off= allowed= group=false/true,true",
		`'{{if eq .it.name "b"}}true{{else}}false{{end}}'`:              "off= allowed=1 group=false/true,false",
		`'{{with .it}}{{if eq .name "a"}}yes{{end}}{{end}}'`:            "off= allowed=0 group=false/true,false",
		`'{{$n := .it.name}}{{if ne $n "b"}}true{{else}}false{{end}}'`:  "off= allowed=0,2 group=false/true,false",
		"|-\n      {{if eq .it.name \"b\"}}\n      true\n      {{end}}": "off= allowed=1 group=false/true,false",
		`"{{.it.name}}"`: "is no switch",
		`maybe`:          "undeclared reference to 'maybe'",
		`"{{.nothing}}"`: "the variable nothing is not set",
		`it.size > 3`:    "a key that is not there",
		`1 + 1`:          "true or false",
		"true\n    environment: {X: '{{if eq .it.name \"b\"}}1{{end}}'}": "off= allowed= group=true/false,true",
	} {
		text := fmt.Sprintf(`job_type: j
tasks:
  - {task_type: a, method: SHELL, script: x, on_completed: m}
  - task_type: m
    method: SHELL
    fan_out: {items: [{name: a, new: false}, {name: b, new: true}, {name: c, new: false}], item_var: it}
    allow_failure: %s
    script: x
`, allow)
		if got := decideItems(t, text, value.Vars{"pick": "c", "flag": true}); got != want && !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", allow, got, want)
		}
	}
}

// Conditions that blocks of the template write are those that they write for the item.
func TestBlocksOverItems(t *testing.T) {
	for field, want := range map[string]string{
		`when: '{{if eq .it "b"}}false{{else}}true{{end}}'`:                                           "off=1",
		`when: '{{if ne .it "b"}}false{{else}}true{{end}}'`:                                           "off=0,2",
		`when: '{{if eq .it "b"}}{{else}}true{{end}}'`:                                                "off=1",
		`when: "{{if eq .it ` + "`b`" + `}}it == 'x'{{else}}it == 'a'{{end}}"`:                        "off=1,2",
		`when: '{{$x := eq .it "b"}}{{if $x}}false{{else}}true{{end}}'`:                               "off=1",
		`when: '{{if gt .FanOutIndex 0}}true{{end}}'`:                                                 "off=0",
		"{{if eq .it \"b\"}}\n    when: 'false'\n{{end}}":                                             "off=1",
		"{{if ne .it \"b\"}}\n    when: 'false'\n{{else}}\n    allow_failure: true\n{{end}}":          "off=0,2 allowed=1",
		"when: it != 'c'\n    {{if eq .it \"b\"}}\n    allow_failure: true\n    {{end}}":              "off=2 allowed=1",
		"when: '{{ne .it \"b\"}}'\n    working_dir: '{{if eq .it \"b\"}}b{{end}}'":                    "off=1",
		"when: >-\n      {{if eq .it \"b\"}}\n      false\n      {{else}}\n      true\n      {{end}}": "off=1",
		`when: '{{if .flag}}true{{else}}false{{end}}'`:                                                "off= ",
	} {
		text := fmt.Sprintf(`job_type: j
tasks:
  - task_type: m
    method: SHELL
    fan_out: {items: [a, b, c], item_var: it}
    script: x
    %s
`, field)
		if got := decideItems(t, text, value.Vars{"flag": true, "it": "of the run"}); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", field, got, want)
		}
	}
}

// A long list with a block in its condition is refused when rendering it for each item would take too long.
func TestBlocksOverManyItems(t *testing.T) {
	text := "job_type: j\ntasks:\n- {task_type: m, method: SHELL, script: [" + strings.Repeat("x", 2000) +
		"], fan_out: {source: list}, when: '{{if eq .item 7}}true{{end}}'}\n"
	for n, want := range map[int]string{1000: "off=0,1", 10_000: "would be rendered for each of 10000 items"} {
		list := make([]any, n)
		for i := range list {
			list[i] = i
		}
		if got := decideItems(t, text, value.Vars{"list": list}); !strings.Contains(got, want) {
			t.Errorf("%d: %.100s, want %s", n, got, want)
		}
	}
}

func TestAllowFailureOfACombination(t *testing.T) {
	text := `job_type: j
tasks:
  - task_type: m
    method: SHELL
    matrix: {os: [linux, darwin], go: ["1.25", "1.26"], include: [{os: linux, go: tip, new: true}]}
    allow_failure: go == 'tip' || matrix.os == 'darwin'
    script: x
`
	if got, want := decideItems(t, text, value.Vars{}), "off= allowed=2,3,4 group=false/true,false"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
