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
	"path/filepath"

	"github.com/formicary/formicary/services/ant/internal/executor"
)

var _ executor.Filer = (*session)(nil)

// Put unpacks a tar stream below the directory in which the script starts.
func (s *session) Put(ctx context.Context, dir string, from io.Reader) error {
	root, err := os.OpenRoot(s.dir)
	if err != nil {
		return fmt.Errorf("open working directory: %w", err)
	}
	defer func() { _ = root.Close() }()
	if !fs.ValidPath(dir) {
		return fmt.Errorf("put files into %q: want a path below the working directory", dir)
	}
	if err := root.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("put files: %w", err)
	}
	entries := tar.NewReader(reader{ctx, from})
	for {
		h, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = unpack(root, dir, h, entries)
		}
		if err != nil {
			return fmt.Errorf("put files: %w", err)
		}
	}
}

// unpack makes one entry. Nothing is made outside of root, whatever links there are in it, and no link that leads out.
func unpack(root *os.Root, dir string, h *tar.Header, content io.Reader) error {
	name := path.Clean(h.Name)
	if !filepath.IsLocal(name) {
		return fmt.Errorf("%q leads out of the working directory", h.Name)
	}
	name = path.Join(dir, name)
	mode := h.FileInfo().Mode().Perm()
	if err := root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if err := root.MkdirAll(name, 0o700); err != nil {
			return err
		}
		return root.Chmod(name, mode|0o700) // more goes into it
	case tar.TypeSymlink:
		// #nosec G305 -- where it leads is checked here
		if target := path.Join(path.Dir(name), h.Linkname); path.IsAbs(h.Linkname) || !filepath.IsLocal(target) {
			return fmt.Errorf("the link %q leads out of the working directory", h.Name)
		}
		return root.Symlink(h.Linkname, name)
	case tar.TypeReg:
	default:
		return fmt.Errorf("%q is neither a file, a directory nor a symbolic link", h.Name)
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	if err := errors.Join(err, f.Chmod(mode), f.Close()); err != nil {
		return fmt.Errorf("write %q: %w", h.Name, err)
	}
	if h.ModTime.Unix() == 0 {
		return nil
	}
	return root.Chtimes(name, h.ModTime, h.ModTime)
}

// Get writes a tar stream of what the task has left below the directory in which the script started.
func (s *session) Get(ctx context.Context, top string, keep func(name string) bool, to io.Writer) error {
	root, err := os.OpenRoot(s.dir)
	if err != nil {
		return fmt.Errorf("open working directory: %w", err)
	}
	defer func() { _ = root.Close() }()
	archive := tar.NewWriter(to)
	visit := func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || name == "." || !keep(name) {
			return err
		}
		return pack(ctx, archive, root, name, d)
	}
	switch info, found := root.Lstat(top); {
	case errors.Is(found, fs.ErrNotExist):
	case found != nil:
		err = found
	case info.IsDir():
		err = fs.WalkDir(root.FS(), top, visit)
	default:
		err = visit(path.Clean(top), fs.FileInfoToDirEntry(info), nil)
	}
	if err := errors.Join(err, archive.Close()); err != nil {
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
		h.Size = info.Size()
	}
	if err := to.WriteHeader(h); err != nil || h.Typeflag != tar.TypeReg {
		return err
	}
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	_, err = io.Copy(to, reader{ctx, f})
	return err
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
