package docker

import (
	"context"
	"strings"
	"testing"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/services/ant/internal/executor"
)

// Tasks and services that are not root can write to volumes, also to those that an engine or root has made before; a directory
// that has been given an owner or a mode keeps them.
func TestVolumesCanBeWrittenTo(t *testing.T) {
	e := start(t, nil)
	root := start(t, func(c *Config) { c.AllowRoot = true })
	name := unique("open")
	t.Cleanup(func() {
		if err := e.engine().VolumeRemove(context.WithoutCancel(t.Context()), volumeName("", name), true); err != nil {
			t.Error(err)
		}
	})
	named := plan.Volume{Kind: plan.VolumeNamed, Name: name, MountPath: "/data/deep"}
	run := func(e *Executor, user, script string, volumes ...plan.Volume) string {
		t.Helper()
		r := subject(t, e).Execute(t, in(t, executor.Task{Script: strings.Split(script, "\n")}, plan.Options{Container: &plan.Container{User: user, Volumes: volumes}}), nil)
		if r.End.Class != executor.None {
			t.Errorf("%s: %+v", script, r.End)
		}
		return r.Stdout
	}
	const show = `stat -c "%a %u" /data/deep`
	run(root, "", "touch /data/deep/of-root", named)
	if got := run(e, "", show+"\ntouch /data/deep/x /e/x /formicary/work/below/x; ls /data/deep", named,
		plan.Volume{Kind: plan.VolumeEmptyDir, MountPath: "/e"}, plan.Volume{Kind: plan.VolumeEmptyDir, MountPath: "/formicary/work/below"},
	); got != "1777 0\nof-root\nx\n" {
		t.Errorf("printed %q", got)
	}
	run(e, "4321:4321", "touch /data/deep/y", named)
	readOnly := named
	readOnly.ReadOnly = true
	if got := run(e, "", "ls /data/deep\n! touch /data/deep/z", readOnly); got != "of-root\nx\ny\n" {
		t.Errorf("printed %q", got)
	}
	run(root, "", "chmod 750 /data/deep\nchown 4321 /data/deep", named)
	if got := run(e, "4321", show, named); got != "750 4321\n" {
		t.Errorf("what a task has set is now %q", got)
	}
	side := beside("side", "touch /s/x && echo it can >/s/x; cat /s/x; sleep 1000")
	side.Volumes = []plan.Volume{{Kind: plan.VolumeEmptyDir, MountPath: "/s"}}
	if r := withServices(t, e, plan.Options{NetworkMode: "none", Services: []plan.Sidecar{side}}, executor.Task{Script: []string{"sleep 1"}}); !strings.Contains(strings.Join(r.Notes, "\n"), "[side] it can") {
		t.Errorf("%+v, notes %q", r.End, r.Notes)
	}
	nothingLeft(t, e)
}
