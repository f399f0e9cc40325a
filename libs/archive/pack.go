package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
)

// Pack writes a tar stream of what the patterns name below root, in the order of names. It returns notes about what
// was left out: sockets, devices, pipes, and links that lead out. Afterwards the patterns know what they have named.
func Pack(ctx context.Context, w io.Writer, root *os.Root, p *Patterns, l Limits) (left []string, err error) {
	k := &packing{ctx: ctx, root: root, patterns: p, limits: l.filled(), tar: tar.NewWriter(w), buf: make([]byte, 256<<10)}
	for _, name := range p.Roots() {
		info, err := root.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look for %.200q: %w", name, err)
		}
		if err := k.walk(name, info, false); err != nil {
			return nil, err
		}
	}
	return k.left, k.tar.Close()
}

type packing struct {
	ctx      context.Context //nolint:containedctx // of one call
	root     *os.Root
	patterns *Patterns
	limits   Limits
	tar      *tar.Writer
	count    int
	bytes    int64
	left     []string
	more     int // left out and not noted
	buf      []byte
}

// walk packs a file or directory; all says that a directory above it is kept.
func (k *packing) walk(name string, info fs.FileInfo, all bool) error {
	if err := k.ctx.Err(); err != nil {
		return err
	}
	if name != "." {
		all = k.patterns.Match(name) || all
		if all {
			if err := k.member(name, info); err != nil {
				return err
			}
		}
	} else {
		all = k.patterns.Match(".")
	}
	if !info.IsDir() {
		return nil
	}
	entries, err := k.list(name)
	if err != nil {
		return fmt.Errorf("list %.200q: %w", name, err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return fmt.Errorf("look at %.200q: %w", path.Join(name, e.Name()), err)
		}
		if err := k.walk(path.Join(name, e.Name()), info, all); err != nil {
			return err
		}
	}
	return nil
}

func (k *packing) list(name string) ([]fs.DirEntry, error) {
	return fs.ReadDir(k.root.FS(), name)
}

func (k *packing) member(name string, info fs.FileInfo) error {
	if k.count++; k.count > k.limits.Entries {
		return k.limits.entries(k.count)
	}
	h := &tar.Header{Name: name, Mode: int64(info.Mode().Perm()), ModTime: plainTime(info.ModTime())}
	switch mode := info.Mode(); {
	case mode.IsRegular():
		return k.file(h)
	case mode.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
	case mode&fs.ModeSymlink != 0:
		target, err := k.root.Readlink(name)
		if err != nil {
			return fmt.Errorf("read the link %.200q: %w", name, err)
		}
		if !Inside(name, target) {
			k.note("%s, a link that leads out, to %s", name, target)
			return nil
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, target
	default:
		k.note("%s, which is no file", name)
		return nil
	}
	if err := k.tar.WriteHeader(h); err != nil {
		return fmt.Errorf("pack %.200q: %w", name, err)
	}
	return nil
}

func (k *packing) file(h *tar.Header) error {
	// What was a file may be a pipe by now: opening it must not wait.
	f, err := k.root.OpenFile(h.Name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("pack %.200q: %w", h.Name, err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return fmt.Errorf("pack %.200q: it changed while it was read: %w", h.Name, err)
	}
	h.Typeflag, h.Size = tar.TypeReg, info.Size()
	if k.bytes += h.Size; k.bytes > k.limits.Bytes {
		return k.limits.raw(k.bytes, k.bytes)
	}
	if err := k.tar.WriteHeader(h); err != nil {
		return fmt.Errorf("pack %.200q: %w", h.Name, err)
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{k.tar}, io.LimitReader(f, h.Size), k.buf)
	if err != nil {
		return fmt.Errorf("pack %.200q: %w", h.Name, err)
	}
	if n < h.Size {
		return fmt.Errorf("pack %.200q: it became shorter while it was read", h.Name)
	}
	return nil
}

const mostNotes = 20

func (k *packing) note(format string, args ...any) {
	if len(k.left) == mostNotes {
		k.more++
		k.left = append(k.left[:mostNotes-1:mostNotes-1], fmt.Sprintf("and %d more", k.more+1))
		return
	}
	k.left = append(k.left, strings.ToValidUTF8(fmt.Sprintf(format, args...), "?"))
}
