package fanout_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/formicary/formicary/libs/jobspec/fanout"
	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// open reads a text without templates.
func open(t *testing.T, text string, vars value.Vars) (*read.Reader, *source.Node) {
	t.Helper()
	lines := source.NewLines([]byte(text))
	shape := &template.Shape{Text: []byte(text)}
	shape.Parse(lines)
	if shape.Root == nil {
		t.Fatalf("%q is no YAML: %v", text, shape.Problems)
	}
	r := &read.Reader{Collector: &source.Collector{File: "f"}, Source: lines, Shape: shape, Machine: template.NewMachine(&template.Scope{Vars: vars})}
	return r, shape.Root
}

// codes are those of the problems.
func codes(r *read.Reader) string {
	out := ""
	for _, p := range r.Collector.List {
		out += p.Code
	}
	return out
}

func TestMatrix(t *testing.T) {
	for text, c := range map[string]struct {
		want  fanout.List
		fault string
	}{
		"{os: [a, b]}": {fanout.List{
			Items: []any{map[string]any{"os": "a"}, map[string]any{"os": "b"}}, Known: true, Labels: [][]any{{"a"}, {"b"}},
		}, ""},
		"{os: [a, b], n: [c], exclude: [{os: a}], include: [{more: d, os: b}, {os: e}]}": {fanout.List{
			Items: []any{map[string]any{"os": "b", "n": "c", "more": "d"}, map[string]any{"os": "e"}}, Known: true, Labels: [][]any{{"b", "c"}, {"e"}},
		}, ""},
		"[a]":                     {fanout.List{}, source.CodeInvalidType},
		"{os: a}":                 {fanout.List{}, source.CodeInvalidType},
		"{os: []}":                {fanout.List{}, source.CodeInvalidValue},
		"{os: [a], include: [b]}": {fanout.List{Items: []any{map[string]any{"os": "a"}}, Known: true, Labels: [][]any{{"a"}}}, source.CodeInvalidType},
	} {
		r, root := open(t, "v: "+text, nil)
		if diff := cmp.Diff(c.want, fanout.Matrix(r, root.Get("v"))); diff != "" || codes(r) != c.fault {
			t.Errorf("%s: %s %v", text, diff, r.Collector.List)
		}
	}
}

func TestLists(t *testing.T) {
	ab := fanout.List{Items: []any{"a", "b"}, Known: true}
	vars := value.Vars{"list": []any{"a", "b"}, "text": `["a", "b"]`, "no": "a, b", "one": int64(1)}
	inline := func(r *read.Reader, n *source.Node) (string, fanout.List) { return "", fanout.Inline(r, n) }
	for _, c := range []struct {
		read     func(r *read.Reader, n *source.Node) (string, fanout.List)
		text     string
		variable string
		want     fanout.List
		fault    string
	}{
		{inline, "[a, b]", "", ab, ""},
		{inline, `'["a", "b"]'`, "", ab, ""},
		{inline, "a", "", fanout.List{}, source.CodeInvalidType},
		{inline, "{a: b}", "", fanout.List{}, source.CodeInvalidType},
		{fanout.Source, "list", "list", ab, ""},
		{fanout.Source, "text", "text", ab, ""},
		{fanout.Source, "later", "later", fanout.List{}, ""},
		{fanout.Source, "no", "no", fanout.List{}, source.CodeInvalidType},
		{fanout.Source, "one", "one", fanout.List{}, source.CodeInvalidType},
		{fanout.Source, "a b", "", fanout.List{}, source.CodeInvalidValue},
	} {
		r, root := open(t, "v: "+c.text, vars)
		variable, list := c.read(r, root.Get("v"))
		if diff := cmp.Diff(c.want, list); diff != "" || variable != c.variable || codes(r) != c.fault {
			t.Errorf("%s: %q %s %v", c.text, variable, diff, r.Collector.List)
		}
	}
}

func TestVariables(t *testing.T) {
	for text, want := range map[string][]string{
		"script: x":                         nil,
		"fan_out: {source: s}":              {plan.DefaultItemVar, template.VarFanOutIndex},
		"fan_out: {items: [], item_var: i}": {"i", template.VarFanOutIndex},
		"matrix: {a: [1], include: [{b: 2}], exclude: [{c: 3}]}": {"matrix", template.VarFanOutIndex, "a", "b"},
	} {
		r, root := open(t, text, nil)
		names := fanout.Variables(root)
		if diff := cmp.Diff(want, names); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
		fanout.Hide(r, names)
		if len(r.Machine.Scope.Item) != len(want) {
			t.Errorf("%s: %v are hidden", text, r.Machine.Scope.Item)
		}
	}
}

func TestMinSuccess(t *testing.T) {
	for text, c := range map[string]struct {
		want  plan.FanOut
		fault string
	}{
		"3":    {plan.FanOut{MinSuccess: 3}, ""},
		"90%":  {plan.FanOut{MinSuccessPercent: 90}, ""},
		"101%": {plan.FanOut{}, source.CodeInvalidValue},
		"0":    {plan.FanOut{}, source.CodeInvalidValue},
	} {
		r, root := open(t, "v: "+text, nil)
		var got plan.FanOut
		fanout.MinSuccess(r, &got, root.Get("v"))
		if diff := cmp.Diff(c.want, got); diff != "" || codes(r) != c.fault {
			t.Errorf("%s: %s %v", text, diff, r.Collector.List)
		}
	}
}
