package ant

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/formicary/formicary/services/ant/internal/docker"
	"github.com/formicary/formicary/services/ant/internal/shell"
	"github.com/formicary/formicary/services/ant/internal/spool"
)

// KillLeftovers kills what an ant left running that was killed and has no next life. dir is its data directory, which
// nobody uses; it is to be removed afterwards. id and engine are those of the ant.
func KillLeftovers(ctx context.Context, id, dir string, engine DockerConfig) error {
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil // it had not begun
	}
	journal, left, err := spool.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = journal.Close() }()
	traces := make(map[string]string, len(left))
	for _, a := range left {
		traces[a.UID] = a.Trace
	}
	containers, err := docker.New(docker.Options{Config: engine, Ant: id, Dir: dir})
	if err != nil {
		return err
	}
	e, err := shell.New(shell.Options{Dir: filepath.Join(dir, workDir)}) // without a lease nothing is adopted
	if err != nil {
		return err
	}
	if err := e.KillLeftovers(ctx, traces); err != nil {
		return err
	}
	return containers.KillLeftovers(ctx)
}
