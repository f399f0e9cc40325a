package param_test

import (
	"testing"

	"github.com/formicary/formicary/libs/jobspec/param"
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

func TestParams(t *testing.T) {
	for text, fault := range map[string]string{
		"[{name: a}, {name: b, type: int, default: 3}]": "",
		"[{name: a}, {name: a}]":                        source.CodeDuplicateKey,
		"[{type: int}]":                                 source.CodeMissingField,
		"[{name: a, type: number, default: x}]":         source.CodeInvalidValue,
		"[{name: a, type: enum}]":                       source.CodeMissingField,
		"[{name: a, enum: [x, y], default: z}]":         source.CodeInvalidValue,
		"[{name: a, pattern: '('}]":                     source.CodeInvalidValue,
		"[{name: a, type: duration, default: 90s}]":     "",
		"[{name: a, type: json, default: {b: [1]}}]":    "",
		"[{name: a, type: secret}]":                     source.CodeUnsupportedField,
	} {
		r, p := open(t, "v: "+text)
		if param.Read(r, p.Value); codes(r) != fault {
			t.Errorf("%s: %v", text, r.Collector.List)
		}
	}
}

func TestCheckOutputs(t *testing.T) {
	for _, c := range []struct {
		kind, value string
		ok          bool
	}{
		{param.TypeInt, "3", true},
		{param.TypeInt, "3.5", false},
		{param.TypeNumber, "3.5", true},
		{param.TypeBool, "true", true},
		{param.TypeBool, "perhaps", false},
		{param.TypeDuration, "1h", true},
		{param.TypeDuration, "soon", false},
		{param.TypeJSON, `{"a":1}`, true},
		{param.TypeJSON, `{`, false},
		{param.TypeString, "", true},
	} {
		task := &plan.Task{Outputs: []plan.Output{{Name: "o", Type: c.kind, Required: true}}}
		if err := param.CheckOutputs(task, map[string]string{"o": c.value}); (err == nil) != c.ok {
			t.Errorf("%s %q: %v", c.kind, c.value, err)
		}
		if err := param.CheckOutputs(task, nil); err == nil {
			t.Error("a required output is missing and nobody says so")
		}
	}
}
