package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/testkit/enginetest"
	"github.com/formicary/formicary/services/ant/internal/executor"
)

// Whoever an image calls by a name is refused when that is root, as a task's and as a service's user.
func TestUserWhoIsRootByAnotherName(t *testing.T) {
	e := start(t, nil)
	const users = "root:x:0:0::/:/bin/sh\ntoor:x:0:0::/:/bin/sh\napp:x:1234:1234::/:/bin/sh\n"
	made, err := e.engine().ContainerCreate(t.Context(), &container.Config{Image: enginetest.Busybox, Cmd: []string{"/bin/sh"}}, nil, nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.engine().ContainerRemove(context.WithoutCancel(t.Context()), made.ID, container.RemoveOptions{}); err != nil {
			t.Error(err)
		}
	})
	var files bytes.Buffer
	w := tar.NewWriter(&files)
	if err := w.WriteHeader(&tar.Header{Name: "etc/passwd", Mode: 0o644, Size: int64(len(users))}); err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write([]byte(users)) // to memory
	_ = w.Close()
	if err := e.engine().CopyToContainer(t.Context(), made.ID, "/", &files, container.CopyToContainerOptions{}); err != nil {
		t.Fatal(err)
	}
	name := unique("toor") + ":1"
	if _, err := e.engine().ContainerCommit(t.Context(), made.ID, container.CommitOptions{Reference: name, Changes: []string{"USER toor"}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { forget(t, e, name) })
	run := func(user string) executor.End {
		c := &plan.Container{Image: name, User: user}
		return subject(t, e).Execute(t, in(t, executor.Task{Script: []string{"true"}}, plan.Options{Container: c}), nil).End
	}
	for _, user := range []string{"", "toor", "toor:app"} {
		if end := run(user); end.Class != executor.Rejected || !strings.Contains(end.Message, "docker-allow-root") {
			t.Errorf("%q: %+v", user, end)
		}
	}
	if end := run("app"); end.Class != executor.None {
		t.Errorf("app: %+v", end)
	}
	side := beside("side", "sleep 1000")
	side.Image = name
	if r := withServices(t, e, plan.Options{Services: []plan.Sidecar{side}}, executor.Task{Script: []string{"true"}}); r.End.Class != executor.Rejected {
		t.Errorf("%+v", r.End)
	}
}
