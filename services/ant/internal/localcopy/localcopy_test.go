package localcopy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/formicary/formicary/libs/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func open(t *testing.T, dir string, limit int64) *Store {
	t.Helper()
	s, err := Open(dir, limit)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// keep keeps a text and returns its digest.
func (s *Store) keep(t *testing.T, text string) string {
	t.Helper()
	d, err := s.Draft()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Discard()
	if _, err := io.WriteString(d, text); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(text))
	digest := hex.EncodeToString(sum[:])
	if err := d.Keep(digest); err != nil {
		t.Fatal(err)
	}
	return digest
}

// read is the content of a copy; empty: there is none.
func (s *Store) read(t *testing.T, digest string) string {
	t.Helper()
	f, ok := s.Get(digest)
	if !ok {
		return ""
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func files(t *testing.T, dir string) int {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// Copies outlive the ant; drafts do not, nor does what is more than the limit. The least recently used go first.
func TestTheLeastRecentlyUsedGo(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 10)
	a, b := s.keep(t, "aaaa"), s.keep(t, "bbbb")
	if s.read(t, a) != "aaaa" {
		t.Fatal("a is not there")
	}
	c := s.keep(t, "cccc")
	if s.read(t, a) != "aaaa" || s.read(t, b) != "" || s.read(t, c) != "cccc" {
		t.Error("another one than b is gone")
	}
	if large := s.keep(t, strings.Repeat("x", 11)); s.read(t, large) != "" || s.read(t, a) == "" {
		t.Error("a copy larger than the limit")
	}
	d, err := s.Draft()
	if err != nil {
		t.Fatal(err)
	}
	_ = d.Close()
	if n := files(t, dir); n != 3 {
		t.Errorf("%d files", n)
	}
	if err := os.Chtimes(filepath.Join(dir, c), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, 4)
	if s.read(t, a) != "aaaa" || s.read(t, c) != "" || files(t, dir) != 1 {
		t.Error("after a restart something else is there than a")
	}
	if s = open(t, dir, 0); s.read(t, a) != "" || files(t, dir) != 0 {
		t.Error("something is kept where nothing may be")
	}
}

// A copy that was changed is none, in this life of the ant and in the next.
func TestATouchedCopyIsNone(t *testing.T) {
	for name, touch := range map[string]func(s *Store, path string) (*Store, error){
		"now": func(s *Store, path string) (*Store, error) { return s, os.WriteFile(path, []byte("bbbb"), 0o600) },
		"with the old time": func(s *Store, path string) (*Store, error) {
			info, err := os.Stat(path)
			if err != nil {
				return nil, err
			}
			return s, errors.Join(os.WriteFile(path, []byte("bbbb"), 0o600), os.Chtimes(path, info.ModTime(), info.ModTime()))
		},
		"before a restart": func(s *Store, path string) (*Store, error) {
			if err := os.WriteFile(path, []byte("bbbb"), 0o600); err != nil {
				return nil, err
			}
			return Open(s.dir, s.limit)
		},
		"gone": func(s *Store, path string) (*Store, error) { return s, os.Remove(path) },
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir(), 100)
			a := s.keep(t, "aaaa")
			s, err := touch(s, filepath.Join(s.dir, a))
			if err != nil {
				t.Fatal(err)
			}
			if got := s.read(t, a); got != "" {
				t.Errorf("read %q", got)
			}
			if again := s.keep(t, "aaaa"); s.read(t, again) != "aaaa" {
				t.Error("it cannot be made again")
			}
		})
	}
}

// A copy that goes while it is read can be read to its end.
func TestACopyInUseStaysReadable(t *testing.T) {
	s := open(t, t.TempDir(), 4)
	f, ok := s.Get(s.keep(t, "aaaa"))
	if !ok {
		t.Fatal("it is not there")
	}
	defer func() { _ = f.Close() }()
	s.keep(t, "bbbb")
	if raw, err := io.ReadAll(f); err != nil || string(raw) != "aaaa" {
		t.Errorf("%q, %v", raw, err)
	}
}

// Of those who want the same only one fetches it.
func TestAlone(t *testing.T) {
	s := open(t, t.TempDir(), 4)
	done, err := s.Alone(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	other, err := s.Alone(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	other()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Alone(gone, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	next := make(chan error, 1)
	go func() {
		done, err := s.Alone(context.WithoutCancel(t.Context()), "a")
		if err == nil {
			done()
		}
		next <- err
	}()
	done()
	if err := <-next; err != nil {
		t.Error(err)
	}
}
