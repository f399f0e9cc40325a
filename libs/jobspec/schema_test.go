package jobspec_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/schema"
	"github.com/formicary/formicary/libs/jobspec/source"
)

// compiledSchema is the schema as a validator.
func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema.JSON()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("job.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("job.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// asJSON reads YAML as an editor does; ok is false when it is none before it is rendered.
func asJSON(text []byte) (doc any, ok bool) {
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, false
	}
	return textKeys(doc), true
}

func textKeys(v any) any {
	switch v := v.(type) {
	case map[any]any:
		out := map[string]any{}
		for key, item := range v {
			out[fmt.Sprint(key)] = textKeys(item)
		}
		return out
	case map[string]any:
		for key, item := range v {
			v[key] = textKeys(item)
		}
	case []any:
		for i, item := range v {
			v[i] = textKeys(item)
		}
	}
	return v
}

func TestSchemaAcceptsDefinitions(t *testing.T) {
	schema := compiledSchema(t)
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	examples, err := filepath.Glob("../../services/formicary/examples/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, file := range append(files, examples...) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		doc, ok := asJSON(text)
		if !ok {
			t.Logf("%s is YAML only when it is rendered", file)
			continue
		}
		checked++
		if err := schema.Validate(doc); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	if checked == 0 {
		t.Error("nothing was checked")
	}
}

// TestSchemaRefuses changes one field of a good definition at a time. What the schema refuses the reader refuses too.
func TestSchemaRefuses(t *testing.T) {
	schema := compiledSchema(t)
	good, ok := asJSON([]byte(hello))
	if !ok || schema.Validate(good) != nil {
		t.Fatal(schema.Validate(good))
	}
	job := "job_type: j\n%s\ntasks:\n  - {task_type: a, method: SHELL, script: x}\n"
	task := "job_type: j\ntasks:\n  - task_type: a\n    method: SHELL\n    script: x\n    %s\n"
	for _, c := range []struct{ text, field string }{
		{job, "retrys: 3"},
		{job, "retry: -1"},
		{job, "retry: many"},
		{job, "timeout: 5"},
		{job, "timeout: soon"},
		{job, "priority: 101"},
		{job, "disabled: maybe"},
		{job, "cron_trigger: '* * *'"},
		{job, "schedule: [{timezone: UTC}]"},
		{job, "schedule: [{cron: '@daily', overlap: never}]"},
		{job, "notify: {pigeon: {recipients: [a]}}"},
		{job, "notify: {email: {recipients: [a@example.com], when: sometimes}}"},
		{job, "webhook: {headers: {a: b}}"},
		{job, "webhook: ftp://example.com"},
		{job, "triggers: [{type: pigeon, name: a}]"},
		{job, "triggers: [{type: webhook}]"},
		{job, "params: [{type: int}]"},
		{job, "params: [{name: a, type: integer}]"},
		{job, "concurrency: {limits: 3}"},
		{job, "concurrency: {on_conflict: wait}"},
		{job, "resources: {value: 1}"},
		{task, "scripts: x"},
		{task, "retry: 1.5"},
		{task, "execution: twice"},
		{task, "on_exit_code: {5xy: b}"},
		{task, "cpu_limit: lots"},
		{task, "memory_limit: 5 bytes"},
		{task, "container: {imago: x}"},
		{task, "container: {image: x, volumes: {host_path: [{name: a, mount_path: /a}]}}"},
		{task, "container: {volumes: {hostpath: [{name: a, mount_path: /a}]}}"},
		{task, "services: [{name: a}]"},
		{task, "services: [{name: a, image: b, ports: [{number: 70000}]}]"},
		{task, "node_tolerations: [{effect: Never}]"},
		{task, "affinity: {preferred_during_scheduling_ignored_during_execution: [{weight: 101, preference: {}}]}"},
		{task, "artifacts: {when: always}"},
		{task, "cache: {key: a}"},
		{task, "secrets: [{env: A}]"},
		{task, "timeouts: {runs: 1h}"},
		{task, "backoff: {factor: 0.5}"},
		{"job_type: a b\ntasks:\n  - {task_type: a, method: SHELL, script: x}\n%s", ""},
		{"job_type: j\n%s", ""},
		{"job_type: j\ntasks: []\n%s", ""},
		{"tasks:\n  - {task_type: a, method: SHELL, script: x}\n%s", ""},
		{"job_type: j\ntasks:\n  - {method: SHELL, script: x}\n%s", ""},
		{"job_type: j\ntasks:\n  - {task_type: a, method: SHELLL, script: x}\n%s", ""},
	} {
		text := fmt.Sprintf(c.text, c.field)
		doc, ok := asJSON([]byte(text))
		if !ok {
			t.Fatal(text)
		}
		if schema.Validate(doc) == nil {
			t.Errorf("the schema accepts %s", text)
		}
		if _, _, err := jobspec.Parse("job.yaml", []byte(text)); err == nil {
			t.Errorf("the reader accepts %s", text)
		}
	}
}

// schemaLevels returns the fields of each mapping of the schema; job is the definition itself.
func schemaLevels(t *testing.T) map[string]map[string]any {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal(schema.JSON(), &doc); err != nil {
		t.Fatal(err)
	}
	out := map[string]map[string]any{"job": properties(doc)}
	defs, _ := doc["$defs"].(map[string]any)
	for name, def := range defs {
		def, _ := def.(map[string]any)
		out[name] = properties(def)
	}
	return out
}

func properties(def map[string]any) map[string]any {
	out, _ := def["properties"].(map[string]any)
	return out
}

// TestEveryFieldOfTheTablesIsRead puts each field of each mapping alone into a definition: the reader may refuse its
// value, or miss others, but it must know it.
func TestEveryFieldOfTheTablesIsRead(t *testing.T) {
	task := func(inner string) string {
		return "job_type: j\ntasks:\n  - task_type: a\n    method: SHELL\n    script: x\n    " + inner + "\n"
	}
	job := func(inner string) string {
		return "job_type: j\ntasks:\n  - {task_type: a, method: SHELL, script: x}\n" + inner + "\n"
	}
	places := map[string]string{
		"job":               "%s: x\n",
		"task":              "job_type: j\ntasks:\n  - {%s: x}\n",
		"timeouts":          task("timeouts: {%s: x}"),
		"backoff":           task("backoff: {%s: x}"),
		"variable":          job("job_variables: [{name: b, %s: x}]"),
		"param":             job("params: [{%s: x}]"),
		"concurrency":       job("concurrency: {%s: x}"),
		"webhook":           job("webhook: {%s: x}"),
		"notify":            job("notify: {email: {%s: x}}"),
		"notification":      job("notify: [{%s: x}]"),
		"resource":          job("resources: {%s: x}"),
		"extract_config":    job("resources: {extract_config: {%s: x}}"),
		"schedule":          job("schedule: [{%s: x}]"),
		"trigger":           job("triggers: [{%s: x}]"),
		"rate_limit":        job("triggers: [{rate_limit: {%s: x}}]"),
		"trigger_auth":      job("triggers: [{auth: {%s: x}}]"),
		"fan_out":           task("fan_out: {%s: x}"),
		"matrix":            task("matrix: {%s: x}"),
		"approval_policy":   "job_type: j\ntasks:\n  - {task_type: a, method: MANUAL, approval_policy: {%s: x}}\n",
		"sub_workflow":      "job_type: j\ntasks:\n  - {task_type: a, method: FORK_JOB, fork_job_type: b, sub_workflow: {%s: x}}\n",
		"retry_on":          task("retry_on: {%s: x}"),
		"output":            task("outputs: [{%s: x}]"),
		"secret":            task("secrets: [{%s: x}]"),
		"artifacts":         task("artifacts: {%s: x}"),
		"cache":             task("cache: {%s: x}"),
		"container":         task("container: {%s: x}"),
		"image":             task("container: {imageDefinition: {%s: x}}"),
		"port":              task("container: {imageDefinition: {ports: [{%s: x}]}}"),
		"service":           task("services: [{%s: x}]"),
		"env_from":          task("container: {env_from: [{%s: x}]}"),
		"env_value_from":    task("container: {env_value_from: [{%s: x}]}"),
		"reference":         task("container: {env_from: [{secret_ref: {%s: x}}]}"),
		"affinity":          task("affinity: {%s: x}"),
		"preferred_term":    task("affinity: {preferred_during_scheduling_ignored_during_execution: [{%s: x}]}"),
		"node_term":         task("affinity: {required_during_scheduling_ignored_during_execution: {node_selector_terms: [{%s: x}]}}"),
		"node_expression":   task("affinity: {required_during_scheduling_ignored_during_execution: {node_selector_terms: [{match_fields: [{%s: x}]}]}}"),
		"toleration":        task("node_tolerations: [{%s: x}]"),
		"source":            task("container: {volumes: {projected: [{sources: [{%s: x}]}]}}"),
		"source_items":      task("container: {volumes: {projected: [{sources: [{secret: {%s: x}}]}]}}"),
		"token":             task("container: {volumes: {projected: [{sources: [{service_account_token: {%s: x}}]}]}}"),
		"volume_host_path":  task("container: {volumes: {host_path: [{%s: x}]}}"),
		"volume_pvc":        task("container: {volumes: {pvc: [{%s: x}]}}"),
		"volume_config_map": task("container: {volumes: {config_map: [{%s: x}]}}"),
		"volume_secret":     task("container: {volumes: {secret: [{%s: x}]}}"),
		"volume_projected":  task("container: {volumes: {projected: [{%s: x}]}}"),
		"volume_empty_dir":  task("container: {volumes: {empty_dir: [{%s: x}]}}"),
		"required_affinity": task("affinity: {required_during_scheduling_ignored_during_execution: {%s: x}}"),
	}
	for level, fields := range schemaLevels(t) {
		place, ok := places[level]
		if !ok {
			t.Errorf("no place for the mapping %s", level)
			continue
		}
		for _, field := range append(slices.Sorted(maps.Keys(fields)), "fieldOfNoLevel") {
			_, warnings, err := jobspec.Parse("job.yaml", []byte(fmt.Sprintf(place, field)))
			text := strings.Join(append(problems(t, err), fmt.Sprint(warnings)), "\n")
			unknown := strings.Contains(text, `"`+field+`" is not known`) || strings.Contains(text, source.CodeUnsupportedField)
			if known := field != "fieldOfNoLevel"; unknown == known && level != "matrix" {
				t.Errorf("%s.%s: %s", level, field, text)
			}
		}
	}
}

// TestSchemaIsDocumented checks that an editor has a line to show for every field.
func TestSchemaIsDocumented(t *testing.T) {
	for level, fields := range schemaLevels(t) {
		for name, f := range fields {
			f, _ := f.(map[string]any)
			if doc, _ := f["description"].(string); len(doc) < 8 || !strings.HasSuffix(doc, ".") {
				t.Errorf("%s.%s: %q", level, name, doc)
			}
		}
	}
	if !bytes.Equal(schema.JSON(), schema.JSON()) {
		t.Error("the schema differs from one time to the next")
	}
}
