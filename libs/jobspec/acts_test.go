package jobspec_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/formicary/formicary/libs/jobspec"
	"github.com/formicary/formicary/libs/jobspec/source"
)

// TestInactiveFields warns of what is stored and not acted on, and of nothing else.
func TestInactiveFields(t *testing.T) {
	head := "job_type: j\nJOB\ntasks:\n  - {task_type: before, method: SHELL, script: x, artifacts: {paths: [n]}}\n  - {task_type: plain, method: SHELL, script: x}\n  - task_type: a\n    "
	shell := "method: SHELL\n    script: x\n    "
	for text, want := range map[string]string{
		shell + "artifacts: {paths: [a]}":                        "",
		shell + "cache: {paths: [a], key: k, restore_keys: [j]}": "",
		shell + "artifact_ids: [x]":                              "",
		shell + "dependent_artifact_ids: [x]":                    "",
		shell + "artifacts_dir: x":                               "",
		shell + "artifact_key_prefix: x":                         "artifact_key_prefix",
		shell + "cache_dir: x":                                   "cache_dir",
		shell + "secrets: [TOKEN]":                               "",
		shell + "execute_command_without_shell: true":            "execute_command_without_shell",
		shell + "cost_factor: 2":                                 "cost_factor",
		shell + "debug: true":                                    "debug",
		shell + "services: [{name: s, image: x}]":                "services, but the method SHELL",
		shell + "privileged: true":                               "privileged, but the method SHELL",
		shell + "host_network: yes":                              "host_network, but the method SHELL",
		shell + "network_mode: host":                             "network_mode, but the method SHELL",
		shell + "container: {image: x, memory_limit: 1Gi}":       "image, but the method SHELL",
		shell + "container: alpine":                              "image of container, but the method SHELL",
		shell + "helper: {image: x}":                             "helper, but the method SHELL",
		shell + "resources: {resource_type: x}":                  "resources",
		shell + "dependencies: [plain, before]":                  "",
		"method: DOCKER\n    artifacts: {paths: [a]}":            "",
		"method: HTTP_GET\n    url: x\n    privileged: true":     "privileged, but the method HTTP_GET",
		"method: HTTP_GET\n    url: x\n    artifacts: {paths: [a], expires_after: 1d}\n    cache: {paths: [a], key: k}\n    artifacts_dir: x": "paths, but the method HTTP_GET; cache, but the method HTTP_GET; artifacts_dir, but the method HTTP_GET",
		"JOB schedule: {cron: '@daily'}":                          "schedule",
		"JOB cron_trigger: 0 0 * * *":                             "cron_trigger",
		"JOB triggers: [{type: queue, name: q, topic: a.b}]":      "triggers",
		"JOB deadline: 1h":                                        "deadline",
		"JOB concurrency: {limit: 2, key: '{{.x}}'}":              "key",
		"JOB concurrency: {limit: 2, on_conflict: cancel_newest}": "on_conflict",
		"JOB retention_days_for_failed: 0":                        "retention_days_for_failed",
		// nothing is missing
		shell + "container: {cpu_limit: 1, memory_limit: 1Gi}": "",
		shell + "debug: false":                                 "",
		shell + "privileged: no":                               "",
		shell + "artifacts: ~":                                 "",
		shell + "dependencies: [plain]":                        "",
		shell + "depends_on: [before]":                         "",
		"method: DOCKER\n    services: [{name: s, image: x}]\n    privileged: true": "",
		"method: '{{.m}}'\n    script: x\n    privileged: true":                     "",
		"JOB concurrency: {limit: 2, on_conflict: queue}":                           "",
		"JOB concurrency: 2": "",
	} {
		job, own := "", text
		if rest, ok := strings.CutPrefix(text, "JOB "); ok {
			job, own = rest, shell
		}
		_, warnings, err := jobspec.Parse("job.yaml", []byte(strings.Replace(head, "JOB", job, 1)+own+"\n"))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var got []string
		for _, w := range warnings {
			if w.Code != source.CodeInactiveField || w.Line == 4 { // of the task before
				continue
			}
			said := strings.NewReplacer("the field ", "", "the image", "image", " is stored", "", ", but this version does not act on it", "", " does not act on it", "").Replace(w.Message)
			got = append(got, said)
		}
		if diff := cmp.Diff(want, strings.Join(got, "; ")); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}

// TestSchemaTellsOfInactiveFields looks at what an editor shows.
func TestSchemaTellsOfInactiveFields(t *testing.T) {
	levels := schemaLevels(t)
	for path, want := range map[string]string{
		"task.cache_dir":          "Not acted on by this version.",
		"concurrency.on_conflict": "Not acted on by this version.",
		"task.privileged":         "Acted on by the methods DOCKER and KUBERNETES only.",
	} {
		level, name, _ := strings.Cut(path, ".")
		f, _ := levels[level][name].(map[string]any)
		if doc, _ := f["description"].(string); !strings.HasSuffix(doc, want) {
			t.Errorf("%s: %q", path, doc)
		}
	}
	f, _ := levels["task"]["script"].(map[string]any)
	if doc, _ := f["description"].(string); strings.Contains(doc, "cted on") {
		t.Errorf("task.script: %q", doc)
	}
}
