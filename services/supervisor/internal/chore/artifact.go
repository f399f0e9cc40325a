package chore

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"github.com/formicary/formicary/services/supervisor/internal/artifact"
)

// expireArtifacts deletes some artifacts whose time is over and returns them: first the objects, then what names them, so
// that none is left that nothing names. It passes over the first ones, whose objects were refused in this round, and adds to
// them; more says whether there may be others behind.
func (l *Loop) expireArtifacts(ctx context.Context, refused *int) (over []artifact.Artifact, more bool, err error) {
	expired, err := l.store.ExpiredArtifacts(ctx, *refused, batchSize)
	if err != nil || len(expired) == 0 {
		return nil, false, err
	}
	keys := make([]string, len(expired))
	for i, a := range expired {
		keys[i] = a.Key
	}
	gone, err := l.remove(ctx, keys)
	if err != nil {
		return nil, false, err
	}
	over = those(expired, gone)
	*refused += len(expired) - len(over)
	ids := make([]uuid.UUID, len(over))
	for i, a := range over {
		ids[i] = a.ID
	}
	return over, len(expired) == batchSize, l.store.ForgetArtifacts(ctx, ids)
}

// tidyArtifacts deletes what is over, and uploads that became nothing.
func (l *Loop) tidyArtifacts(ctx context.Context) error {
	refused, more := 0, true
	var failed error
	for more && failed == nil {
		_, more, failed = l.expireArtifacts(ctx, &refused)
	}
	return errors.Join(failed, l.tidyUploads(ctx))
}

func (l *Loop) tidyUploads(ctx context.Context) error {
	for refused := 0; ; {
		old, err := l.store.OldUploads(ctx, orphanAge, refused, batchSize)
		if err != nil || len(old) == 0 {
			return err
		}
		keys := make([]string, len(old))
		for i, u := range old {
			keys[i] = u.Key
		}
		gone, err := l.removeAfter(ctx, keys, func(i int) error {
			if old[i].StoreID == "" {
				return nil
			}
			return l.blobs.AbortParts(ctx, old[i].Key, old[i].StoreID)
		})
		if err != nil {
			return err
		}
		if err := l.forgetUploads(ctx, those(old, gone)); err != nil {
			return err
		}
		for _, ok := range gone {
			if !ok {
				refused++
			}
		}
	}
}

func (l *Loop) forgetUploads(ctx context.Context, gone []artifact.Upload) error {
	ids := make([]uuid.UUID, len(gone))
	for i, u := range gone {
		ids[i] = u.ID
	}
	return l.store.ForgetArtifactUploads(ctx, ids)
}
