package ant

import (
	"context"
	"flag"
	"strings"

	"github.com/formicary/formicary/services/ant/internal/docker"
)

// DockerConfig says which Docker engine is used and what tasks may ask of it.
type DockerConfig = docker.Config

// EngineInfo is what a Docker engine says of itself.
type EngineInfo = docker.Info

// ErrNoEngine says that nobody can be connected to.
var ErrNoEngine = docker.ErrNoEngine

// AskEngine asks the Docker engine at a host, empty for that of this machine, about itself.
func AskEngine(ctx context.Context, host string) (EngineInfo, error) { return docker.Ask(ctx, host) }

// DockerFlags adds the settings of an engine to the flags of a command; host is where the engine is unless a flag says otherwise.
func DockerFlags(f *flag.FlagSet, c *DockerConfig, host string) {
	if host != "" {
		c.Host = host
	}
	f.StringVar(&c.Host, "docker-host", c.Host, "address of the Docker `ENGINE`; DOCKER_HOST unless given")
	f.StringVar(&c.Image, "docker-image", c.Image, "`IMAGE` of DOCKER tasks that name none")
	f.StringVar(&c.Pull, "docker-pull", c.Pull, "when images are pulled: always, if-not-present or never")
	f.Func("docker-logins", "`FILE` with logins at registries, as docker login writes it", func(file string) (err error) {
		c.Logins, err = docker.ReadLogins(file)
		return err
	})
	f.Int64Var(&c.CPUMillis, "docker-cpu", c.CPUMillis, "thousandths of a processor for tasks that name no cpu_limit; 0 for no limit")
	f.Int64Var(&c.MemoryBytes, "docker-memory", c.MemoryBytes, "`BYTES` of memory for tasks that name no memory_limit; 0 for no limit")
	f.Int64Var(&c.PIDs, "docker-pids", c.PIDs, "processes of a task at most; 0 for no limit")
	f.DurationVar(&c.ServiceTime, "docker-service-time", c.ServiceTime, "how long the services of a task may take until they can be used")
	list(f, &c.AllowOrgs, "docker-allow-orgs", "`ORGANISATIONS` to whose tasks the other flags docker-allow-… apply; to those of all unless given")
	f.BoolVar(&c.AllowRoot, "docker-allow-root", c.AllowRoot, "let tasks be root in their containers, with a writable image")
	f.BoolVar(&c.AllowPrivileged, "docker-allow-privileged", c.AllowPrivileged, "let tasks ask for privileged: all rights on the engine's host")
	f.BoolVar(&c.AllowHostNetwork, "docker-allow-host-network", c.AllowHostNetwork, "let tasks ask for host_network")
	list(f, &c.Images, "docker-images", "`IMAGES` that tasks may run, with * for any text; all unless given")
	list(f, &c.AllowNetworks, "docker-allow-networks", "further `VALUES` of network_mode that tasks may ask for")
	list(f, &c.AllowBinds, "docker-allow-binds", "`DIRECTORIES` of the engine's host from which tasks may mount")
	list(f, &c.AllowDevices, "docker-allow-devices", "`DEVICES` of the engine's host that tasks may use")
	list(f, &c.AllowVolumesFrom, "docker-allow-volumes-from", "`CONTAINERS` whose volumes tasks may share")
}

// list adds a flag with values between commas.
func list(f *flag.FlagSet, to *[]string, name, usage string) {
	f.Func(name, usage+"; several with commas", func(text string) error {
		for item := range strings.SplitSeq(text, ",") {
			if item = strings.TrimSpace(item); item != "" {
				*to = append(*to, item)
			}
		}
		return nil
	})
}
