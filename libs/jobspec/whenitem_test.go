package jobspec_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/condition"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// A condition that names the item is asked for each of them, whichever way it names it.
func TestWhenOfItems(t *testing.T) {
	for when, want := range map[string]string{
		`vars.it != 'b'`: "off=1",
		`it != 'b'`:      "off=1",
		`params.it in ['a', 'c'] && FanOutIndex < 2`: "off=1,2",
		`it == pick`: "undeclared reference to 'pick'",
		`it == vars.pick && tasks.a.outputs.go == 'yes'`: "off=0,1",
		`it == vars.pick && tasks.a.outputs.go == 'no'`:  "off=0,1,2",
		`vars.pick == 'c'`: "off=",
		`vars.pick == 'x'`: "all off",
		`'{{ne .it "b"}}'`: "off=1",
		`it.size > 3`:      "a key that is not there",
		`"['a', 'b'].exists(x, x == it) || it == vars.pick"`: "off=",
	} {
		text := fmt.Sprintf(`job_type: j
tasks:
  - {task_type: a, method: SHELL, script: x, on_completed: m}
  - task_type: m
    method: SHELL
    fan_out: {items: [a, b, c], item_var: it}
    when: %s
    script: x
`, when)
		def, problems, err := jobspec.Parse("job.yaml", []byte(text))
		if err != nil || len(problems) > 0 {
			if got := fmt.Sprint(problems, err); !strings.Contains(got, want) {
				t.Errorf("%s: %s, want %s", when, got, want)
			}
			continue
		}
		vars := value.Vars{"pick": "c"}
		if _, err := def.Plan(vars); err != nil {
			t.Errorf("%s: %v", when, err)
			continue
		}
		d, err := def.Decide("m", vars, condition.Facts{Vars: vars, Tasks: map[string]condition.TaskFact{"a": {State: "COMPLETED", Outputs: map[string]string{"go": "yes"}}}})
		got := fmt.Sprint(err)
		if err == nil {
			var off []string
			for i, item := range d.Items {
				if item.Off {
					off = append(off, fmt.Sprint(i))
				}
			}
			if got = "off=" + strings.Join(off, ","); d.Off {
				got = "all off"
			}
		}
		if got != want && (err == nil || !strings.Contains(got, want)) {
			t.Errorf("%s: %s, want %s", when, got, want)
		}
	}
}

func TestWhenOfACombination(t *testing.T) {
	def, problems, err := jobspec.Parse("job.yaml", []byte(`job_type: j
tasks:
  - task_type: m
    method: SHELL
    matrix: {os: [linux, darwin], go: ["1.25", "1.26"]}
    when: os == 'linux' || matrix.go == '1.26'
    script: x
`))
	if err != nil || len(problems) > 0 {
		t.Fatal(problems, err)
	}
	d, err := def.Decide("m", value.Vars{}, condition.Facts{})
	if err != nil {
		t.Fatal(err)
	}
	for _, item := range d.Items {
		if off := item.Name == "m[darwin,1.25]"; item.Off != off {
			t.Errorf("%s: off %t", item.Name, item.Off)
		}
		task, err := def.Item("m", item, 0, value.Vars{})
		if err != nil || task.Spec.Script[0] != "x" {
			t.Errorf("%s: %v", item.Name, err)
		}
	}
}
