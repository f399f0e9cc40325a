package param_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/formicary/formicary/libs/jobspec/param"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/jobspec/value"
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
		"[{name: a, type: secret, default: x}]":         source.CodeConflict,
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

func TestCheck(t *testing.T) {
	d := param.Declared{
		Params:   []param.Param{{Name: "n", Type: param.TypeInt, Default: int64(3)}, {Name: "r", Type: param.TypeString, Required: true}, {Name: "j", Type: param.TypeJSON}},
		Required: []string{"id", "own"}, Given: value.Vars{"own": 1},
	}
	for _, c := range []struct {
		params, want value.Vars
		fault        string
	}{
		{value.Vars{"id": "1", "r": "x"}, value.Vars{"id": "1", "r": "x", "n": int64(3)}, ""},
		{value.Vars{"id": "1", "r": "x", "n": "7", "free": true}, value.Vars{"id": "1", "r": "x", "n": int64(7), "free": true}, ""},
		{value.Vars{"id": "1"}, nil, source.CodeMissingParam + " r"},
		{value.Vars{"r": "x"}, nil, source.CodeMissingParam + " id"},
		{value.Vars{"id": "1", "r": "x", "n": "seven"}, nil, source.CodeInvalidParam + " n"},
		{value.Vars{"id": "1", "r": "a\x00"}, nil, source.CodeInvalidParam + " r"},
		{value.Vars{"id": "1", "r": "x", "a=b": 1}, nil, source.CodeInvalidParam + " a=b"},
	} {
		got, fault := &source.Collector{}, ""
		out := param.Check(got, c.params, d, nil)
		for _, p := range got.List {
			fault += p.Code + " " + p.Field
		}
		if fault != c.fault || c.want != nil && !cmp.Equal(c.want, out) {
			t.Errorf("%v: %v %q", c.params, out, fault)
		}
	}
	// What is parsed already is no JSON.
	given := value.Vars{"id": "1", "r": "x", "j": "[1]"}
	for parsed, want := range map[bool]any{true: "[1]", false: []any{int64(1)}} {
		if out := param.Check(&source.Collector{}, given, d, map[string]bool{"j": parsed}); !cmp.Equal(want, out["j"]) {
			t.Errorf("%v: %v", parsed, out["j"])
		}
	}
}
