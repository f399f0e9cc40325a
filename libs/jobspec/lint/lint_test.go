package lint_test

import (
	"testing"

	"github.com/formicary/formicary/libs/jobspec/lint"
	"github.com/formicary/formicary/libs/jobspec/param"
	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/template"
)

// open renders a text whose variables are not known.
func open(t *testing.T, text string) (*read.Reader, *template.Taint) {
	t.Helper()
	lines, c := source.NewLines([]byte(text)), &source.Collector{File: "f"}
	program := template.Compile(text, c, lines)
	if program == nil {
		t.Fatalf("%q is no template: %v", text, c.List)
	}
	s := &template.Scope{Lenient: true}
	shape := template.Run(program, s, template.GuessYes, lines)
	shape.Parse(lines)
	if shape.Root == nil {
		t.Fatalf("%q is no YAML: %v", text, shape.Problems)
	}
	return &read.Reader{Collector: c, Program: program, Source: lines, Shape: shape, Machine: template.NewMachine(s)}, template.TaintOf(program)
}

// said are the codes and the variables of the problems.
func said(r *read.Reader) string {
	out := ""
	for _, p := range r.Collector.List {
		out += p.Code + " " + p.Field + ";"
	}
	return out
}

func TestScripts(t *testing.T) {
	job := lint.Job{Params: []param.Param{
		{Name: "text"}, {Name: "count", Type: param.TypeInt}, {Name: "tag", Pattern: "v[0-9]+"}, {Name: "loose", Pattern: "v.*"}, {Name: "mode", Enum: []string{"a"}},
	}}
	for text, want := range map[string]string{
		"tasks: [{script: 'echo {{.text}}'}]":                                          "UNTRUSTED_IN_SCRIPT text;",
		"tasks: [{script: 'echo {{.loose}}'}]":                                         "UNTRUSTED_IN_SCRIPT loose;",
		"tasks: [{script: ['a', 'echo {{.other}}']}]":                                  "UNTRUSTED_IN_SCRIPT other;",
		"tasks: [{script: 'echo {{.text | shellquote}} {{.count}}{{.tag}}{{.mode}}'}]": "",
		"tasks: [{script: 'echo {{.JobID}}'}]":                                         "",
		"tasks: [{method: HTTP_GET, script: 'echo {{.text}}'}]":                        "",
		"{variables: {v: 'x{{.text}}'}, tasks: [{script: 'echo {{.v}}'}]}":             "UNTRUSTED_IN_SCRIPT v;",
		"{variables: {v: 'x{{.count}}'}, tasks: [{script: 'echo {{.v}}'}]}":            "",
		"tasks: [{outputs: [o]}, {script: 'echo {{.o}}'}]":                             "",
		"tasks: [{environment: {A: '{{.text}}'}}]":                                     "",
		"script: '{{.text}}'":                                                          "",
	} {
		r, taint := open(t, text)
		if lint.Warn(r, taint, job); said(r) != want {
			t.Errorf("%s: %q, want %q", text, said(r), want)
		}
	}
}

// TestNeeded judges what must be known when the job starts by who gives it.
func TestNeeded(t *testing.T) {
	for name, want := range map[string]string{"o": "UNDEFINED_VARIABLE o;", "q": "", "item": "UNDEFINED_VARIABLE item;", "other": ""} {
		r, taint := open(t, "tasks: [{outputs: [o, q]}, {retry: '{{."+name+"}}'}]")
		at := r.Shape.Root.Get("tasks").Items[1].Get("retry")
		lint.Warn(r, taint, lint.Job{Required: []string{"q"}, Needed: []read.Needed{{Node: at, Items: []string{"item"}}}})
		if said(r) != want {
			t.Errorf("%s: %q, want %q", name, said(r), want)
		}
	}
}

// TestUnset tells once of a variable that nothing gives, in a file of the existing system only.
func TestUnset(t *testing.T) {
	for _, c := range []struct {
		name       string
		old, blank bool
		want       string
	}{
		{"none", true, false, "READ_AS ;UNDEFINED_VARIABLE none;"},
		{"none", true, true, "READ_AS ;"},
		{"none", false, false, ""},
		{"id", true, false, "READ_AS ;"},
		{"own", true, false, "READ_AS ;"},
		{"JobID", true, false, "READ_AS ;"},
	} {
		r, taint := open(t, "tasks: [{task_variables: {own: 1}, environment: {A: '{{."+c.name+"}}', B: '{{."+c.name+"}}'}}]")
		r.Blank = c.blank
		if c.old {
			r.Collector.Add(source.Problem{Code: source.CodeReadAs, Warning: true})
		}
		if lint.Warn(r, taint, lint.Job{Required: []string{"id"}}); said(r) != c.want {
			t.Errorf("%+v: %q", c, said(r))
		}
	}
}
