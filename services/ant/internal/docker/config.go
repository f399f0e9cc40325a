package docker

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/client"

	"github.com/formicary/formicary/libs/jobspec/plan"
)

// Config says which engine is used and what tasks may ask of it. What is not allowed here is refused.
type Config struct {
	// Host of the engine, as DOCKER_HOST has it; empty for the socket of this machine.
	Host string
	// Image of tasks that name none; empty refuses them.
	Image string
	// Pull says when images are pulled: PullAlways, PullMissing (also when it is empty) or PullNever.
	Pull string
	// Logins at registries by their host name, docker.io for the public one.
	Logins map[string]Login
	// CPUMillis, MemoryBytes and PIDs limit tasks that name no limits; 0 means none.
	CPUMillis, MemoryBytes, PIDs int64
	// ServiceTime is how long the services of a task may take until they can be used; 0 means 2 minutes.
	ServiceTime time.Duration
	// Images that tasks may run, as patterns in which '*' stands for anything; none allows all.
	Images []string
	// AllowOrgs are the organisations to whose tasks the settings Allow… apply; none: to those of all.
	AllowOrgs []string
	// AllowRoot lets tasks be root in their containers where the image or the task says so, with a writable image and the
	// capabilities that the engine gives.
	AllowRoot bool
	// AllowPrivileged lets tasks have all rights on the host.
	AllowPrivileged bool
	// AllowHostNetwork lets tasks use the network of the host.
	AllowHostNetwork bool
	// AllowNetworks are further values of network_mode, beside bridge and none.
	AllowNetworks []string
	// AllowBinds are directories of the host from which tasks may mount.
	AllowBinds []string
	// AllowDevices are devices of the host that tasks may use.
	AllowDevices []string
	// AllowVolumesFrom are containers whose volumes tasks may share.
	AllowVolumesFrom []string
}

// The values of Pull.
const (
	PullAlways  = plan.PullAlways
	PullMissing = plan.PullMissing
	PullNever   = plan.PullNever
)

// Login at a registry.
type Login struct{ Username, Password string }

const serviceTime = 2 * time.Minute

// DefaultConfig allows nothing and limits processes and memory.
func DefaultConfig() Config {
	return Config{Host: client.DefaultDockerHost, Pull: PullMissing, MemoryBytes: 4 << 30, PIDs: 4096, ServiceTime: serviceTime}
}

// Validate reports all faults at once.
func (c Config) Validate() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf("docker: "+format, args...))
		}
	}
	check(slices.Contains([]string{"", PullAlways, PullMissing, PullNever}, c.Pull), "pull %q: want %s, %s or %s", c.Pull, PullAlways, PullMissing, PullNever)
	check(c.CPUMillis >= 0 && c.MemoryBytes >= 0 && c.PIDs >= 0, "a limit is below 0")
	check(c.ServiceTime >= 0, "time of services %s: want 0 or more", c.ServiceTime)
	_, err := client.ParseHostURL(c.Host)
	check(c.Host == "" || err == nil, "host %q: %v", c.Host, err)
	for _, dir := range c.AllowBinds {
		check(path.IsAbs(dir), "directory to mount %q: want an absolute path", dir)
	}
	return errors.Join(faults...)
}

// of is the configuration for tasks of an organisation: without what is open to others only.
func (c Config) of(org string) Config {
	if len(c.AllowOrgs) == 0 || slices.Contains(c.AllowOrgs, org) {
		return c
	}
	c.AllowRoot, c.AllowPrivileged, c.AllowHostNetwork = false, false, false
	c.AllowNetworks, c.AllowBinds, c.AllowDevices, c.AllowVolumesFrom = nil, nil, nil, nil
	return c
}

// allowsImage reports whether a task may run the image.
func (c Config) allowsImage(name string) bool {
	return len(c.Images) == 0 || slices.ContainsFunc(c.Images, func(pattern string) bool { return matches(pattern, name) })
}

// matches reports whether a name is a pattern in which each '*' stands for any text.
func matches(pattern, name string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == name
	}
	if name, star = strings.CutPrefix(name, first); !star {
		return false
	}
	for i := range len(name) + 1 {
		if matches(rest, name[i:]) {
			return true
		}
	}
	return false
}

// allowsBind reports whether a task may mount the path of the host. The engine follows links in it, and a task may have left
// some in a directory that it could mount, so where they lead must be open, too; on another host nobody here can tell.
func (c Config) allowsBind(p string) bool {
	if !path.IsAbs(p) || !slices.ContainsFunc(c.AllowBinds, func(dir string) bool { return below(path.Clean(p), path.Clean(dir)) }) {
		return false
	}
	if c.Host != "" && !strings.HasPrefix(c.Host, "unix://") {
		return true
	}
	real, err := filepath.EvalSymlinks(p)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist) // the engine refuses that
	}
	return slices.ContainsFunc(c.AllowBinds, func(dir string) bool {
		dir, err := filepath.EvalSymlinks(dir)
		return err == nil && below(real, dir)
	})
}

func below(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}

// ReadLogins reads the file that `docker login` writes; helpers that keep passwords elsewhere are not asked.
func ReadLogins(file string) (map[string]Login, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read logins of registries: %w", err)
	}
	var text struct {
		Auths map[string]struct{ Auth, Username, Password string } `json:"auths"`
	}
	if err := json.Unmarshal(raw, &text); err != nil {
		return nil, fmt.Errorf("read logins of registries in %s: %w", file, err)
	}
	out := map[string]Login{}
	for host, a := range text.Auths {
		l := Login{Username: a.Username, Password: a.Password}
		if a.Auth != "" {
			plain, err := base64.StdEncoding.DecodeString(a.Auth)
			user, password, ok := strings.Cut(string(plain), ":")
			if err != nil || !ok {
				return nil, fmt.Errorf("read logins of registries in %s: auth of %s: want base64 of USER:PASSWORD", file, host)
			}
			l = Login{Username: user, Password: password}
		}
		out[registryName(host)] = l
	}
	return out, nil
}

// registryName is the host of a registry, however it is written.
func registryName(host string) string {
	host = strings.TrimPrefix(strings.TrimPrefix(host, "https://"), "http://")
	host, _, _ = strings.Cut(host, "/")
	if host == "index.docker.io" || host == "registry-1.docker.io" || host == "" {
		return publicRegistry
	}
	return host
}

const publicRegistry = "docker.io"

// registryOf is the registry from which an image comes.
func registryOf(image string) string {
	first, _, more := strings.Cut(image, "/")
	if more && (strings.ContainsAny(first, ".:") || first == "localhost") {
		return registryName(first)
	}
	return publicRegistry
}
