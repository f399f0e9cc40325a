package read_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/template"
)

// open reads a text without templates: the node of its key v.
func open(t *testing.T, text string) (*read.Reader, *source.Node) {
	t.Helper()
	lines := source.NewLines([]byte(text))
	shape := &template.Shape{Text: []byte(text)}
	shape.Parse(lines)
	if shape.Root == nil {
		t.Fatalf("%q is no YAML: %v", text, shape.Problems)
	}
	return &read.Reader{
		Collector: &source.Collector{File: "f"}, Source: lines, Shape: shape, Machine: template.NewMachine(&template.Scope{}),
	}, shape.Root.Get("v")
}

func TestSingleValues(t *testing.T) {
	flag := func(r *read.Reader, n *source.Node) any { return r.Flag(n) }
	whole := func(r *read.Reader, n *source.Node) any { v, _ := r.Integer(n, 1, 10); return v }
	number := func(r *read.Reader, n *source.Node) any { return r.Number(n, 0, 2) }
	duration := func(r *read.Reader, n *source.Node) any { return r.Duration(n) }
	cpu := func(r *read.Reader, n *source.Node) any { return r.CPU(n) }
	memory := func(r *read.Reader, n *source.Node) any { return r.Memory(n) }
	word := func(r *read.Reader, n *source.Node) any { return r.OneOf(n, "other", []string{"one", "Two"}) }
	for _, c := range []struct {
		read  func(r *read.Reader, n *source.Node) any
		text  string
		want  any
		fault string
	}{
		{flag, "Yes", true, ""},
		{flag, "'off'", false, ""},
		{flag, "maybe", false, source.CodeInvalidValue},
		{flag, "[true]", false, source.CodeInvalidType},
		{whole, "7", 7, ""},
		{whole, "11", 1, source.CodeInvalidValue},
		{whole, "1.5", 1, source.CodeInvalidValue},
		{number, "1.5", 1.5, ""},
		{number, "NaN", 0.0, source.CodeInvalidValue},
		{duration, "1d2h", 26 * time.Hour, ""},
		{duration, "0", time.Duration(0), ""},
		{duration, "90", time.Duration(0), source.CodeInvalidValue},
		{duration, "-1s", time.Duration(0), source.CodeInvalidValue},
		{duration, "366d", time.Duration(0), source.CodeInvalidValue},
		{cpu, "500m", int64(500), ""},
		{cpu, "0.5", int64(500), ""},
		{cpu, "0", int64(0), source.CodeInvalidValue},
		{memory, "512Mi", int64(512 << 20), ""},
		{memory, "1G", int64(1e9), ""},
		{memory, "2gb", int64(2 << 30), source.CodeReadAs},
		{memory, "much", int64(0), source.CodeInvalidValue},
		{word, "TWO", "Two", ""},
		{word, "three", "other", source.CodeInvalidValue},
	} {
		r, n := open(t, "v: "+c.text)
		got := c.read(r, n)
		fault := ""
		for _, p := range r.Collector.List {
			fault += p.Code
		}
		if got != c.want || fault != c.fault {
			t.Errorf("%s: %v %q, want %v %q", c.text, got, fault, c.want, c.fault)
		}
	}
}

// TestValuesKeepWhatIsWritten gives plain text its type only where it prints as it was written.
func TestValuesKeepWhatIsWritten(t *testing.T) {
	for text, want := range map[string]any{
		"5": int64(5), "1.5": 1.5, "1.10": "1.10", "0644": "0644", "true": true, "'true'": "true", "yes": "yes", "~": nil,
		"[1, a]": []any{int64(1), "a"}, "{a: 1}": map[string]any{"a": int64(1)},
	} {
		r, n := open(t, "v: "+text)
		if diff := cmp.Diff(want, r.Value(n)); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}

func TestNamedTexts(t *testing.T) {
	for text, want := range map[string]map[string]string{
		"{a: 1, b: x}":                    {"a": "1", "b": "x"},
		"[a=1, b=x=y]":                    {"a": "1", "b": "x=y"},
		"[{name: a, value: 1}, 'b=']":     {"a": "1", "b": ""},
		"~":                               nil,
		"[{name: a, value: {b: [1, 2]}}]": {"a": `{"b":[1,2]}`},
	} {
		r, n := open(t, "v: "+text)
		if diff := cmp.Diff(want, r.Texts(n)); diff != "" || len(r.Collector.List) > 0 {
			t.Errorf("%s: %s %v", text, diff, r.Collector.List)
		}
	}
	for _, text := range []string{"[a]", "[[a]]", "['=x']", "['a=1', 'a=2']"} {
		if r, n := open(t, "v: "+text); len(r.Texts(n)) > 1 || len(r.Collector.List) == 0 {
			t.Errorf("%s passes", text)
		}
	}
}

func TestTaskNames(t *testing.T) {
	for name, want := range map[string]bool{"a": true, "a.b-c_1": true, "": false, "-a": false, ".a": false, "a b": false, "ä": false} {
		if read.ValidTaskName(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}

func TestHeaders(t *testing.T) {
	for text, fault := range map[string]bool{"{A-b: c}": false, `{"a b": c}`: true, `{a: "b\nc"}`: true, `{a: "b\tc"}`: false} {
		r, n := open(t, "v: "+text)
		if r.Headers(n); (len(r.Collector.List) > 0) != fault {
			t.Errorf("%s: %v", text, fmt.Sprint(r.Collector.List))
		}
	}
}

func TestUndefinedVariables(t *testing.T) {
	for text, want := range map[string]struct {
		blank bool
		fault string
	}{"empty": {true, ""}, "'Strict'": {false, ""}, "blank": {false, source.CodeInvalidValue}} {
		r, n := open(t, "v: "+text)
		blank, fault := r.UndefinedVariables(n), ""
		for _, p := range r.Collector.List {
			fault += p.Code
		}
		if blank != want.blank || fault != want.fault {
			t.Errorf("%s: %v %q", text, blank, fault)
		}
	}
	for text, want := range map[string]bool{"a: 1\nundefined_variables: empty\n": true, `{"undefined_variables": "empty"}`: true, "undefined_variables: strict": false, "# undefined_variables: empty": false} {
		if read.BlankText([]byte(text)) != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
}

func TestOutcomes(t *testing.T) {
	for text, want := range map[string]string{"COMPLETED": "COMPLETED", "completed": "COMPLETED READ_AS", "3": "3", "exit:x": ""} {
		r, n := open(t, "v: "+text)
		key, _, err := r.Outcome(n.Text, n)
		for _, p := range r.Collector.List {
			key += " " + p.Code
		}
		if (err != nil) != (want == "") || err == nil && key != want {
			t.Errorf("%s: %q %v", text, key, err)
		}
	}
}

// TestMergedVariables refuses a name that stands in both mappings.
func TestMergedVariables(t *testing.T) {
	for text, want := range map[string]string{
		"{variables: {a: 1}}": "", "{job_variables: {a: 1}, variables: {b: 1}}": "READ_AS", "{job_variables: {a: 1}, variables: [{name: a, value: 1}]}": "READ_AS DUPLICATE_KEY",
	} {
		r, n := open(t, "v: "+text)
		r.MergedVariables(n)
		var got []string
		for _, p := range r.Collector.List {
			got = append(got, p.Code)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}
