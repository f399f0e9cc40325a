package docker

import (
	"regexp"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/mount"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/services/ant/internal/executor"
)

func specOf(t *testing.T, change func(*Config), user string, o plan.Options) (*spec, error) {
	t.Helper()
	conf := DefaultConfig()
	if change != nil {
		change(&conf)
	}
	e, err := New(Options{Config: conf, Ant: "a", Dir: "/d"})
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	if o.Container == nil {
		o.Container = &plan.Container{}
	}
	o.Container.Image = "image"
	return e.spec(executor.Task{UID: "u", JobType: "j", Name: "n", Script: []string{"true"}}, o, user)
}

func TestSandboxUnlessTheAntAllowsMore(t *testing.T) {
	s, err := specOf(t, nil, "", plan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	h := s.host
	if s.config.User != "65534:65534" || !h.ReadonlyRootfs || strings.Join(h.CapDrop, "") != "ALL" || strings.Join(h.SecurityOpt, "") != "no-new-privileges" {
		t.Errorf("user %q, read-only %t, dropped %q, security %q", s.config.User, h.ReadonlyRootfs, h.CapDrop, h.SecurityOpt)
	}
	if h.Privileged || h.NetworkMode != "bridge" || len(h.Binds)+len(h.Devices) > 0 || h.PidMode != "" || h.IpcMode != "" || *h.PidsLimit != 4096 || h.Memory != 4<<30 || h.MemorySwap != h.Memory {
		t.Errorf("%+v", h)
	}
	for _, m := range h.Mounts {
		if m.Type != mount.TypeVolume || m.Source != "" {
			t.Errorf("mount %+v", m)
		}
	}
	if l := s.config.Labels; l[labelUID] != "u" || l[labelAnt] != "a" || l[labelJob] != "j" || l[labelTask] != "n" || l[labelOwner] == "" {
		t.Errorf("labels %v", l)
	}
	if s, err = specOf(t, nil, "1000:50", plan.Options{}); err != nil || s.config.User != "1000:50" || s.uid != 1000 || s.gid != 50 {
		t.Errorf("the image's user: %q %v", s.config.User, err)
	}
	if s, err = specOf(t, nil, "0:0", plan.Options{}); err != nil || s.config.User != "65534:65534" {
		t.Errorf("root by number: %q %v", s.config.User, err)
	}
	if s, err = specOf(t, func(c *Config) { c.AllowRoot = true }, "", plan.Options{}); err != nil || s.config.User != "" || s.host.ReadonlyRootfs || s.host.CapDrop != nil {
		t.Errorf("allowed root: %+v %v", s, err)
	}
}

func TestWhatIsNotAllowedIsRefused(t *testing.T) {
	volume := func(v plan.Volume) plan.Options {
		return plan.Options{Container: &plan.Container{Volumes: []plan.Volume{v}}}
	}
	bind := func(source string) plan.Options {
		return volume(plan.Volume{Kind: plan.VolumeBind, HostPath: source, MountPath: "/m"})
	}
	allowed := func(c *Config) {
		c.AllowPrivileged, c.AllowHostNetwork, c.AllowNetworks = true, true, []string{"ours"}
		c.AllowBinds, c.AllowDevices, c.AllowVolumesFrom = []string{"/srv/data"}, []string{"/dev/fuse"}, []string{"store"}
	}
	for name, c := range map[string]struct {
		o       plan.Options
		setting string
		never   bool // whatever is allowed above
	}{
		"privileged":            {plan.Options{Privileged: true}, "docker-allow-privileged", false},
		"host_network":          {plan.Options{HostNetwork: true}, "docker-allow-host-network", false},
		"network_mode host":     {plan.Options{NetworkMode: "host"}, "docker-allow-host-network", false},
		"a network":             {plan.Options{NetworkMode: "ours"}, "docker-allow-networks", false},
		"network of another":    {plan.Options{NetworkMode: "container:x"}, "docker-allow-networks", true},
		"bind":                  {bind("/srv/data/x"), "docker-allow-binds", false},
		"the engine's socket":   {bind("/var/run/docker.sock"), "docker-allow-binds", true},
		"beside what is open":   {bind("/srv/database"), "docker-allow-binds", true},
		"out of what is open":   {bind("/srv/data/../../etc"), "docker-allow-binds", true},
		"a relative path":       {bind("srv/data"), "docker-allow-binds", true},
		"host_path":             {volume(plan.Volume{Kind: plan.VolumeHostPath, HostPath: "/srv/data", MountPath: "/m"}), "docker-allow-binds", false},
		"bind_dir":              {plan.Options{Container: &plan.Container{BindDir: "/srv/data"}}, "docker-allow-binds", false},
		"device":                {plan.Options{Container: &plan.Container{Devices: []string{"/dev/fuse:/dev/f:r"}}}, "docker-allow-devices", false},
		"another device":        {plan.Options{Container: &plan.Container{Devices: []string{"/dev/mem"}}}, "docker-allow-devices", true},
		"volumes_from":          {plan.Options{Container: &plan.Container{VolumesFrom: []string{"store"}}}, "docker-allow-volumes-from", false},
		"a pod's volume":        {volume(plan.Volume{Kind: plan.VolumePVC, Name: "p", MountPath: "/m"}), "KUBERNETES", true},
		"mount at the root":     {volume(plan.Volume{Kind: plan.VolumeNamed, Name: "v", MountPath: "/"}), "place to mount", true},
		"mount over the script": {volume(plan.Volume{Kind: plan.VolumeNamed, Name: "v", MountPath: "/formicary/"}), "place to mount", true},
		"label of the ant":      {plan.Options{PodLabels: map[string]string{"formicary.uid": "x"}}, "the ant's own", true},
		"volume driver":         {plan.Options{Container: &plan.Container{VolumeDriver: "nfs"}}, "volume_driver", true},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := specOf(t, nil, "", c.o)
			if _, ok := err.(refusal); !ok || !strings.Contains(err.Error(), c.setting) { //nolint:errorlint // it is not wrapped here
				t.Errorf("closed: %v", err)
			}
			if _, err := specOf(t, allowed, "", c.o); (err != nil) != c.never {
				t.Errorf("allowed: %v", err)
			}
		})
	}
}

func TestImages(t *testing.T) {
	c := Config{Images: []string{"alpine:*", "registry.example/team/*", "exact"}}
	for name, want := range map[string]bool{
		"alpine:3": true, "alpine": false, "evil/alpine:3": false, "registry.example/team/a/b:1": true, "registry.example/other": false, "exact": true, "exactly": false,
	} {
		if c.allowsImage(name) != want {
			t.Errorf("%s: want %t", name, want)
		}
	}
	for image, registry := range map[string]string{
		"alpine": "docker.io", "library/alpine:3": "docker.io", "localhost/x": "localhost", "127.0.0.1:5000/x:1": "127.0.0.1:5000", "r.example/x/y@sha256:1": "r.example",
	} {
		if got := registryOf(image); got != registry {
			t.Errorf("%s: %q", image, got)
		}
	}
}

// Named volumes are an organisation's own.
func TestNamedVolumes(t *testing.T) {
	seen := map[string]string{}
	for _, org := range []string{"", "a", "a-b", "ä/.."} {
		for _, name := range []string{"c", "b-c"} {
			e := &Executor{}
			m, err := e.mount(&spec{conf: e.opts.of("")}, executor.Task{Org: org}, plan.Volume{Kind: plan.VolumeNamed, Name: name, MountPath: "/m"})
			if err != nil || seen[m.Source] != "" || m.VolumeOptions.Labels[labelOrg] != org || !volumePattern.MatchString(m.Source) {
				t.Errorf("%q of %q: %s, as %q; %v", name, org, m.Source, seen[m.Source], err)
			}
			seen[m.Source] = org + " " + name
		}
	}
}

// volumePattern is what engines take.
var volumePattern = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]+$`)
