package archive

import (
	"archive/tar"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
)

// Extract writes what a tar stream holds below root and nowhere else. A file that is there already is replaced, by one that
// is whole; a link that is there is not followed.
func Extract(root *os.Root, r io.Reader, l Limits) error {
	x := extraction{root: root, made: map[string]bool{".": true}, buf: make([]byte, 256<<10), id: "part-" + rand.Text()}
	if err := each(r, l, x.put); err != nil {
		return err
	}
	return x.finish()
}

type extraction struct {
	root *os.Root
	made map[string]bool // directories that are known to be some
	dirs []*tar.Header
	buf  []byte
	// id and count make the names of files that are not whole.
	id    string
	count int
}

func (x *extraction) put(h *tar.Header, body io.Reader) error {
	if h.Typeflag == tar.TypeDir {
		name := path.Clean(h.Name)
		x.dirs = append(x.dirs, h)
		return x.directory(name)
	}
	if err := x.directory(path.Dir(h.Name)); err != nil {
		return err
	}
	var err error
	if h.Typeflag == tar.TypeSymlink {
		err = x.fresh(h.Name, func() error { return x.root.Symlink(h.Linkname, h.Name) })
	} else {
		err = x.file(h, body)
	}
	if err != nil {
		return fmt.Errorf("extract %.100q: %w", h.Name, err)
	}
	return nil
}

// directory makes one with all above it; none of them may be a link.
func (x *extraction) directory(name string) error {
	if x.made[name] {
		return nil
	}
	if err := x.directory(path.Dir(name)); err != nil {
		return err
	}
	err := x.root.Mkdir(name, 0o755)
	if errors.Is(err, fs.ErrExist) {
		var info fs.FileInfo
		if info, err = x.root.Lstat(name); err == nil && !info.IsDir() {
			return fmt.Errorf("%w: %.100q is to be a directory and is a file or link", ErrUnsafe, name)
		}
	}
	if err != nil {
		return fmt.Errorf("extract %.100q: %w", name, err)
	}
	x.made[name] = true
	return nil
}

// fresh makes something where nothing or a file may be.
func (x *extraction) fresh(name string, make func() error) error {
	err := make()
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := x.root.Lstat(name)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return fmt.Errorf("%w: it is to be a file and is a directory", ErrUnsafe)
	}
	if err := x.root.Remove(name); err != nil {
		return err
	}
	return make()
}

// file writes a file. One that is there is replaced by the whole one; what breaks leaves nothing of its own.
func (x *extraction) file(h *tar.Header, body io.Reader) error {
	name := h.Name
	f, err := x.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		x.count++
		name = path.Join(path.Dir(h.Name), fmt.Sprintf(".%s-%d", x.id, x.count))
		f, err = x.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	}
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, body, x.buf)
	if err == nil {
		err = f.Chmod(fs.FileMode(h.Mode) & fs.ModePerm) // #nosec G115 -- permission bits
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = x.root.Chtimes(name, h.ModTime, h.ModTime)
	}
	if err == nil && name != h.Name {
		err = x.rename(name, h.Name)
	}
	if err != nil {
		_ = x.root.Remove(name)
	}
	return err
}

// rename replaces a file or link that is there.
func (x *extraction) rename(part, name string) error {
	err := x.root.Rename(part, name)
	if err == nil {
		return nil
	}
	if info, found := x.root.Lstat(name); found == nil && info.IsDir() {
		return fmt.Errorf("%w: it is to be a file and is a directory", ErrUnsafe)
	}
	return err
}

// finish gives the directories the times that filling them has changed, and their modes; the owner can still write into them,
// for what is extracted next and to remove them.
func (x *extraction) finish() error {
	for _, h := range slices.Backward(x.dirs) {
		name := path.Clean(h.Name)
		err := x.root.Chmod(name, fs.FileMode(h.Mode)&fs.ModePerm|0o700) // #nosec G115 -- permission bits
		if err == nil {
			err = x.root.Chtimes(name, h.ModTime, h.ModTime)
		}
		if err != nil {
			return fmt.Errorf("extract %.100q: %w", name, err)
		}
	}
	return nil
}
