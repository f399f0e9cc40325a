package shell

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"

	"github.com/formicary/formicary/libs/archive"
	"github.com/formicary/formicary/services/ant/internal/executor"
)

var _ executor.Filer = (*session)(nil)

// Put unpacks a tar stream below the directory in which the script starts. What is unpacked later replaces files and links
// that are there already, and does not go through them.
func (s *session) Put(ctx context.Context, dir string, from io.Reader) error {
	if !fs.ValidPath(dir) {
		return fmt.Errorf("put files into %q: want a path below the working directory", dir)
	}
	root, err := os.OpenRoot(s.dir)
	if err != nil {
		return fmt.Errorf("open working directory: %w", err)
	}
	defer func() { _ = root.Close() }()
	if err := root.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("put files: %w", err)
	}
	below, err := root.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("put files: %w", err)
	}
	defer func() { _ = below.Close() }()
	if err := archive.Extract(below, reader{ctx, from}, archive.Limits{}); err != nil {
		return fmt.Errorf("put files: %w", err)
	}
	return nil
}

// Get writes a tar stream of what the task has left below the directory in which the script started.
func (s *session) Get(ctx context.Context, top string, keep func(name string) bool, to io.Writer) error {
	root, err := os.OpenRoot(s.dir)
	if err != nil {
		return fmt.Errorf("open working directory: %w", err)
	}
	defer func() { _ = root.Close() }()
	w := tar.NewWriter(to)
	visit := func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || name == "." || !keep(name) {
			return err
		}
		if err = pack(ctx, w, root, name, d); errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile
		}
		return err
	}
	switch info, found := root.Lstat(top); {
	case errors.Is(found, fs.ErrNotExist), errors.Is(found, syscall.ENOTDIR):
	case found != nil:
		err = found
	case info.IsDir():
		err = fs.WalkDir(root.FS(), top, visit)
	default:
		err = visit(path.Clean(top), fs.FileInfoToDirEntry(info), nil)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		return fmt.Errorf("get files: %w", err)
	}
	return nil
}

// pack writes one entry. A link is what it says, wherever it leads; sockets, pipes and devices are passed over.
func pack(ctx context.Context, to *tar.Writer, root *os.Root, name string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	link := ""
	switch info.Mode().Type() {
	case 0, fs.ModeDir:
	case fs.ModeSymlink:
		if link, err = root.Readlink(name); err != nil {
			return err
		}
	default:
		return nil
	}
	h := &tar.Header{Name: name, Mode: int64(info.Mode().Perm()), ModTime: info.ModTime(), Linkname: link, Typeflag: tar.TypeReg}
	switch {
	case info.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
	case link != "":
		h.Typeflag = tar.TypeSymlink
	default:
		return packFile(ctx, to, root, h)
	}
	return to.WriteHeader(h)
}

// packFile writes a file as it is when it is opened.
func packFile(ctx context.Context, to *tar.Writer, root *os.Root, h *tar.Header) error {
	// What was a file may be a pipe by now: opening it must not wait.
	f, err := root.OpenFile(h.Name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s changed while it was read", h.Name)
	}
	h.Size = info.Size()
	if err := to.WriteHeader(h); err != nil {
		return err
	}
	switch n, err := io.Copy(to, io.LimitReader(reader{ctx, f}, h.Size)); {
	case err != nil:
		return err
	case n < h.Size:
		return fmt.Errorf("%s became shorter while it was read", h.Name)
	}
	return nil
}

// reader ends with its context.
type reader struct {
	ctx context.Context
	io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}
