package docker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/docker/docker/client"
)

// Info is what an engine says of itself.
type Info struct {
	Version, API string
	// Storage is how images and containers are stored, Cgroups the version of control groups and their driver.
	Storage, Cgroups string
	// Memory, CPU and PIDs say whether tasks can be limited.
	Memory, CPU, PIDs bool
}

const infoTime = 10 * time.Second

// ErrNoEngine says that nobody can be connected to.
var ErrNoEngine = errors.New("no docker engine")

// Ask asks the engine at a host, empty for this machine's, about itself.
func Ask(ctx context.Context, host string) (Info, error) {
	e, err := New(Options{Config: Config{Host: host}})
	if err != nil {
		return Info{}, err
	}
	defer e.close()
	switch err := e.ping(ctx); {
	case client.IsErrConnectionFailed(err) && !errors.Is(err, fs.ErrPermission):
		return Info{}, fmt.Errorf("%w at %s", ErrNoEngine, e.opts.Host)
	case err != nil:
		return Info{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, infoTime)
	defer cancel()
	i, err := e.engine().Info(ctx)
	if err != nil {
		return Info{}, fmt.Errorf("docker engine at %s says nothing of itself: %w", e.opts.Host, err)
	}
	return Info{
		Version: i.ServerVersion, API: e.engine().ClientVersion(), Storage: i.Driver, Cgroups: "v" + i.CgroupVersion + " " + i.CgroupDriver,
		Memory: i.MemoryLimit, CPU: i.CPUCfsQuota, PIDs: i.PidsLimit,
	}, nil
}
