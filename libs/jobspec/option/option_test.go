package option_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/formicary/formicary/libs/jobspec/option"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/template"
)

// open reads a text without templates: the node of its key v.
func open(t *testing.T, text string) (*read.Reader, *source.Pair) {
	t.Helper()
	lines := source.NewLines([]byte(text))
	shape := &template.Shape{Text: []byte(text)}
	shape.Parse(lines)
	if shape.Root == nil {
		t.Fatalf("%q is no YAML: %v", text, shape.Problems)
	}
	r := &read.Reader{Collector: &source.Collector{File: "f"}, Source: lines, Shape: shape, Machine: template.NewMachine(&template.Scope{})}
	return r, &shape.Root.Pairs[0]
}

// codes are those of the problems.
func codes(r *read.Reader) string {
	out := ""
	for _, p := range r.Collector.List {
		out += p.Code
	}
	return out
}

func TestContainer(t *testing.T) {
	for text, c := range map[string]struct {
		want  plan.Container
		fault string
	}{
		"alpine":                           {plan.Container{Image: "alpine"}, ""},
		"{image: alpine, cpu_limit: 500m}": {plan.Container{Image: "alpine", Limits: plan.Limits{CPULimit: 500}}, ""},
		"{image: a, devices: /dev/x}":      {plan.Container{Image: "a", Devices: []string{"/dev/x"}}, ""},
		"{image: a, colour: red}":          {plan.Container{Image: "a"}, source.CodeUnknownField},
	} {
		r, p := open(t, "v: "+text)
		if diff := cmp.Diff(&c.want, option.Container(r, p)); diff != "" || codes(r) != c.fault {
			t.Errorf("%s: %s %v", text, diff, r.Collector.List)
		}
	}
}

func TestOptions(t *testing.T) {
	for text, c := range map[string]struct {
		want  *plan.Options // nil: no option
		fault string
	}{
		"privileged: yes":                             {&plan.Options{Privileged: true}, ""},
		"network_mode: host":                          {&plan.Options{NetworkMode: "host"}, ""},
		"artifacts: {paths: [a]}":                     {&plan.Options{Artifacts: &plan.Artifacts{Paths: []string{"a"}, When: plan.OnSuccess}}, ""},
		"artifacts: {when: always}":                   {&plan.Options{Artifacts: &plan.Artifacts{When: plan.Always}}, source.CodeMissingField},
		"cache: {paths: [a]}":                         {&plan.Options{Cache: &plan.Cache{Key: "the task", Paths: []string{"a"}}}, source.CodeReadAs},
		"cache: {key: k, key_paths: [f], paths: [a]}": {&plan.Options{Cache: &plan.Cache{Key: "k", KeyPaths: []string{"f"}, Paths: []string{"a"}}}, ""},
		"script: x":                                   {nil, ""},
	} {
		r, p := open(t, text)
		var got *plan.Options
		read := option.Read(r, p, "the task", func() *plan.Options {
			if got == nil {
				got = &plan.Options{}
			}
			return got
		})
		if diff := cmp.Diff(c.want, got); diff != "" || codes(r) != c.fault || read != (c.want != nil) {
			t.Errorf("%s: %s %v", text, diff, r.Collector.List)
		}
	}
}
