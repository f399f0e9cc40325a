package notify_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/formicary/formicary/libs/jobspec/notify"
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

func TestNotify(t *testing.T) {
	for text, c := range map[string]struct {
		want  []plan.Notify
		fault string
	}{
		"{email: {recipients: 'a@x.example, b@x.example', when: on_failure}}": {[]plan.Notify{{Channel: "email", Recipients: []string{"a@x.example", "b@x.example"}, When: plan.OnFailure}}, source.CodeReadAs},
		"{slack: '#a'}": {[]plan.Notify{{Channel: "slack", Recipients: []string{"#a"}, When: plan.Always}}, ""},
		"[{channel: webhook, recipients: ['https://x.example/a,b']}]": {[]plan.Notify{{Channel: "webhook", Recipients: []string{"https://x.example/a,b"}, When: plan.Always}}, ""},
		"{email: nobody}":         {[]plan.Notify{{Channel: "email", When: plan.Always}}, source.CodeInvalidValue},
		"{pager: x}":              {nil, source.CodeUnknownField},
		"{email: {when: always}}": {[]plan.Notify{{Channel: "email", When: plan.Always}}, source.CodeMissingField},
	} {
		r, p := open(t, "v: "+text)
		if diff := cmp.Diff(c.want, notify.Read(r, p)); diff != "" || codes(r) != c.fault {
			t.Errorf("%s: %s %v", text, diff, r.Collector.List)
		}
	}
}

func TestWebhook(t *testing.T) {
	for text, fault := range map[string]string{
		"https://x.example": "", "{url: 'https://x.example', headers: {A: b}, query: {c: d}}": "", "ftp://x": source.CodeInvalidValue, "{headers: {A: b}}": source.CodeMissingField,
	} {
		r, p := open(t, "v: "+text)
		if w := notify.Webhook(r, p); codes(r) != fault || fault == "" && w.URL != "https://x.example" {
			t.Errorf("%s: %+v %v", text, w, r.Collector.List)
		}
	}
}
