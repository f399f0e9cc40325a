package up

import (
	"context"
	"path/filepath"

	"github.com/formicary/formicary/libs/pgdb/cluster"
	"github.com/formicary/formicary/services/ant"
)

// Bury ends what a colony left running that was killed and is not to come back: its tasks and its database. dir is its data
// directory.
func Bury(ctx context.Context, dir string) error {
	lock, err := lockData(dir)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	cluster.Bury(filepath.Join(dir, "pg"))
	return ant.Bury(ctx, filepath.Join(dir, antDir))
}
