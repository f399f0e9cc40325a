package jobspec

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/formicary/formicary/libs/jobspec/schema"
	"github.com/formicary/formicary/libs/jobspec/source"
)

// nodesOf is what the reader makes of a document, without places.
func nodesOf(t *testing.T, doc *yaml.Node) any {
	t.Helper()
	text, err := yaml.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	c := &source.Collector{}
	root, nulls := source.ReadYAML(text, c, func(line, column int) (int, int) { return line, column })
	if root == nil {
		t.Fatal(c.List)
	}
	if nulls {
		root = schema.WithoutNulls(root, schema.JobRule())
	}
	return withoutPlaces(root)
}

func withoutPlaces(n *source.Node) any {
	switch n.Kind {
	case source.Null:
		return nil
	case source.List:
		out := []any{}
		for _, item := range n.Items {
			out = append(out, withoutPlaces(item))
		}
		return out
	case source.Map:
		out := map[string]any{}
		for _, p := range n.Pairs {
			out[p.Key] = withoutPlaces(p.Value)
		}
		return out
	case source.Scalar:
	}
	return n.Text
}

// fateOf is what becomes of a text, without places.
func fateOf(t *testing.T, text string) []string {
	t.Helper()
	def, warnings, err := Parse("job.yaml", []byte(text))
	var problems source.Problems
	if err != nil && !errors.As(err, &problems) {
		t.Fatal(err)
	}
	var out []string
	for _, p := range append(warnings, problems...) {
		out = append(out, p.Code+" "+p.Message+" "+p.Expected)
	}
	slices.Sort(out)
	if def == nil {
		return out
	}
	plan, err := def.Plan(nil)
	if err != nil {
		return append(out, err.Error())
	}
	raw, err := json.Marshal(plan)
	if err != nil {
		t.Fatal(err)
	}
	return append(out, string(raw), def.SemVersion, def.URL, def.Description)
}

// eachField calls back for each field of the language in a document, with the mapping and the place of its key.
func eachField(n *yaml.Node, rule *schema.Rule, path string, do func(path string, m *yaml.Node, at int)) {
	if rule == nil {
		return
	}
	switch n.Kind { //nolint:exhaustive // the others hold no fields
	case yaml.SequenceNode:
		for _, item := range n.Content {
			eachField(item, rule.Items, path+"[]", do)
		}
	case yaml.MappingNode:
		for i := 0; i < len(n.Content); i += 2 {
			key := n.Content[i].Value
			of, isField := rule.Fields[key]
			if !isField {
				of = rule.Values
			}
			eachField(n.Content[i+1], of, path+"."+key, do)
			if isField {
				do(path+"."+key, n, i)
			}
		}
	}
}

// TestNullIsAbsent makes each field of a definition that has all of them null, and takes it out: nobody sees a difference.
func TestNullIsAbsent(t *testing.T) {
	text, err := os.ReadFile("testdata/every_field.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	tried := map[string]bool{}
	eachField(doc.Content[0], schema.JobRule(), "", func(path string, m *yaml.Node, at int) {
		tried[path] = true
		value, content := m.Content[at+1], m.Content
		m.Content[at+1] = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "~"}
		null := nodesOf(t, &doc)
		m.Content = append(slices.Clone(content[:at]), content[at+2:]...)
		gone := nodesOf(t, &doc)
		m.Content = content
		m.Content[at+1] = value
		if diff := cmp.Diff(gone, null); diff != "" {
			t.Errorf("%s: null is not as without it: %s", path[1:], diff)
		}
	})
	for _, f := range schema.Task() {
		if path := ".tasks[]." + f.Name; !tried[path] && f.Name != "backoff" {
			t.Errorf("%s was not tried", path)
		}
	}
	for _, f := range schema.Job() {
		if path := "." + f.Name; !tried[path] && !slices.Contains([]string{"backoff", "variables"}, f.Name) {
			t.Errorf("%s was not tried", path)
		}
	}
}

// TestNullFieldsAreTaken reads each field alone.
func TestNullFieldsAreTaken(t *testing.T) {
	const job, task = "job_type: j\ntasks:\n  - {task_type: a, method: SHELL, script: x}\n", "job_type: j\ntasks:\n  - task_type: a\n    method: SHELL\n    script: x\n"
	for _, f := range schema.Job() {
		if f.Name != "job_type" && f.Name != "tasks" {
			if diff := cmp.Diff(fateOf(t, job), fateOf(t, job+f.Name+": ~\n")); diff != "" {
				t.Errorf("%s of the job: %s", f.Name, diff)
			}
		}
	}
	for _, f := range schema.Task() {
		if !slices.Contains([]string{"task_type", "method", "script"}, f.Name) {
			if diff := cmp.Diff(fateOf(t, task), fateOf(t, task+"    "+f.Name+": ~\n")); diff != "" {
				t.Errorf("%s of a task: %s", f.Name, diff)
			}
		}
	}
	for _, missing := range []string{"job_type: ~\ntasks: [{task_type: a, method: SHELL, script: x}]\n", "job_type: j\ntasks: ~\n", "job_type: j\ntasks: [{task_type: ~, method: SHELL, script: x}]\n"} {
		if fate := fateOf(t, missing); len(fate) == 0 || !strings.HasPrefix(fate[0], source.CodeMissingField) {
			t.Errorf("%s: %v", missing, fate)
		}
	}
}

func TestNullOfOtherKeysStays(t *testing.T) {
	_, _, err := Parse("job.yaml", []byte("job_type: j\nfoo: ~\nretry: ~\ntimeout:\ntimeouts: {bar: ~, run: null}\ntasks: [{task_type: a, method: SHELL, script: x, retry: ~, nothing: ~}]\n"))
	if err == nil || strings.Count(err.Error(), source.CodeUnknownField) != 3 {
		t.Error(err)
	}
	def, _, err := Parse("job.yaml", []byte(`job_type: j
job_variables: &all {a: ~, b: [~]}
tasks:
- {task_type: a, method: SHELL, script: x, retry: ~, variables: *all, environment: {E: ~}, fan_out: {items: [~, 1]}}
- &base {task_type: b, method: SHELL, script: x, retry: 3}
- {<<: *base, task_type: c, retry: ~}
`))
	if err != nil {
		t.Fatal(err)
	}
	p, err := def.Plan(nil)
	if err != nil {
		t.Fatal(err)
	}
	a := p.Tasks[0].Spec
	if v, ok := a.Variables["a"]; !ok || v != nil || a.Environment["E"] != "" || len(a.Environment) != 1 || len(p.Tasks[0].FanOut.Items) != 2 {
		t.Errorf("%+v", a)
	}
	if p.Tasks[1].Retry != 3 || p.Tasks[2].Retry != 0 {
		t.Errorf("retry %d %d", p.Tasks[1].Retry, p.Tasks[2].Retry)
	}
}
