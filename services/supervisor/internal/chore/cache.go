package chore

import (
	"context"

	"github.com/formicary/formicary/services/supervisor/internal/artifact"
)

// Cached is to be called when there is a cache more: its organisation may have passed its quota.
func (l *Loop) Cached() { l.cached.Set() }

// TidyCaches deletes caches whose time is over and those that are too much.
func (l *Loop) TidyCaches(ctx context.Context) error {
	for {
		gone, err := l.store.DropCaches(ctx, l.quota, batchSize)
		if err != nil || len(gone) == 0 {
			return err
		}
		if err := l.Sweep(ctx, gone); err != nil {
			return err
		}
		l.log.Info("caches that are over, or too much for their organisation, are deleted", "caches", len(gone))
	}
}

// Sweep deletes the objects of what has no row any more. What a fault leaves is deleted as uploads are that became nothing.
func (l *Loop) Sweep(ctx context.Context, gone []artifact.Upload) error {
	keys := make([]string, len(gone))
	for i, u := range gone {
		keys[i] = u.Key
	}
	deleted, err := l.remove(ctx, keys)
	if err != nil {
		return err
	}
	return l.forgetUploads(ctx, those(gone, deleted))
}
