package chore

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
)

const (
	tidyEvery = 10 * time.Minute
	// orphanAge is how long after its address was given out, and after the end of its attempt, an object that nothing
	// names is deleted: an upload may still be on its way for as long as its address is valid and the largest log takes.
	orphanAge = 6 * time.Hour
	// outputAge is how long after its end the outputs of a run are kept by name: for a parent that has not heard of it.
	outputAge  = 24 * time.Hour
	runsAtOnce = 50
	// mostPages bounds the uploads of a round; the next one goes on.
	mostPages = 20
)

// Tidy deletes what nothing names any more. Every run may have outputs, so a round forgets all of them that are old,
// however many runs there were.
func (l *Loop) Tidy(ctx context.Context) error {
	orphans := errors.Join(l.dropOrphans(ctx), l.tidyArtifacts(ctx))
	for ctx.Err() == nil {
		var err error
		if l.tidied, err = l.store.ForgetOutputs(ctx, l.tidied, outputAge, runsAtOnce); err != nil || l.tidied == uuid.Nil {
			return errors.Join(orphans, err)
		}
	}
	return ctx.Err()
}

// dropOrphans deletes the objects of attempts that ended without them: lost after the upload, or with a result that does
// not know that the upload succeeded. Only attempts that were given an address are looked at.
func (l *Loop) dropOrphans(ctx context.Context) error {
	for range mostPages {
		uploads, err := l.store.Uploads(ctx, l.dropped, orphanAge, batchSize)
		if err != nil {
			return err
		}
		var keys []string
		var done, orphans []uuid.UUID
		for _, u := range uploads {
			switch {
			case u.Live:
			case u.Named:
				done = append(done, u.UID)
			default:
				keys, orphans = append(keys, u.Key), append(orphans, u.UID)
			}
		}
		if len(keys) > 0 {
			gone, err := l.remove(ctx, keys)
			if err != nil {
				return err
			}
			done = append(done, those(orphans, gone)...)
			l.log.Info("logs that nothing names are deleted", "objects", len(keys))
		}
		if len(done) > 0 {
			if err := l.store.ForgetUploads(ctx, done); err != nil {
				return err
			}
		}
		if len(uploads) < batchSize {
			l.dropped = Mark{}
			return nil
		}
		l.dropped = uploads[len(uploads)-1].Mark
	}
	return nil
}
