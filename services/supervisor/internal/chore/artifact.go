package chore

import (
	"context"

	"github.com/google/uuid"

	"github.com/formicary/formicary/services/supervisor/internal/artifact"
)

// expireArtifacts deletes some artifacts whose time is over and returns them: first the objects, then what names them, so
// that none is left that nothing names.
func (l *Loop) expireArtifacts(ctx context.Context) ([]artifact.Artifact, error) {
	expired, err := l.store.ExpiredArtifacts(ctx, batchSize)
	if err != nil || len(expired) == 0 {
		return nil, err
	}
	keys, ids := make([]string, len(expired)), make([]uuid.UUID, len(expired))
	for i, a := range expired {
		keys[i], ids[i] = a.Key, a.ID
	}
	if err := l.blobs.Remove(ctx, keys); err != nil {
		return nil, err
	}
	return expired, l.store.ForgetArtifacts(ctx, ids)
}

// tidyArtifacts deletes what is over, and uploads that became nothing.
func (l *Loop) tidyArtifacts(ctx context.Context) error {
	for {
		if over, err := l.expireArtifacts(ctx); err != nil {
			return err
		} else if len(over) < batchSize {
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
