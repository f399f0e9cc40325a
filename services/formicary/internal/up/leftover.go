package up

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/formicary/formicary/libs/pgdb/cluster"
	"github.com/formicary/formicary/services/ant"
)

// KillLeftovers ends what a colony left running that was killed and is not to come back: its tasks and its database. dir
// is its data directory.
func KillLeftovers(ctx context.Context, dir string) error {
	lock, err := lockData(dir)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	// Neither waits for the other: what can be ended is.
	return errors.Join(ant.KillLeftovers(ctx, filepath.Join(dir, antDir)), cluster.KillLeftover(ctx, filepath.Join(dir, "pg")))
}
