package up

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/formicary/formicary/libs/pgdb/cluster"
	"github.com/formicary/formicary/services/ant"
)

// KillLeftovers ends what a colony left running that was killed and is not to come back: its tasks and its database.
func KillLeftovers(ctx context.Context, conf Config) error {
	lock, err := lockData(conf.DataDir)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	// Neither waits for the other: what can be ended is.
	return errors.Join(
		ant.KillLeftovers(ctx, conf.AntID, filepath.Join(conf.DataDir, antDir), conf.Docker),
		cluster.KillLeftover(ctx, filepath.Join(conf.DataDir, "pg")),
	)
}
