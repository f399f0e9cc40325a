package docker

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"net"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"

	"github.com/formicary/formicary/libs/jobspec/plan"
	"github.com/formicary/formicary/libs/mask"
	"github.com/formicary/formicary/services/ant/internal/executor"
)

// Places in a container.
const (
	home       = "/formicary"
	scriptFile = "script"
	envFile    = "env"
	afterFile  = "after"
	codeFile   = "code"
	outputFile = "output"
	secretsDir = "secrets"
	workDir    = "work"
	filesDir   = "files"
	homeDir    = "home"
)

const (
	nobody     = 65534
	tmpOptions = "rw,exec,nosuid,nodev,mode=1777"
	killGroup  = "TINI_KILL_PROCESS_GROUP=1" // TERM reaches all that the session has not put into groups of its own
)

// spec is what the engine is asked for.
type spec struct {
	config *container.Config
	host   *container.HostConfig
	// network is the one that the container joins with a name of its own.
	network *network.NetworkingConfig
	// uid and gid own the files of the attempt; known is false when the image names its user by a word.
	uid, gid int
	known    bool
	// masks finds the secrets of the task: no container has one in what the engine tells of it.
	masks *mask.Masker
	// conf says what the task may ask for: that of the ant, for its organisation.
	conf Config
}

// refusal is an error of the task: it asks for what it must not have, or what there is not.
type refusal struct{ error }

func refuse(format string, args ...any) error { return refusal{fmt.Errorf(format, args...)} }

// closed refuses an option that the ant's configuration does not allow.
func closed(option, setting string) error {
	return refuse("%s: this ant does not allow it (setting %s)", option, setting)
}

// spec checks what a task asks for and makes of it what the engine is asked for. imageUser is the user that the image names.
func (e *Executor) spec(t executor.Task, o plan.Options, imageUser string) (*spec, error) {
	c := o.Container
	s := &spec{
		masks: t.Masks, conf: e.opts.of(t.Org),
		config: &container.Config{
			Image: c.Image, Labels: map[string]string{}, WorkingDir: path.Join(home, workDir), Env: []string{killGroup},
		},
		host: &container.HostConfig{
			LogConfig: container.LogConfig{Type: logDriver}, Init: new(true),
			Mounts: []mount.Mount{{Type: mount.TypeVolume, Target: home, VolumeOptions: &mount.VolumeOptions{NoCopy: true, Labels: e.labels(t)}}},
		},
	}
	if !filepath.IsLocal(path.Join(".", t.WorkingDir)) {
		return nil, refuse("working_dir %q: want a path below the attempt's own directory", t.WorkingDir)
	}
	s.config.WorkingDir = path.Join(s.config.WorkingDir, t.WorkingDir)
	for _, label := range slices.Sorted(maps.Keys(o.PodLabels)) {
		if strings.HasPrefix(label, "formicary.") {
			return nil, refuse("label %q: labels that begin with formicary. are the ant's own", label)
		}
		s.config.Labels[label] = o.PodLabels[label]
	}
	maps.Copy(s.config.Labels, e.labels(t))
	s.command(t, c)
	for _, step := range []func() error{
		func() error { return e.rights(s, o, imageUser) },
		func() error { return e.network(s, o) },
		func() error { return e.mounts(s, t, c) },
		func() error { return e.devices(s, c) },
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	e.limits(s, t, c.Limits)
	return s, e.process(s, c)
}

// command is the script in a shell of the image, or what the image or the task says to run.
func (s *spec) command(t executor.Task, c *plan.Container) {
	if !scripted(t) {
		s.config.Entrypoint, s.config.Cmd = c.Entrypoint, c.Command
		return
	}
	s.config.Entrypoint = append(slices.Clone(c.Entrypoint), "/bin/sh", path.Join(home, scriptFile))
	s.config.Cmd = []string{}
}

func scripted(t executor.Task) bool { return len(t.Before)+len(t.Script) > 0 }

// rights are the sandbox: who the task is and what it may do.
func (e *Executor) rights(s *spec, o plan.Options, imageUser string) error {
	if o.Privileged && !s.conf.AllowPrivileged {
		return closed("privileged", "docker-allow-privileged")
	}
	user := imageUser
	if c := o.Container; c != nil && c.User != "" {
		if user = c.User; isRoot(user) && !s.conf.AllowRoot {
			return closed("user "+user, "docker-allow-root")
		}
	}
	root := user == "" || isRoot(user)
	if root && !s.conf.AllowRoot {
		user, root = fmt.Sprintf("%d:%d", nobody, nobody), false
	}
	s.config.User = user
	s.owner(user)
	s.host.Privileged = o.Privileged
	if o.Privileged {
		return nil
	}
	s.host.SecurityOpt = []string{"no-new-privileges"}
	if root {
		return nil
	}
	s.host.CapDrop = []string{"ALL"}
	s.host.ReadonlyRootfs = true
	s.host.Tmpfs = map[string]string{"/tmp": tmpOptions, "/run": tmpOptions}
	return nil
}

// process is what else is said of the processes of a container.
func (e *Executor) process(s *spec, c *plan.Container) error {
	s.host.ShmSize = c.ShmSize
	for _, name := range slices.Sorted(maps.Keys(c.ExtraHosts)) {
		address := c.ExtraHosts[name]
		if !hostName.MatchString(name) || address != "host-gateway" && net.ParseIP(address) == nil {
			return refuse("extra_hosts %s: %s: want a name with an address, or host-gateway", name, address)
		}
		s.host.ExtraHosts = append(s.host.ExtraHosts, name+":"+address)
	}
	switch limit, most := c.PIDsLimit, e.opts.PIDs; {
	case limit == 0:
	case most > 0 && limit > most:
		return refuse("pids_limit %d: this ant allows %d (setting docker-pids)", limit, most)
	default:
		s.host.PidsLimit = &limit
	}
	return nil
}

// isRoot reports whether a user of an image is root by number or name.
func isRoot(user string) bool {
	name, _, _ := strings.Cut(user, ":")
	n, err := strconv.Atoi(name)
	return name == "root" || name == "" || err == nil && n == 0
}

// owner finds the numbers of the user.
func (s *spec) owner(user string) {
	name, group, _ := strings.Cut(user, ":")
	if isRoot(user) {
		s.known = true
		return
	}
	uid, err := strconv.Atoi(name)
	gid, groupErr := strconv.Atoi(group)
	if s.known = err == nil; s.known {
		s.uid = uid
	}
	if groupErr == nil {
		s.gid = gid
	}
}

func (e *Executor) network(s *spec, o plan.Options) error {
	mode := o.NetworkMode
	if o.HostNetwork {
		mode = "host"
	}
	switch {
	case mode == "" || mode == "default" || mode == "bridge":
		mode = "bridge"
	case mode == "none", slices.Contains(s.conf.AllowNetworks, mode):
	case mode == "host" && s.conf.AllowHostNetwork:
	case mode == "host":
		return closed("host_network", "docker-allow-host-network")
	default:
		return closed("network_mode "+mode, "docker-allow-networks")
	}
	s.host.NetworkMode = container.NetworkMode(mode)
	return nil
}

func (e *Executor) mounts(s *spec, t executor.Task, c *plan.Container) error {
	if c.VolumeDriver != "" && c.VolumeDriver != "local" {
		return refuse("volume_driver %s: only local volumes are supported", c.VolumeDriver)
	}
	for _, name := range c.VolumesFrom {
		if !slices.Contains(s.conf.AllowVolumesFrom, name) {
			return closed("volumes_from "+name, "docker-allow-volumes-from")
		}
	}
	s.host.VolumesFrom = c.VolumesFrom
	for _, v := range c.Volumes {
		m, err := e.mount(s, t, v)
		if err != nil {
			return err
		}
		s.host.Mounts = append(s.host.Mounts, m)
	}
	if c.BindDir == "" {
		return nil
	}
	if !s.conf.allowsBind(c.BindDir) {
		return closed("bind_dir "+c.BindDir, "docker-allow-binds")
	}
	s.host.Mounts = append(s.host.Mounts, mount.Mount{Type: mount.TypeBind, Source: path.Clean(c.BindDir), Target: path.Join(home, workDir)})
	return nil
}

func (e *Executor) mount(s *spec, t executor.Task, v plan.Volume) (mount.Mount, error) {
	target := path.Clean(v.MountPath)
	if !path.IsAbs(target) || target == "/" || target == home {
		return mount.Mount{}, refuse("volume %s: %q is not a place to mount at", v.Name, v.MountPath)
	}
	m := mount.Mount{Target: target, ReadOnly: v.ReadOnly}
	switch v.Kind {
	case plan.VolumeBind, plan.VolumeHostPath:
		source := path.Join(v.HostPath, path.Clean("/"+v.SubPath))
		if !s.conf.allowsBind(source) {
			return m, closed("volume of the host's "+v.HostPath, "docker-allow-binds")
		}
		m.Type, m.Source = mount.TypeBind, source
	case plan.VolumeNamed:
		m.Type, m.Source = mount.TypeVolume, volumeName(t.Org, v.Name)
		m.VolumeOptions = &mount.VolumeOptions{Labels: map[string]string{labelOrg: t.Org}}
	case plan.VolumeEmptyDir:
		if v.Medium != "" {
			m.Type, m.TmpfsOptions = mount.TypeTmpfs, &mount.TmpfsOptions{Mode: 0o1777}
			break
		}
		m.Type, m.VolumeOptions = mount.TypeVolume, &mount.VolumeOptions{Labels: e.labels(t)}
	default:
		return m, refuse("volume %s: volumes of the kind %s are for KUBERNETES", v.Name, v.Kind)
	}
	return m, nil
}

// volumeName is a name of its own: no task reaches the volumes of other programs, nor those of other organisations.
func volumeName(org, name string) string {
	sum := sha256.Sum256([]byte(org))
	return fmt.Sprintf("formicary-volume-%x-%s", sum[:8], name)
}

func (e *Executor) devices(s *spec, c *plan.Container) error {
	for _, d := range c.Devices {
		part := strings.Split(d, ":")
		if !slices.Contains(s.conf.AllowDevices, part[0]) {
			return closed("device "+part[0], "docker-allow-devices")
		}
		m := container.DeviceMapping{PathOnHost: part[0], PathInContainer: part[0], CgroupPermissions: "rwm"}
		if len(part) > 1 {
			m.PathInContainer = part[1]
		}
		if len(part) > 2 {
			m.CgroupPermissions = part[2]
		}
		s.host.Devices = append(s.host.Devices, m)
	}
	return nil
}

// limits are those of the task, or the ant's for tasks that name none. There is no swap beside the memory.
func (e *Executor) limits(s *spec, t executor.Task, l plan.Limits) {
	first := func(values ...int64) int64 {
		for _, v := range values {
			if v > 0 {
				return v
			}
		}
		return 0
	}
	r := &s.host.Resources
	r.NanoCPUs = first(l.CPULimit, t.CPUMillis, e.opts.CPUMillis) * 1e6
	r.Memory = first(l.MemoryLimit, t.MemoryBytes, e.opts.MemoryBytes)
	r.MemorySwap = r.Memory
	r.MemoryReservation = l.MemoryRequest
	r.CPUShares = l.CPURequest * 1024 / 1000
	if pids := e.opts.PIDs; pids > 0 {
		r.PidsLimit = &pids
	}
}
