// Package localcopy keeps on the ant's own disk copies of archives that it has moved, so that one that is wanted here again
// costs no transfer. A copy is named by its digest. All of them together have at most so many bytes; beyond that the least
// recently used go. Losing a copy costs a download and nothing else, so that nothing is synced.
package localcopy

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Store is a directory of copies.
type Store struct {
	dir   string
	limit int64

	mu     sync.Mutex
	copies map[string]*held         // by digest
	busy   map[string]chan struct{} // digests that somebody is fetching
}

// held is one copy.
type held struct {
	bytes int64
	used  time.Time
	known stamp // when it was last known to be what its name says
}

// stamp tells whether a file was touched.
type stamp struct {
	bytes    int64
	inode    uint64
	modified time.Time
	changed  syscall.Timespec
}

func stampOf(info fs.FileInfo) stamp {
	s := stamp{bytes: info.Size(), modified: info.ModTime()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode, s.changed = sys.Ino, sys.Ctim
	}
	return s
}

const draftPrefix = ".draft-"

// Open takes a directory, which nobody else may use. With a limit of 0 bytes nothing is kept.
func Open(dir string, limit int64) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make directory of copies: %w", err)
	}
	all, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list copies: %w", err)
	}
	s := &Store{dir: dir, limit: limit, copies: map[string]*held{}, busy: map[string]chan struct{}{}}
	for _, e := range all {
		info, err := e.Info()
		if err != nil || strings.HasPrefix(e.Name(), draftPrefix) {
			_ = os.Remove(filepath.Join(dir, e.Name()))
			continue
		}
		s.copies[e.Name()] = &held{bytes: info.Size(), used: info.ModTime()}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shrink()
	return s, nil
}

// Get opens the copy of a digest, whose content is checked when it may have been touched; false: there is none.
func (s *Store) Get(digest string) (*os.File, bool) {
	s.mu.Lock()
	h := s.copies[digest]
	s.mu.Unlock()
	if h == nil {
		return nil, false
	}
	path := filepath.Join(s.dir, digest)
	f, err := os.Open(path) // #nosec G304 -- the name of a copy
	if err == nil {
		if err = s.check(f, digest, h); err == nil {
			return f, true
		}
		_ = f.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.copies[digest] == h {
		delete(s.copies, digest)
		_ = os.Remove(path)
	}
	return nil, false
}

var errTouched = errors.New("the copy is not what its name says")

func (s *Store) check(f *os.File, digest string, h *held) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	s.mu.Lock()
	known := h.known == stampOf(info)
	s.mu.Unlock()
	if !known {
		sum := sha256.New()
		if _, err := io.Copy(sum, f); err != nil {
			return err
		}
		if hex.EncodeToString(sum.Sum(nil)) != digest {
			return errTouched
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
	now := time.Now()
	if err := os.Chtimes(f.Name(), now, now); err != nil { // for the next life
		return err
	}
	if info, err = f.Stat(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	h.used, h.known = now, stampOf(info)
	return nil
}

// Alone waits until nobody else fetches a digest. The caller ends that by calling done.
func (s *Store) Alone(ctx context.Context, digest string) (done func(), err error) {
	for {
		s.mu.Lock()
		other := s.busy[digest]
		if other == nil {
			mine := make(chan struct{})
			s.busy[digest] = mine
			s.mu.Unlock()
			return func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				delete(s.busy, digest)
				close(mine)
			}, nil
		}
		s.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Draft is a file that may become a copy.
type Draft struct {
	*os.File
	store *Store
	named bool // it is a copy
}

// Draft makes one. Discard must be called, whatever becomes of it.
func (s *Store) Draft() (*Draft, error) {
	f, err := os.CreateTemp(s.dir, draftPrefix)
	if err != nil {
		return nil, fmt.Errorf("make a copy: %w", err)
	}
	return &Draft{File: f, store: s}, nil
}

// Keep makes it the copy of a digest, which the caller has checked; it can be read until it is closed. What is larger than all
// may be together is not kept.
func (d *Draft) Keep(digest string) error {
	info, err := d.Stat()
	if err != nil || info.Size() > d.store.limit {
		d.drop()
		return err
	}
	if err := os.Rename(d.Name(), filepath.Join(d.store.dir, digest)); err != nil {
		d.drop()
		return fmt.Errorf("keep a copy: %w", err)
	}
	d.named = true
	if info, err = d.Stat(); err != nil { // the renaming has changed it
		return fmt.Errorf("keep a copy: %w", err)
	}
	d.store.mu.Lock()
	defer d.store.mu.Unlock()
	d.store.copies[digest] = &held{bytes: info.Size(), used: time.Now(), known: stampOf(info)}
	d.store.shrink()
	return nil
}

// Discard closes it; what has not become a copy is gone then.
func (d *Draft) Discard() {
	d.drop()
	_ = d.Close()
}

func (d *Draft) drop() {
	if !d.named {
		_ = os.Remove(d.Name())
	}
}

// shrink removes the least recently used copies until the rest is within the limit. One that is being read stays readable.
func (s *Store) shrink() {
	var total int64
	digests := make([]string, 0, len(s.copies))
	for digest, h := range s.copies {
		total += h.bytes
		digests = append(digests, digest)
	}
	slices.SortFunc(digests, func(a, b string) int {
		return cmp.Or(s.copies[a].used.Compare(s.copies[b].used), cmp.Compare(a, b))
	})
	for _, digest := range digests {
		if total <= s.limit {
			return
		}
		total -= s.copies[digest].bytes
		delete(s.copies, digest)
		_ = os.Remove(filepath.Join(s.dir, digest))
	}
}
