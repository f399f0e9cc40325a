package jobspec_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/condition"
	"github.com/formicary/formicary/libs/jobspec/environ"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// seeds are definitions of all kinds, right and wrong.
func seeds() []string {
	list := []string{
		hello, oneTask, typedParams, fanIn(3), wide,
		"job_type: j\ntasks:\n{{range $i := Iterate 3}}\n- {task_type: 'a{{$i}}', method: SHELL, script: x}\n{{end}}\n",
		"job_type: j\ntasks:\n  - task_type: a\n    method: {{if .x}}SHELL{{else}}HTTP_GET{{end}}\n    script: ['{{.y}}']\n",
		"a: &a [*a]\n", "{{define \"a\"}}{{template \"a\"}}{{end}}{{template \"a\"}}", "a: {{.x", "\r\n\u2028a: b", "? {a: b}\n: c\n",
		flowJob("method: SHELL\nscript: '{{.item}}{{.x}}'\nfan_out: {source: y, min_success: 50%}\nexcept: params.item == '1'"),
		flowJob("fan_out: {items: ['{{.x}}', 1], fork_job_type: 'a{{.n}}'}\nwhen: params.n == 2"),
		flowJob("method: SHELL\nscript: x\nmatrix: {a: {{.y}}, b: [1, 2], exclude: [{a: '1'}], include: [{a: 3, c: {d: [1]}}]}"),
		"job_type: j\ntasks:\n- <<: {task_type: a, method: SHELL, script: x}\n", "job_type: {{.x}}{{$x := .}}{{$x.a}}", "!!binary x",
	}
	for _, c := range hostile() {
		if len(c.text) < 2000 {
			list = append(list, c.text)
		}
	}
	return list
}

// FuzzParse reads anything. Faults lie inside of the text, and what is accepted renders or says why not.
func FuzzParse(f *testing.F) {
	for _, text := range seeds() {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		def, _, err := jobspec.Parse("f", []byte(text))
		if err != nil {
			checkPlaces(t, text, err)
			return
		}
		vars := value.Vars{"x": "a: b\n- c", "y": []any{"1", 2}, "n": 2, "JobID": "j", "EpochSecs": 1}
		p, err := def.Plan(vars)
		if err != nil {
			checkPlaces(t, text, err)
			return
		}
		if len(p.Tasks) == 0 || p.JobType != def.JobType {
			t.Errorf("%+v", p)
		}
		for i := range p.Tasks[:min(len(p.Tasks), 10)] {
			task, err := def.Task(p.Tasks[i].Name, p.Vars)
			if err == nil && task.Name != p.Tasks[i].Name {
				t.Errorf("asked for %q, got %q", p.Tasks[i].Name, task.Name)
			}
			environ.Of(&p.Tasks[i], p.Vars)
			decideAny(t, text, def, p.Tasks[i].Name, p.Vars)
		}
		if _, err := def.StartClasses(vars); err != nil {
			t.Errorf("planned, but no classes: %v", err)
		}
	})
}

// decideAny decides a task and renders its first item.
func decideAny(t *testing.T, text string, def *jobspec.Definition, name string, vars value.Vars) {
	t.Helper()
	d, err := def.Decide(name, vars, condition.Facts{Vars: vars})
	if err != nil {
		checkPlaces(t, text, err)
		return
	}
	if len(d.Items) == 0 {
		return
	}
	for _, render := range []func() error{
		func() error { _, err := def.Item(name, d.Items[0], 0, vars); return err },
		func() error {
			_, err := def.DecideItem(name, d.Items[0], 0, vars, condition.Facts{Vars: vars})
			return err
		},
	} {
		if err := render(); err != nil {
			checkPlaces(t, text, err)
		}
	}
}

func checkPlaces(t *testing.T, text string, err error) {
	t.Helper()
	var ps source.Problems
	if !errors.As(err, &ps) || len(ps) == 0 {
		t.Fatalf("no problems: %v", err)
	}
	lines := strings.Count(text, "\n") + 1
	for _, p := range ps {
		if p.Line < 0 || p.Line > lines || p.Line > 0 && p.Column < 1 || p.Column > len(text)+2 || p.Code == "" || p.Message == "" {
			t.Errorf("place %d:%d of %d lines: %s", p.Line, p.Column, lines, p)
		}
		if strings.Contains(p.String(), "\uE0F0") {
			t.Errorf("a token is shown: %s", p)
		}
	}
}

// FuzzPlan renders a value in every kind of YAML scalar: it arrives as it is and changes nothing else.
func FuzzPlan(f *testing.F) {
	def := parse(f, `job_type: j
tasks:
  - task_type: a
    method: SHELL
    environment:
      PLAIN: {{.x}}
      DOUBLE: "{{.x}}"
      SINGLE: '{{.x}}'
      MIXED: "a{{.x}}b{{.x}}"
      FLOW: {{print .x}}
    script: [ {{.x}}, "{{.x}}", x {{.x}} ]
    after_script:
      - |
        {{.x}}
        end
      - >-
        {{.x}}
`)
	for _, x := range []string{"", "x", "a: b", "\n- x", "\"", "'", "\\", "{{.x}}", "\uE0F00\uE0F1", "\x00", "\xff", "# x", "\r\n\t", "]}", "true", "1e3", "~"} {
		f.Add(x)
	}
	f.Fuzz(func(t *testing.T, x string) {
		if len(x) > 100_000 {
			t.Skip()
		}
		p, err := def.Plan(value.Vars{"x": x})
		if err != nil {
			t.Fatal(err)
		}
		spec := p.Tasks[0].Spec
		want := map[string]string{"PLAIN": x, "DOUBLE": x, "SINGLE": x, "MIXED": "a" + x + "b" + x, "FLOW": x}
		if diff := cmp.Diff(want, spec.Environment); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{x, x, "x " + x}, spec.Script); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{x + "\nend\n", x}, spec.AfterScript); diff != "" {
			t.Error(diff)
		}
		if len(p.Tasks) != 1 || p.Tasks[0].Method != "SHELL" || spec.WorkingDir != "" {
			t.Errorf("%+v", p)
		}
	})
}

// FuzzTemplate evaluates any expression: it ends, and says where it fails without the value.
func FuzzTemplate(f *testing.F) {
	for _, e := range []string{
		".x", "printf \"%s\" .x", "index .m \"k\"", "range Iterate 3}}{{.}}{{end", "if .x}}a{{else}}b{{end", "join (split .x \",\") \"-\"", "semverCompare \">1\" .x",
		"fromJson .x", "replace .x .x .x", "slice .x 1", "$y := .x}}{{$y", "with .m}}{{.k}}{{end", "FormatTime .x", "printf .x 1 2",
	} {
		f.Add(e, "v1")
	}
	f.Fuzz(func(t *testing.T, expression, x string) {
		const secret = "canary-8472"
		text := "job_type: j\ntasks:\n  - task_type: a\n    method: SHELL\n    script: x\n    description: '{{" + expression + "}}'\n"
		def, _, err := jobspec.Parse("f", []byte(text))
		if err == nil {
			_, err = def.Plan(value.Vars{"x": secret + x, "m": map[string]any{"k": secret}})
		}
		if err != nil && strings.Contains(err.Error(), secret) && !strings.Contains(expression, secret) {
			t.Errorf("the value is shown: %v", err)
		}
		if err != nil && utf8.ValidString(text) && !bytes.Contains([]byte(text), []byte("\uE0F0")) {
			checkPlaces(t, text, err)
		}
	})
}

// FuzzKey lets a value name a variable: it names one variable, or is refused.
func FuzzKey(f *testing.F) {
	def := parse(f, "job_type: j\ntasks:\n  - {task_type: a, method: SHELL, script: x, environment: {'{{.x}}': a, 'P_{{.x}}': b, FIXED: c}, headers: ['{{.x}}=d']}\n")
	for _, x := range []string{"A", "", "a b", "x\nprivileged: true", "LD_PRELOAD", "FIXED", "a=b", "\uE0F00\uE0F1", "{{.x}}", strings.Repeat("k", 99), "é"} {
		f.Add(x)
	}
	f.Fuzz(func(t *testing.T, x string) {
		p, err := def.Plan(value.Vars{"x": x})
		if err != nil {
			if len(x) > 8 && strings.Contains(err.Error(), x) {
				t.Errorf("the value is shown: %v", err)
			}
			return
		}
		spec := p.Tasks[0].Spec
		want := map[string]string{x: "a", "P_" + x: "b", "FIXED": "c"}
		if diff := cmp.Diff(want, spec.Environment); diff != "" || len(want) != 3 {
			t.Error(diff)
		}
		if diff := cmp.Diff(map[string]string{x: "d"}, spec.Headers); diff != "" {
			t.Error(diff)
		}
	})
}
