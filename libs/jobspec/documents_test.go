package jobspec_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/formicary/formicary/libs/jobspec"
)

func TestDocuments(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string // "line:text" of each document
	}{
		"nothing":                     {"", nil},
		"comments only":               {"# a\n\n---\n# b\n", nil},
		"one stays as it is":          {"# who\n---\njob_type: a\n", []string{"1:# who\n---\njob_type: a\n"}},
		"one without line end":        {"job_type: a", []string{"1:job_type: a"}},
		"two":                         {"a: 1\n---\nb: 2\n", []string{"1:a: 1\n", "3:b: 2\n"}},
		"marker first":                {"---\na: 1\n---\nb: 2\n", []string{"1:---\na: 1\n", "4:b: 2\n"}},
		"empty ones":                  {"a: 1\n---\n---\n# c\n---\nb: 2\n---\n", []string{"1:a: 1\n", "6:b: 2\n"}},
		"comment at the marker":       {"a: 1\n--- # next\nb: 2\n", []string{"1:a: 1\n", "3:b: 2\n"}},
		"content at the marker":       {"a: 1\n--- {b: 2}\n", []string{"1:a: 1\n", "2:--- {b: 2}\n"}},
		"ended":                       {"a: 1\n...\n# c\n---\nb: 2\n", []string{"1:a: 1\n", "5:b: 2\n"}},
		"CRLF":                        {"a: 1\r\n---\r\nb: 2\r\n", []string{"1:a: 1\r\n", "3:b: 2\r\n"}},
		"byte order mark":             {"\uFEFF---\na: 1\n---\nb: 2\n", []string{"1:\uFEFF---\na: 1\n", "4:b: 2\n"}},
		"directive":                   {"%YAML 1.2\n---\na: 1\n", []string{"1:%YAML 1.2\n---\na: 1\n"}},
		"no marker":                   {"a: |\n  ---\n  x\n----\n---x\n", []string{"1:a: |\n  ---\n  x\n----\n---x\n"}},
		"in a comment of a template":  {"{{/* x\n---\n}} */}}\na: 1\n---\nb: 2\n", []string{"1:{{/* x\n---\n}} */}}\na: 1\n", "6:b: 2\n"}},
		"in an action":                {"a: {{print `\n---\n`}}\n---\nb: 2\n", []string{"1:a: {{print `\n---\n`}}\n", "5:b: 2\n"}},
		"after actions of one line":   {"a: {{.x}}{{- /* c */ -}}\n---\nb: {{.y}}\n", []string{"1:a: {{.x}}{{- /* c */ -}}\n", "3:b: {{.y}}\n"}},
		"trimming comment over lines": {"{{- /* x\n---\n*/ -}}\na: 1\n", []string{"1:{{- /* x\n---\n*/ -}}\na: 1\n"}},
	} {
		docs, err := jobspec.Documents("f.yaml", []byte(c.text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var got []string
		for _, d := range docs {
			got = append(got, fmt.Sprintf("%d:%s", d.Line, d.Text))
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	_, err := jobspec.Documents("f.yaml", []byte(strings.Repeat("a: 1\n---\n", 1001)))
	expectProblems(t, err, "f.yaml:2001:1: the file has too many documents")
}

// TestDocumentsKeepTheirLines parses a document in the middle of a file: whatever names a line names that of the file.
func TestDocumentsKeepTheirLines(t *testing.T) {
	file := "job_type: a\ntasks: [{task_type: t, method: SHELL, script: x}]\n---\n"
	for _, c := range []struct{ text, want string }{
		{"job_type: b\ntasks:\n  - {task_type: t, method: SHELL, skript: x, script: x}\n", "f.yaml:6:35: "},
		{"job_type: b\ntasks:\n  - {task_type: 't{{.x}}', method: SHELL, skript: x, script: x}\n", "f.yaml:6:43: "},
		{"job_type: b\nx: [\n", "f.yaml:5:1: the text is no YAML"},
		{"job_type: b\ntasks: {{if}}\n", "f.yaml:5:8: "},
		{"job_type: b\ntasks: \x01\n", "f.yaml:5:8: "},
		{"job_type: b\ntasks:\n  - {task_type: t, method: SHELL, script: x}\n  - {task_type: t, method: SHELL, script: x}\n", "f.yaml:7:17: the task \"t\" is defined in line 6 already"},
		{"job_type: b\ntasks: [{task_type: t, method: SHELL, script: x}]\njob_type: b\n", "f.yaml:6:1: the key \"job_type\" stands in line 4 already"},
	} {
		docs, err := jobspec.Documents("f.yaml", []byte(file+c.text))
		if err != nil || len(docs) != 2 {
			t.Fatalf("%d documents, %v", len(docs), err)
		}
		if _, _, err := docs[0].Parse("f.yaml"); err != nil {
			t.Error(err)
		}
		_, _, err = docs[1].Parse("f.yaml")
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%q: %v, want %s", c.text, err, c.want)
		}
	}
}
