package chore

import (
	"context"

	"github.com/google/uuid"
)

// expireArtifacts deletes some artifacts whose time is over, of one organisation or of all: first the objects, then what
// names them, so that none is left that nothing names.
func (l *Loop) expireArtifacts(ctx context.Context, org string) (int, error) {
	expired, err := l.store.ExpiredArtifacts(ctx, org, batchSize)
	if err != nil || len(expired) == 0 {
		return 0, err
	}
	keys, ids := make([]string, len(expired)), make([]uuid.UUID, len(expired))
	for i, a := range expired {
		keys[i], ids[i] = a.Key, a.ID
	}
	if err := l.blobs.Remove(ctx, keys); err != nil {
		return 0, err
	}
	return len(expired), l.store.ForgetArtifacts(ctx, ids)
}

// tidyArtifacts deletes what is over, and uploads that became nothing.
func (l *Loop) tidyArtifacts(ctx context.Context) error {
	for {
		if n, err := l.expireArtifacts(ctx, ""); err != nil {
			return err
		} else if n < batchSize {
			break
		}
	}
	for {
		old, err := l.store.OldUploads(ctx, orphanAge, batchSize)
		if err != nil || len(old) == 0 {
			return err
		}
		keys, ids := make([]string, len(old)), make([]uuid.UUID, len(old))
		for i, u := range old {
			if keys[i], ids[i] = u.Key, u.ID; u.StoreID == "" {
				continue
			}
			if err := l.blobs.AbortParts(ctx, u.Key, u.StoreID); err != nil {
				return err
			}
		}
		if err := l.blobs.Remove(ctx, keys); err != nil {
			return err
		}
		if err := l.store.ForgetArtifactUploads(ctx, ids); err != nil {
			return err
		}
	}
}
