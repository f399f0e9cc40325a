package jobspec

import (
	"testing"

	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// TestShapesAreReused counts renderings of the text: only what conditions and loops look at makes a new one.
func TestShapesAreReused(t *testing.T) {
	def, _, err := Parse("f", []byte(`job_type: j
job_variables: {greeting: hello}
tasks:
{{range $i := Iterate .n}}
  - {task_type: 't{{$i}}', method: SHELL, script: 'echo {{$.greeting}} {{$.who}}'}
{{end}}
`))
	if err != nil {
		t.Fatal(err)
	}
	shapeOf := func(vars value.Vars) *rendering {
		_, sh := def.open(vars, nil, &source.Collector{})
		return sh
	}
	first := shapeOf(value.Vars{"n": 1000, "who": "a"})
	if again := shapeOf(value.Vars{"n": "1000", "who": "b", "JobRetry": 1}); again == first {
		t.Error("text and number are different values")
	}
	if again := shapeOf(value.Vars{"n": 1000.0, "who": "b", "JobRetry": 1}); again != first {
		t.Error("a printed variable made a new shape")
	}
	if other := shapeOf(value.Vars{"n": 999, "who": "a"}); other == first {
		t.Error("another count did not make a new shape")
	}
	// The late rendering of one task costs that task.
	s, sh := def.open(value.Vars{"n": 1000, "who": "a"}, nil, &source.Collector{})
	r := def.reader(&source.Collector{}, sh, s)
	list := sh.Root.Get("tasks")
	i, ok := r.find(list, "t777")
	task := r.task(list.Items[i], r.extent(list, i), 0)
	if !ok || task.task.Spec.Script[0] != "echo hello a" || r.Machine.Work > 20 {
		t.Errorf("%v %+v, work %d", ok, task.task.Spec, r.Machine.Work)
	}
	for n := range 20 {
		shapeOf(value.Vars{"n": n})
	}
	if len(def.shapes) > maxKept {
		t.Errorf("%d shapes are kept", len(def.shapes))
	}
}
