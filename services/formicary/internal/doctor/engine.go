package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/formicary/formicary/services/ant"
)

// Engine looks at the Docker engine at a host, empty for the one of this machine. Only tasks with the method DOCKER need one.
func Engine(ctx context.Context, host string) []Finding {
	info, err := ant.AskEngine(ctx, host)
	return engine(info, err)
}

func engine(info ant.EngineInfo, err error) []Finding {
	const name = "Docker engine"
	if err != nil {
		advice := "look at what the engine logs (journalctl -u docker), and at DOCKER_HOST"
		switch {
		case errors.Is(err, fs.ErrPermission):
			advice = "let this user use it: sudo usermod -aG docker \"$USER\", then log in again"
		case errors.Is(err, ant.ErrNoEngine):
			advice = "only tasks with the method DOCKER need it: install the package docker.io and start it (systemctl start docker), or set DOCKER_HOST"
		}
		return []Finding{{Name: name, Grade: Note, What: err.Error(), Advice: advice}}
	}
	found := []Finding{{Name: name, Grade: OK, What: fmt.Sprintf("%s (API %s), storage %s, cgroups %s", info.Version, info.API, info.Storage, info.Cgroups)}}
	note := func(bad bool, what, advice string) {
		if bad {
			found = append(found, Finding{Name: name, Grade: Note, What: what, Advice: advice})
		}
	}
	note(info.Storage == "vfs" || info.Storage == "devicemapper", "the storage driver "+info.Storage+" is slow: vfs copies an image for each container",
		`use overlay2 ("storage-driver" in /etc/docker/daemon.json) on ext4 or xfs`)
	note(!info.Memory, "the memory of tasks cannot be limited", "boot the host with cgroup_enable=memory swapaccount=1, or use control groups v2")
	note(!info.CPU, "the processors of tasks cannot be limited", "the kernel needs CONFIG_CFS_BANDWIDTH, a rootless engine the cpu controller (systemd: Delegate=cpu)")
	note(!info.PIDs, "the processes of tasks cannot be limited: one that forks for ever takes the host along", "let the engine have the pids controller (systemd: Delegate=pids)")
	return found
}
