package cli

import (
	"strings"
	"testing"
	"time"
)

func TestRunGivesTagsToItsAnt(t *testing.T) {
	file := writeText("tagged", "job_type: tagged\ntasks:\n  - {task_type: a, method: SHELL, tags: [Builder, linux], script: [\"echo built\"]}\n")
	stdout, stderr, code := try(t.Context(), "run", file, "--tags", "builder,LINUX")
	if code != exitOK || !strings.Contains(stdout, "a │ built\n") || strings.Contains(stderr, "--tags") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	_, stderr, code = try(t.Context(), "run", file, "--tags", "linux", "--timeout", "2s")
	first, _, _ := strings.Cut(stderr, "\n")
	if code != exitRunning || !strings.Contains(first, "a asks for tags") || !strings.HasSuffix(first, "give them with --tags linux,builder") {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
	if _, stderr, code := on(t, "run", file, "--tags", "builder"); code != exitUsage || !strings.Contains(stderr, "embedded ant") {
		t.Errorf("with a server: exit code %d: %s", code, stderr)
	}
}

func TestUnownedTags(t *testing.T) {
	const text = `job_type: x
params:
  - {name: where, default: gpu}
tasks:
  - {task_type: a, method: SHELL, tags: ["{{.where}}"], script: ["true"], on_completed: b}
  - {task_type: b, method: SHELL, tags: [z, gpu], script: ["true"], on_completed: c}
  - {task_type: c, method: SHELL, script: ["true"]}
`
	for owned, want := range map[string]string{"": "a,b gpu,z", "gpu": "b z", "gpu,z": " ", "z": "a,b gpu"} {
		tasks, missing := unowned("x.yaml", text, nil, strings.Split(owned, ","))
		if got := strings.Join(tasks, ",") + " " + strings.Join(missing, ","); got != want {
			t.Errorf("%q owned: %q, want %q", owned, got, want)
		}
	}
	if tasks, _ := unowned("x.yaml", text, map[string]any{"where": "here", "unknown": time.Second}, nil); tasks != nil {
		t.Errorf("parameters that are refused: %v", tasks)
	}
}
