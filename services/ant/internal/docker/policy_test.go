package docker

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/mount"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/services/ant/internal/executor"
)

// hostPlaces are ways to the engine's socket and to the host.
var hostPlaces = []plan.Volume{ //nolint:gochecknoglobals // a constant
	{Kind: plan.VolumeBind, HostPath: "/var/run/docker.sock"},
	{Kind: plan.VolumeBind, HostPath: "/run/docker.sock"},
	{Kind: plan.VolumeBind, HostPath: "/"},
	{Kind: plan.VolumeBind, HostPath: "/var"},
	{Kind: plan.VolumeBind, HostPath: "/var/run"},
	{Kind: plan.VolumeHostPath, HostPath: "/run"},
	{Kind: plan.VolumeHostPath, HostPath: "/srv/data/../../run"},
	{Kind: plan.VolumeHostPath, HostPath: "/", SubPath: "var/run/docker.sock"},
	{Kind: plan.VolumeBind, HostPath: "/run/x", SubPath: "../docker.sock"},
}

// What is open to the tasks of some organisations is closed to those of all others, for a task and for its services.
func TestWhatIsOpenToSomeOrganisationsOnly(t *testing.T) {
	conf := DefaultConfig()
	conf.AllowRoot, conf.AllowPrivileged, conf.AllowHostNetwork, conf.AllowOrgs = true, true, true, []string{"trusted"}
	conf.AllowNetworks, conf.AllowDevices = []string{"lan"}, []string{"/dev/fuse"}
	conf.AllowVolumesFrom, conf.AllowBinds = []string{"other"}, []string{"/srv/data"}
	bind := []plan.Volume{{Kind: plan.VolumeBind, HostPath: "/srv/data", MountPath: "/m"}}
	asks := map[string]plan.Options{
		"docker-allow-privileged":   {Privileged: true, Container: &plan.Container{}},
		"docker-allow-host-network": {HostNetwork: true, Container: &plan.Container{}},
		"docker-allow-networks":     {NetworkMode: "lan", Container: &plan.Container{}},
		"docker-allow-root":         {Container: &plan.Container{User: "root"}},
		"docker-allow-devices":      {Container: &plan.Container{Devices: []string{"/dev/fuse"}}},
		"docker-allow-volumes-from": {Container: &plan.Container{VolumesFrom: []string{"other"}}},
		"docker-allow-binds":        {Container: &plan.Container{Volumes: bind}},
	}
	for _, orgs := range [][]string{{"trusted"}, nil} {
		conf.AllowOrgs = orgs
		e, err := New(Options{Config: conf, Ant: "a", Dir: "/d"})
		if err != nil {
			t.Fatal(err)
		}
		for _, org := range []string{"trusted", "trusted2", "Trusted", "default", ""} {
			open := len(orgs) == 0 || org == "trusted"
			task := executor.Task{UID: "u", Org: org}
			check := func(what, setting string, err error) {
				if open != (err == nil) || !open && !strings.Contains(err.Error(), setting) {
					t.Errorf("%s for %q, open to %v: %v", what, org, orgs, err)
				}
			}
			for setting, o := range asks {
				_, err := e.spec(task, o, "")
				check("a task", setting, err)
			}
			_, err := e.serviceSpec(task, plan.Options{}, plan.Sidecar{Volumes: bind}, 1, image.InspectResponse{})
			check("a service with a mount", "docker-allow-binds", err)
			_, err = e.serviceSpec(task, plan.Options{Privileged: true}, plan.Sidecar{}, 1, image.InspectResponse{})
			check("a service with rights", "docker-allow-privileged", err)
			s, err := e.spec(task, plan.Options{Container: &plan.Container{}}, "root")
			if err != nil || s.host.ReadonlyRootfs == open || (s.config.User == "root") != open {
				t.Errorf("an image of root for %q, open to %v: %v, user %q", org, orgs, err, s.config.User)
			}
		}
	}
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
		e.close()
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

// recorder is an engine that notes which containers it is asked for.
func recorder(t *testing.T) (host string, asked *[]container.CreateRequest) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "engine")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	asked = &[]container.CreateRequest{}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.47")
		if !strings.HasSuffix(r.URL.Path, "/containers/create") {
			return
		}
		var req container.CreateRequest
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
			t.Error(err)
		}
		*asked = append(*asked, req)
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write([]byte(`{"Id":"x"}`))
	})}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() { _ = server.Close(); serving.Wait() })
	return "unix://" + socket, asked
}

// What the engine is really asked for, without policy, has nothing of the host, whatever a task may ask for besides.
func TestWhatTheEngineIsAsked(t *testing.T) {
	conf := DefaultConfig()
	var asked *[]container.CreateRequest
	conf.Host, asked = recorder(t)
	e, err := New(Options{Config: conf, Ant: "a", Dir: "/d"})
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	volumes := []plan.Volume{
		{Kind: plan.VolumeNamed, Name: "n", MountPath: "/var/run", HostPath: "/var/run/docker.sock", SubPath: "../.."},
		{Kind: plan.VolumeEmptyDir, MountPath: "/e", HostPath: "/"},
		{Kind: plan.VolumeEmptyDir, Medium: "Memory", MountPath: "/m"},
	}
	c := &plan.Container{
		Image: "image", Volumes: volumes, User: "1000:0", ShmSize: 1 << 20, PIDsLimit: 10, ExtraHosts: map[string]string{"h": "host-gateway"},
		Entrypoint: []string{"/bin/sh"},
	}
	for _, mode := range []string{"", "default", "bridge", "none"} {
		s, err := e.spec(executor.Task{UID: "u", Script: []string{"true"}}, plan.Options{Container: c, NetworkMode: mode}, "root")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.create(t.Context(), s, "task"); err != nil {
			t.Fatal(err)
		}
	}
	s, err := e.serviceSpec(executor.Task{UID: "u"}, plan.Options{}, plan.Sidecar{Image: "image", Volumes: volumes}, 1, image.InspectResponse{})
	if err != nil {
		t.Fatal(err)
	}
	s.join("formicary-u", "db")
	if _, err := e.create(t.Context(), s, "service"); err != nil {
		t.Fatal(err)
	}
	if len(*asked) != 5 {
		t.Fatalf("asked for %d containers", len(*asked))
	}
	for _, req := range *asked {
		h := req.HostConfig
		mode := string(h.NetworkMode)
		if h.Privileged || len(h.Binds)+len(h.Devices)+len(h.DeviceRequests)+len(h.DeviceCgroupRules)+len(h.VolumesFrom)+len(h.CapAdd)+len(h.Sysctls) > 0 {
			t.Errorf("asked for %+v", h)
		}
		if mode == "host" || strings.HasPrefix(mode, "container:") || h.PidMode != "" || h.IpcMode != "" && !h.IpcMode.IsPrivate() || h.UsernsMode != "" || h.UTSMode != "" {
			t.Errorf("network %q, pid %q, ipc %q, user %q, uts %q", mode, h.PidMode, h.IpcMode, h.UsernsMode, h.UTSMode)
		}
		for _, m := range h.Mounts {
			if m.Type == mount.TypeBind || strings.Contains(m.Source, "/") || m.VolumeOptions != nil && (m.VolumeOptions.DriverConfig != nil || m.VolumeOptions.Subpath != "") {
				t.Errorf("asked for the mount %+v", m)
			}
		}
		if isRoot(req.User) || !h.ReadonlyRootfs || strings.Join(h.CapDrop, "") != "ALL" || strings.Join(h.SecurityOpt, "") != "no-new-privileges" {
			t.Errorf("user %q, read-only %t, dropped %q, security %q", req.User, h.ReadonlyRootfs, h.CapDrop, h.SecurityOpt)
		}
	}
}
