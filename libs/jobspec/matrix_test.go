package jobspec_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/formicary/formicary/libs/jobspec/condition"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// TestMatrixNamesHaveOneOrder names the combinations of include like those of the lists.
func TestMatrixNamesHaveOneOrder(t *testing.T) {
	for text, want := range map[string][]string{
		"{os: [ubuntu, mac], node: [20], include: [{os: ubuntu, node: 22, experimental: true}, {os: win}, {node: 24, arch: arm}, {os: mac, node: 20, extra: x}]}": {
			"t[ubuntu,20]", "t[mac,20]", "t[ubuntu,22,true]", "t[win]", "t[24,arm]",
		},
		"{include: [{b: 1, a: 2}]}": {"t[2,1]"},
	} {
		def := parse(t, "job_type: j\ntasks:\n  - {task_type: t, method: SHELL, script: x, matrix: "+text+"}\n")
		d, err := def.Decide("t", nil, condition.Facts{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, item := range d.Items {
			got = append(got, item.Name)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}

// The lists of a matrix may be outputs of earlier tasks: they are known when the task starts, and bounded then.
func TestMatrixOfOutputs(t *testing.T) {
	numbers := func(n int) string { return "[" + strings.TrimSuffix(strings.Repeat("1,", n), ",") + "]" }
	for text, want := range map[string]string{
		`{os: "{{.oses}}", go: ["1.25", "1.26"]}`:                          "t[linux,1.25] t[linux,1.26] t[mac,1.25] t[mac,1.26]",
		`{os: "{{.oses}}", go: ["{{.one}}"]}`:                              "t[linux,1] t[mac,1]",
		`{os: "{{.oses}}", exclude: [{os: mac}]}`:                          "t[linux]",
		`{os: "{{.oses}}", include: "{{.more}}"}`:                          "t[linux] t[mac] t[plan9]",
		`{os: "{{.oses}}", exclude: "{{.more}}"}`:                          "t[linux] t[mac]",
		`{os: "{{.oses}}", n: "{{.objects}}"}`:                             "t[0] t[1] t[2] t[3]",
		`{os: "{{.none}}", go: [1]}`:                                       "",
		`{os: "{{.text}}"}`:                                                "os of the matrix is no list",
		`{os: "{{.oses}}", include: "{{.oses}}"}`:                          "an entry of include is no mapping",
		`{os: "{{.many}}"}`:                                                "the matrix has too many combinations",
		`{os: "{{.oses}}", n: "{{.many}}"}`:                                "the matrix has too many combinations",
		`{os: "{{.nothing}}"}`:                                             "the variable nothing is not set",
		"{os: '{{.oses}}'}, when: os != 'mac', allow_failure: os == 'mac'": "t[linux] -t[mac]",
	} {
		def := parse(t, "job_type: j\ntasks:\n  - {task_type: a, method: SHELL, script: x, on_completed: t}\n  - {task_type: t, method: SHELL, script: 'echo {{.os}}', matrix: "+text+"}\n")
		if _, err := def.Plan(value.Vars{}); err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		vars := value.Vars{
			"oses": `["linux", "mac"]`, "one": "1", "more": `[{"os": "plan9"}]`, "none": "[]", "text": "linux", "objects": `[{"a": 1}, {"a": 2}]`,
			"many": numbers(1001),
		}
		d, err := def.Decide("t", vars, condition.Facts{Vars: vars})
		if err != nil {
			if !strings.Contains(err.Error(), want) || want == "" {
				t.Errorf("%s: %.200s, want %s", text, err, want)
			}
			continue
		}
		var got []string
		for i, item := range d.Items {
			if item.Off {
				item.Name = "-" + item.Name
			}
			got = append(got, item.Name)
			own, _ := item.Value.(map[string]any)
			task, err := def.Item("t", item, i, value.Merged(vars, own))
			if err != nil || task.Spec.Script[0] != "echo "+value.Text(own["os"]) {
				t.Errorf("%s: %s: %v, %v", text, item.Name, task, err)
			}
		}
		if all := strings.Join(got, " "); all != want {
			t.Errorf("%s: %s, want %s", text, all, want)
		}
	}
}
