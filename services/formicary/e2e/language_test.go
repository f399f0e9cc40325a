package e2e

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestEveryField takes a definition that uses every field of the language through all that reads definitions.
func TestEveryField(t *testing.T) {
	w := newWorld(t)
	w.embedded()
	file, err := filepath.Abs("../../../libs/jobspec/testdata/every_field.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const jobType = "io.formicary.every-field"
	expect := func(says string, args ...string) string {
		t.Helper()
		out, code := w.cli(args...)
		if code != 0 || !strings.Contains(out, says) {
			t.Errorf("formicary %s: exit code %d, wanted %q in %.2000s", strings.Join(args, " "), code, says, out)
		}
		return out
	}
	expect("", "job", "lint", file)
	expect("version 1 of a new job", "job", "plan", file, "-p", "branch=main")
	expect("flowchart", "job", "graph", file, "-p", "branch=main", "-o", "mermaid")
	expect("digraph", "job", "graph", file, "-p", "branch=main", "-o", "dot")
	wellFormed(t, expect("<svg", "job", "graph", file, "-p", "branch=main", "-o", "svg"))

	if _, err := w.call(http.MethodPost, "/api/v1/jobs/definitions", "application/yaml", text, nil); err != nil {
		t.Fatal(err)
	}
	var stored struct {
		Definition struct {
			YAML         string `json:"yaml"`
			Version      int    `json:"version"`
			SemVersion   string `json:"sem_version"`
			PublicPlugin bool   `json:"public_plugin"`
		} `json:"definition"`
	}
	if _, err := w.call(http.MethodGet, "/api/v1/jobs/definitions/"+jobType, "application/json", nil, &stored); err != nil {
		t.Fatal(err)
	}
	if d := stored.Definition; d.YAML != string(text) || d.Version != 1 || d.SemVersion != "1.2.3-rc1" || !d.PublicPlugin {
		t.Errorf("stored as version %d (%s), plugin %t, text equal: %t", d.Version, d.SemVersion, d.PublicPlugin, d.YAML == string(text))
	}
	var plan struct {
		Stored string `json:"stored"`
		Tasks  []struct {
			Name, Method, Placement string
		} `json:"tasks"`
	}
	if err := json.Unmarshal([]byte(expect("", "job", "plan", file, "-p", "branch=main", "-o", "json")), &plan); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(plan.Stored, "is stored already") || len(plan.Tasks) < 20 {
		t.Errorf("plan of the stored text: %s, %d tasks", plan.Stored, len(plan.Tasks))
	}
	for _, task := range plan.Tasks {
		nowhere := task.Method == "KUBERNETES" || task.Method == "DOCKER"
		if task.Placement == "" || nowhere && !strings.HasPrefix(task.Placement, "no ant offers "+task.Method) {
			t.Errorf("task %s (%s) can be placed: %q", task.Name, task.Method, task.Placement)
		}
	}
	expect("flowchart", "job", "graph", jobType, "-o", "mermaid", "-p", "branch=main")
	w.schema(expect("$schema", "schema"))
	w.audit()
}

// schema compares the JSON Schema that the server serves with that of the command line.
func (w *world) schema(printed string) {
	w.t.Helper()
	var served, local struct {
		Schema     string         `json:"$schema"`
		Properties map[string]any `json:"properties"`
	}
	if _, err := w.call(http.MethodGet, "/api/v1/jobs/schema", "", nil, &served); err != nil {
		w.t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(printed), &local); err != nil {
		w.t.Fatal(err)
	}
	if served.Schema == "" || served.Properties["tasks"] == nil || len(served.Properties) != len(local.Properties) {
		w.t.Errorf("served a schema %q with %d properties, printed one with %d", served.Schema, len(served.Properties), len(local.Properties))
	}
}

// wellFormed reads XML to its end.
func wellFormed(t *testing.T, text string) {
	t.Helper()
	for d := xml.NewDecoder(strings.NewReader(text)); ; {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Errorf("SVG: %v", err)
			return
		}
	}
}
