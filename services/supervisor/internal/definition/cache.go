// Package definition asks the pinned versions of job definitions what only a run knows: what becomes of a task that is
// about to start, and how an item of a fan-out is rendered.
package definition

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/formicary/formicary/libs/jobspec"
)

// Source gives the text of pinned versions, parsed.
type Source interface {
	Definition(ctx context.Context, org, id string) (*jobspec.Definition, error)
}

// Cache keeps parsed definitions. A version never changes, so nothing in it gets old; it is emptied when it is full.
type Cache struct {
	source Source
	mu     sync.Mutex
	known  map[Key]*jobspec.Definition
	failed map[Key]failure
}

// Key names a version of a definition.
type Key struct{ Org, ID string }

type failure struct {
	err   error
	until time.Time
}

const (
	cacheSize = 256
	// failureTime is how long the answer to a question that failed is not asked for again: runs by the hundred may want
	// the same definition while job-manager is away.
	failureTime = time.Second
)

// NewCache returns an empty cache of what source knows.
func NewCache(source Source) *Cache {
	return &Cache{source: source, known: map[Key]*jobspec.Definition{}, failed: map[Key]failure{}}
}

// Known returns the definition if nobody has to be asked for it, else nil.
func (c *Cache) Known(k Key) *jobspec.Definition {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known[k]
}

// Get returns the definition, which it may have to ask for.
func (c *Cache) Get(ctx context.Context, k Key) (*jobspec.Definition, error) {
	c.mu.Lock()
	def, old := c.known[k], c.failed[k]
	c.mu.Unlock()
	switch {
	case def != nil:
		return def, nil
	case old.err != nil && time.Now().Before(old.until):
		return nil, old.err
	}
	def, err := c.source.Definition(ctx, k.Org, k.ID)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		if len(c.failed) >= cacheSize {
			clear(c.failed)
		}
		if !errors.Is(ctx.Err(), context.Canceled) { // somebody who has stopped waiting says nothing about the definition
			c.failed[k] = failure{err: err, until: time.Now().Add(failureTime)}
		}
		return nil, err
	}
	if len(c.known) >= cacheSize {
		clear(c.known)
	}
	c.known[k] = def
	delete(c.failed, k)
	return def, nil
}
