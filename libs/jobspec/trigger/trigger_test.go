package trigger_test

import (
	"strings"
	"testing"

	"github.com/formicary/formicary/libs/jobspec/read"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/template"
	"github.com/formicary/formicary/libs/jobspec/trigger"
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

func TestTriggers(t *testing.T) {
	for text, fault := range map[string]string{
		"[{type: webhook, name: a, auth: {method: hmac_sha256, secret_config: s}}]": "",
		"[{type: s3, name: a, bucket: b, mode: notification}]":                      source.CodeMissingField,
		"[{type: queue, name: a, topic: t, bucket: b}]":                             source.CodeConflict,
		"[{type: queue, name: a, topic: t}, {type: queue, name: a, topic: t}]":      source.CodeDuplicateKey,
		"[{type: mail, name: a}]":                                                   source.CodeInvalidValue,
	} {
		r, p := open(t, "v: "+text)
		if trigger.Read(r, p.Value); codes(r) != fault {
			t.Errorf("%s: %v", text, r.Collector.List)
		}
	}
}

// TestMask hides the templates of triggers and no others, and moves nothing.
func TestMask(t *testing.T) {
	for text, want := range map[string]string{
		"triggers:\n- {params: {a: '{{.x}}'}}\n":       "triggers:\n- {params: {a: '<<.x>>'}}\n",
		"triggers:\n- {a: {b: {{.x}}}}\n":              "triggers:\n- {a: {b: <<.x>>}}\n",
		"triggers:\n- a: {{.x\n   }} {{.y}}\nb: {{c}}": "triggers:\n- a: <<.x\n   >> <<.y>>\nb: {{c}}",
	} {
		got := strings.NewReplacer(string(source.MaskOpen), "<", string(source.MaskClose), ">").Replace(string(trigger.Mask([]byte(text))))
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	const text = "a: {{.x}}\ntriggers:\n- filter: {{.y}}\n# c\n  params: {{.z}}\ntasks: {{.t}}\n"
	got := string(trigger.Mask([]byte(text)))
	if n := strings.Count(got, "{{"); n != 2 || strings.Contains(got, "{{.y}}") || !strings.Contains(got, "{{.x}}") || !strings.Contains(got, "{{.t}}") {
		t.Errorf("%q", got)
	}
	if len([]rune(got)) != len([]rune(text)) {
		t.Error("places have moved")
	}
}
