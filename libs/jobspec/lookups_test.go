package jobspec_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/condition"
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// What a rendering looks at must be all that it depends on, in whatever form a template or an expression asks.
func TestLookups(t *testing.T) {
	tests := map[string]struct {
		script string
		vars   value.Vars
		want   []string // among others, that are the same for each
		all    bool
	}{
		"by name":             {script: "echo {{.sum}}", want: []string{"sum"}},
		"in a branch":         {script: "echo {{if .flag}}{{.sum}}{{end}}", vars: value.Vars{"flag": true}, want: []string{"flag", "sum"}},
		"in no branch":        {script: "echo {{if .flag}}{{.sum}}{{end}}", vars: value.Vars{"flag": false}, want: []string{"flag"}},
		"by a literal index":  {script: `echo {{index . "a-b"}}`, want: []string{"a-b"}},
		"by a computed index": {script: `echo {{index . .name}}`, vars: value.Vars{"name": "sum"}, want: []string{"name", "sum"}},
		"with a default":      {script: `echo {{.sum | default "0"}}`, want: []string{"sum"}},
		"with a point":        {script: "echo {{.fork.ForkedJobID}}", want: []string{"fork.ForkedJobID"}},
		"status":              {script: `echo {{index . "build-status"}}`, want: []string{"build-status"}},
		"all":                 {script: "echo {{range $k, $v := .}}{{$k}}{{end}}", all: true},
		"nothing":             {script: "echo x"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			def, _, err := jobspec.Parse("job.yaml", []byte("job_type: job\ntasks:\n- task_type: a\n  method: SHELL\n  script:\n    - '"+tt.script+"'\n"))
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // also when the shape of the text is known
				var l template.Lookups
				_, _ = def.TaskWith("a", tt.vars, &l)
				got := slices.Sorted(maps.Keys(l.Vars))
				for _, want := range tt.want {
					if !slices.Contains(got, want) {
						t.Errorf("looked at %v, want %v", got, want)
					}
				}
				if l.All != tt.all {
					t.Errorf("all: %t", l.All)
				}
				if name == "in no branch" && slices.Contains(got, "sum") {
					t.Errorf("looked at %v", got)
				}
			}
		})
	}
}

func TestLookupsOfConditions(t *testing.T) {
	tests := map[string]struct {
		when  string
		vars  []string
		tasks map[string]template.TaskFields
		all   bool
		every bool
	}{
		"state":           {when: `tasks.a.state == "COMPLETED"`, tasks: map[string]template.TaskFields{"a": {}}},
		"in brackets":     {when: `tasks["a"].exit_code == 0`, tasks: map[string]template.TaskFields{"a": {}}},
		"an output":       {when: `tasks.a.outputs.x == "1" || has(tasks.a.outputs.y)`, tasks: map[string]template.TaskFields{"a": {Outputs: map[string]bool{"x": true, "y": true}}}},
		"its result":      {when: `tasks.a.result.contains("ok")`, tasks: map[string]template.TaskFields{"a": {Result: true}}},
		"all its outputs": {when: `size(tasks.a.outputs) > 1`, tasks: map[string]template.TaskFields{"a": {AllOutputs: true}}},
		"an output by a variable": {
			when: `tasks.a.outputs[vars.k] == "1"`, vars: []string{"k"}, tasks: map[string]template.TaskFields{"a": {AllOutputs: true}},
		},
		"all of it":        {when: `[tasks.a].all(t, t.exit_code == 0)`, tasks: map[string]template.TaskFields{"a": {Result: true, AllOutputs: true}}},
		"whether it ended": {when: `has(tasks.a)`, tasks: map[string]template.TaskFields{"a": {}}},
		"every task":       {when: `tasks.all(n, tasks[n].state == "COMPLETED")`, every: true},
		"a variable":       {when: `vars.n == "1" || params["m"] == "2"`, vars: []string{"m", "n"}},
		"every variable":   {when: `vars.exists(k, k == "n")`, all: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			def, _, err := jobspec.Parse("job.yaml", []byte("job_type: job\ntasks:\n- task_type: a\n  method: SHELL\n  script: [a]\n  on_completed: b\n- task_type: b\n  method: SHELL\n  script: [b]\n  when: '"+tt.when+"'\n"))
			if err != nil {
				t.Fatal(err)
			}
			var l template.Lookups
			_, _ = def.Decide("b", value.Vars{"k": "x"}, condition.Facts{Tasks: map[string]condition.TaskFact{"a": {State: "COMPLETED"}}, Lookups: &l})
			for _, want := range tt.vars {
				if !l.Vars[want] {
					t.Errorf("looked at %v, want %v", slices.Sorted(maps.Keys(l.Vars)), want)
				}
			}
			if l.All != tt.all || l.AllTasks != tt.every {
				t.Errorf("all variables: %t, all tasks: %t", l.All, l.AllTasks)
			}
			if !maps.EqualFunc(l.Tasks, tt.tasks, func(a, b template.TaskFields) bool {
				return a.Result == b.Result && a.AllOutputs == b.AllOutputs && maps.Equal(a.Outputs, b.Outputs)
			}) {
				t.Errorf("tasks %+v, want %+v", l.Tasks, tt.tasks)
			}
		})
	}
}
