package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/formicary/formicary/services/formicary/internal/up"
)

// workplace is the temporary directory of one run. It is locked while the run lives, so that the next one can tell what a
// killed run left from what is in use.
type workplace struct {
	dir  string
	lock *os.File
}

const (
	workplaces   = "formicary-run-" // what their names begin with
	unlocked     = ".new-"          // while one has no lock yet; nobody looks at those
	lockName     = "run.lock"       // it holds the name of its directory: a copy is not a workplace
	leftoverTime = 20 * time.Second
)

// newWorkplace makes a workplace.
func newWorkplace() (*workplace, error) {
	fresh, err := os.MkdirTemp("", unlocked+workplaces)
	if err != nil {
		return nil, fmt.Errorf("make temporary directory: %w", err)
	}
	p, err := lockPlace(fresh, os.O_CREATE|os.O_EXCL)
	if err == nil {
		err = os.Chmod(fresh, 0o711) // #nosec G302 -- PostgreSQL may run as another user below it
	}
	name := strings.TrimPrefix(filepath.Base(fresh), unlocked)
	final := filepath.Join(filepath.Dir(fresh), name)
	if err == nil {
		_, err = p.lock.WriteString(name)
	}
	if err == nil {
		err = os.Rename(fresh, final)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open temporary directory: %w", err), os.RemoveAll(fresh))
	}
	p.dir = final
	return p, nil
}

// lockPlace locks a directory; it fails when the lock is held or there is none, unless flags make one.
func lockPlace(dir string, flags int) (*workplace, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|syscall.O_NOFOLLOW|flags, 0o600) // #nosec G304 -- a name of ours in a directory of ours
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, err
	}
	return &workplace{dir: dir, lock: f}, nil
}

func (p *workplace) data() string { return filepath.Join(p.dir, "data") }

// leave removes the directory.
func (p *workplace) leave() error {
	err := os.RemoveAll(p.dir)
	_ = p.lock.Close()
	if err != nil {
		return fmt.Errorf("remove temporary directory: %w", err)
	}
	return nil
}

// sweep ends and removes what killed runs of this user left beside p. Runs that live hold their locks.
func (p *workplace) sweep(ctx context.Context, conf up.Config) {
	ctx, cancel := context.WithTimeout(ctx, leftoverTime)
	defer cancel()
	parent := filepath.Dir(p.dir)
	entries, err := os.ReadDir(parent)
	if err != nil {
		return
	}
	for _, e := range entries {
		if ctx.Err() != nil {
			return
		}
		dir := filepath.Join(parent, e.Name())
		if dir == p.dir || !strings.HasPrefix(e.Name(), workplaces) || !own(dir) {
			continue
		}
		dead, err := lockPlace(dir, 0)
		if err != nil {
			continue // it lives
		}
		if !dead.ours(e.Name()) {
			_ = dead.lock.Close()
			continue
		}
		conf.DataDir = dead.data()
		if err := up.KillLeftovers(ctx, conf); err == nil {
			_ = dead.leave()
		}
		_ = dead.lock.Close()
	}
}

// ours says that the lock is the one of a workplace with this name.
func (p *workplace) ours(name string) bool {
	text := make([]byte, len(name)+1)
	n, err := p.lock.ReadAt(text, 0)
	return errors.Is(err, io.EOF) && string(text[:n]) == name
}

// own says whether path is a directory that belongs to this user.
func own(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != fs.ModeDir {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Getuid()
}
