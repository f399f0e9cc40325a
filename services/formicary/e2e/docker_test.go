package e2e

import (
	"strings"
	"testing"

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
	w.define(strings.ReplaceAll(privileged, "IMAGE", enginetest.Busybox))
	build := w.submit("ci-docker", "docker-1", map[string]any{"image": enginetest.Busybox})
	refused := w.submit("docker-privileged", "docker-2", nil)
	tested := w.submit("ci-services", "docker-3", map[string]any{"image": enginetest.Busybox})
	w.tell(t, build, story{want: "COMPLETED", tasks: map[string]string{"build": "COMPLETED", "report": "COMPLETED"}})
	w.tell(t, refused, story{want: "FAILED"})
	w.tell(t, tested, story{want: "COMPLETED", tasks: map[string]string{"test": "COMPLETED"}})
	w.audit()
}

const privileged = `
job_type: docker-privileged
tasks:
  - task_type: all
    method: DOCKER
    privileged: true
    container: {image: IMAGE}
    script: [id]
`
