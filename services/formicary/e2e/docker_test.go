package e2e

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/formicary/formicary/libs/testkit/enginetest"
	"github.com/formicary/formicary/services/formicary/examples"
)

// A task in a container of a real engine, from the definition to its log, and the refusal of what the ant does not allow.
func TestDocker(t *testing.T) {
	engine := enginetest.Shared(t).WithBusybox(t)
	t.Setenv("DOCKER_HOST", engine.Host)
	w := newWorld(t)
	w.embedded()
	example, found, err := examples.Find("ci-docker")
	if err != nil || !found {
		t.Fatal(err)
	}
	w.define(example.Text)
	beside, found, err := examples.Find("ci-services")
	if err != nil || !found {
		t.Fatal(err)
	}
	w.define(beside.Text)
	w.define(strings.ReplaceAll(passing, "IMAGE", enginetest.Busybox))
	w.define(strings.ReplaceAll(privileged, "IMAGE", enginetest.Busybox))
	build := w.submit("ci-docker", "docker-1", map[string]any{"image": enginetest.Busybox})
	refused := w.submit("docker-privileged", "docker-2", nil)
	tested := w.submit("ci-services", "docker-3", map[string]any{"image": enginetest.Busybox})
	passed := w.submit("docker-files", "docker-4", nil)
	w.tell(t, passed, story{want: "COMPLETED", tasks: map[string]string{"make": "COMPLETED", "use": "COMPLETED"}})
	w.tell(t, build, story{want: "COMPLETED", tasks: map[string]string{"build": "COMPLETED", "report": "COMPLETED"}})
	w.tell(t, refused, story{want: "FAILED"})
	w.tell(t, tested, story{want: "COMPLETED", tasks: map[string]string{"test": "COMPLETED"}})
	w.audit()
}

const passing = `
job_type: docker-files
tasks:
  - task_type: make
    method: DOCKER
    container: IMAGE
    script: ['mkdir -p out/deep', 'echo one > out/a', 'echo two > out/deep/b', 'ln -s deep/b out/link', 'chmod 755 out/a']
    artifacts: {paths: [out]}
    on_completed: use
  - task_type: use
    method: DOCKER
    container: IMAGE
    dependencies: [make]
    artifacts_dir: in
    script: ['test "$(cat in/out/a in/out/link)" = "$(printf "one\ntwo")"', 'test -x in/out/a', 'echo more > in/out/a']
    artifacts: {paths: ["in/**/a"]}
`

const privileged = `
job_type: docker-privileged
tasks:
  - task_type: all
    method: DOCKER
    privileged: true
    container: {image: IMAGE}
    script: [id]
`

// An ant that is killed with containers comes back to all of them: none runs twice, and their logs are whole.
func TestKilledAntAdoptsItsContainers(t *testing.T) {
	engine := enginetest.Shared(t).WithBusybox(t)
	t.Setenv("DOCKER_HOST", engine.Host)
	w := newWorld(t)
	w.separate("ant-1")
	w.define(strings.ReplaceAll(counting, "IMAGE", enginetest.Busybox))
	const all = 5
	ids := make([]string, all)
	for i := range ids {
		ids[i] = w.submit("docker-counting", fmt.Sprint("counting-", i), nil)
	}
	var want strings.Builder
	for i := range 100 {
		fmt.Fprintln(&want, "count │ line", i+1)
	}
	logs := func(id string) string {
		text, _ := w.cli("request", "logs", id)
		return text
	}
	w.within(2*time.Minute, "all of them print", func() bool {
		return !slices.ContainsFunc(ids, func(id string) bool { return !strings.Contains(logs(id), " line 1\n") })
	})
	w.procs["ant-1"].signal(syscall.SIGKILL)
	w.procs["ant-1"].start()
	for _, id := range ids {
		if got := w.ends(2*time.Minute, id); got.State != "COMPLETED" {
			t.Errorf("ended as %s (%s %s)", got.State, got.ErrorCode, got.ErrorMessage)
		}
		if attempts := w.task(id, "count").Attempts; len(attempts) != 1 {
			t.Errorf("%d attempts: %+v", len(attempts), attempts)
		}
		if text := logs(id); !strings.Contains(text, want.String()) || strings.Count(text, "line") != 100 {
			t.Errorf("the log is not whole: %q", text)
		}
	}
	w.audit()
}

const counting = `
job_type: docker-counting
max_concurrency: 5
tasks:
  - task_type: count
    method: DOCKER
    network_mode: none
    container: {image: IMAGE}
    script: ['i=0; while [ $i -lt 100 ]; do i=$((i+1)); echo line $i; sleep 0.1; done']
`
