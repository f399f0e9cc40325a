package docker

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/image"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/services/ant/internal/executor"
)

// hostPlaces are ways to the engine's socket and to the host.
var hostPlaces = []plan.Volume{ //nolint:gochecknoglobals // a constant
	{Kind: plan.VolumeBind, HostPath: "/var/run/docker.sock"}, {Kind: plan.VolumeBind, HostPath: "/run/docker.sock"},
	{Kind: plan.VolumeBind, HostPath: "/"}, {Kind: plan.VolumeBind, HostPath: "/var"}, {Kind: plan.VolumeBind, HostPath: "/var/run"},
	{Kind: plan.VolumeHostPath, HostPath: "/run"}, {Kind: plan.VolumeHostPath, HostPath: "/srv/data/../../run"},
	{Kind: plan.VolumeHostPath, HostPath: "/", SubPath: "var/run/docker.sock"}, {Kind: plan.VolumeBind, HostPath: "/run/x", SubPath: "../docker.sock"},
}

// No container, that of a task or of one of its services, gets what leads to the engine or the host.
func TestHostPlacesAreRefusedForTasksAndServices(t *testing.T) {
	for _, open := range [][]string{nil, {"/srv/data"}} {
		conf := DefaultConfig()
		conf.AllowBinds = open
		e, err := New(Options{Config: conf, Ant: "a", Dir: "/d"})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range hostPlaces {
			v.MountPath = "/m"
			c := &plan.Container{Image: "image", Volumes: []plan.Volume{v}}
			_, asTask := e.spec(executor.Task{UID: "u"}, plan.Options{Container: c}, "")
			_, asService := e.serviceSpec(executor.Task{UID: "u"}, plan.Options{}, plan.Sidecar{Volumes: c.Volumes}, 1, image.InspectResponse{})
			for who, err := range map[string]error{"task": asTask, "service": asService} {
				if err == nil || !strings.Contains(err.Error(), v.HostPath) || !strings.Contains(err.Error(), "docker-allow-binds") {
					t.Errorf("%s with %s %s: %v", who, v.HostPath, v.SubPath, err)
				}
			}
		}
		if _, err := e.serviceSpec(executor.Task{}, plan.Options{Privileged: true}, plan.Sidecar{}, 1, image.InspectResponse{}); err == nil {
			t.Error("a service is privileged with a task that must not be")
		}
		s, err := e.serviceSpec(executor.Task{}, plan.Options{}, plan.Sidecar{}, 1, image.InspectResponse{})
		if err != nil {
			t.Fatal(err)
		}
		if h := s.host; h.Privileged || len(h.Binds)+len(h.Devices)+len(h.VolumesFrom)+len(h.Mounts) > 0 || h.PidMode != "" || h.IpcMode != "" || h.UsernsMode != "" ||
			h.UTSMode != "" || !h.ReadonlyRootfs || strings.Join(h.CapDrop, "") != "ALL" {
			t.Errorf("a service is asked for with %+v", h)
		}
		_ = e.api.Close()
	}
}

// A link that was left in an open directory opens nothing else.
func TestLinksInOpenDirectories(t *testing.T) {
	base := t.TempDir()
	open := filepath.Join(base, "open")
	for _, dir := range []string{open, filepath.Join(open, "d"), filepath.Join(base, "other")} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"out": "../other", "in": "d", "root": "/"} {
		if err := os.Symlink(target, filepath.Join(open, name)); err != nil {
			t.Fatal(err)
		}
	}
	c := Config{AllowBinds: []string{open}}
	for name, want := range map[string]bool{".": true, "d": true, "in": true, "none": true, "out": false, "root": false, "root/var/run": false} {
		if c.allowsBind(filepath.Join(open, name)) != want {
			t.Errorf("%s: want %t", name, want)
		}
	}
}
