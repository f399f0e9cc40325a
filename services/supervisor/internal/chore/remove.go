package chore

import (
	"context"
	"fmt"
)

// remove deletes objects and returns which of them are gone. One that the store refuses keeps no other one: it is logged, and
// tried again with the next round. When all are refused the store is away, which is an error.
func (l *Loop) remove(ctx context.Context, keys []string) (gone []bool, err error) {
	return l.removeAfter(ctx, keys, nil)
}

// removeAfter is remove with something else to be done for each key before; before may be nil.
func (l *Loop) removeAfter(ctx context.Context, keys []string, before func(i int) error) (gone []bool, err error) {
	gone = make([]bool, len(keys))
	var ready []string
	var places []int
	var refused []error
	for i, key := range keys {
		if before != nil {
			if err := before(i); err != nil {
				refused = append(refused, err)
				continue
			}
		}
		ready, places = append(ready, key), append(places, i)
	}
	if len(ready) > 0 {
		if err := l.blobs.Remove(ctx, ready); err == nil {
			for _, i := range places {
				gone[i] = true
			}
			ready = nil
		}
	}
	for n, key := range ready { // some of them are refused
		if err := l.blobs.Remove(ctx, []string{key}); err != nil {
			refused = append(refused, err)
			continue
		}
		gone[places[n]] = true
	}
	switch {
	case ctx.Err() != nil:
		return gone, ctx.Err()
	case len(refused) == len(keys) && len(keys) > 0:
		return gone, fmt.Errorf("delete %d objects: %w", len(keys), refused[0])
	case len(refused) > 0:
		l.log.Error("objects are not deleted", "refused", len(refused), "of", len(keys), "error", refused[0])
	}
	return gone, nil
}

// those are the elements at the places that are gone.
func those[T any](all []T, gone []bool) []T {
	out := make([]T, 0, len(all))
	for i, x := range all {
		if gone[i] {
			out = append(out, x)
		}
	}
	return out
}
