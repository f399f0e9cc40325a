package jobspec_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/formicary/formicary/libs/jobspec/condition"
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
