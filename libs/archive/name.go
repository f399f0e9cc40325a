package archive

import (
	"archive/tar"
	"fmt"
	"path"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	maxName = 4096
	maxPart = 255
)

// local returns the clean form of a name; it fails for one that is not below the root.
func local(name string) (string, error) {
	clean := path.Clean(name)
	switch {
	case !utf8.ValidString(name):
		return "", fmt.Errorf("%w: the name %.100q is not UTF-8", ErrUnsafe, name)
	case name == "" || len(name) > maxName || strings.ContainsRune(name, 0):
		return "", fmt.Errorf("%w: %.100q is no name of a file", ErrUnsafe, name)
	case path.IsAbs(name) || !filepath.IsLocal(clean):
		return "", fmt.Errorf("%w: %.100q is outside of it", ErrUnsafe, name)
	}
	for part := range strings.SplitSeq(clean, "/") {
		if len(part) > maxPart {
			return "", fmt.Errorf("%w: %.100q is no name of a file", ErrUnsafe, name)
		}
	}
	return clean, nil
}

// Inside says whether a symbolic link with this name stays inside. A target goes up first and then down: after a way down,
// which may be a link itself, nobody can tell where up leads.
func Inside(name, target string) bool {
	if target == "" || len(target) > maxName || path.IsAbs(target) || strings.ContainsRune(target, 0) || !utf8.ValidString(target) {
		return false
	}
	depth, down := strings.Count(name, "/"), false
	for part := range strings.SplitSeq(target, "/") {
		switch part {
		case "", ".":
		case "..":
			if depth--; down || depth < 0 {
				return false
			}
		default:
			down = true
		}
	}
	return true
}

// gate lets members of a tar stream through, in their plain form.
type gate struct {
	limits Limits
	kinds  map[string]byte // what each name is
	count  int             // of members, and of directories that only names have
	bytes  int64           // of files
	names  int             // bytes of names and targets
}

func newGate(l Limits) *gate { return &gate{limits: l.filled(), kinds: map[string]byte{}} }

// pass returns the header as it is kept; nil for what is left out because it says nothing.
func (g *gate) pass(h *tar.Header) (*tar.Header, error) {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil, nil
	}
	name, err := local(h.Name)
	if err != nil {
		return nil, err
	}
	if name == "." {
		if h.Typeflag != tar.TypeDir {
			return nil, fmt.Errorf("%w: its root is no directory", ErrUnsafe)
		}
		return nil, nil
	}
	if err := g.more(h, name); err != nil {
		return nil, err
	}
	out := &tar.Header{Typeflag: h.Typeflag, Name: name, Mode: h.Mode & 0o777, ModTime: plainTime(h.ModTime)}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		out.Typeflag, out.Size = tar.TypeReg, h.Size
	case tar.TypeDir:
		out.Name += "/"
	case tar.TypeSymlink:
		if out.Linkname = h.Linkname; !Inside(name, out.Linkname) {
			return nil, fmt.Errorf("%w: the link %.100q leads out of it, to %.100q", ErrUnsafe, name, h.Linkname)
		}
	case tar.TypeLink: // becomes a symbolic one: the bytes have gone by
		target, err := local(h.Linkname)
		if err != nil || g.kinds[target] != tar.TypeReg {
			return nil, fmt.Errorf("%w: %.100q is a link to %.100q, which is no file before it", ErrUnsafe, name, h.Linkname)
		}
		out.Typeflag, out.Linkname = tar.TypeSymlink, strings.Repeat("../", strings.Count(name, "/"))+target
	default:
		return nil, fmt.Errorf("%w: %.100q is no file, directory or symbolic link", ErrUnsafe, name)
	}
	return out, g.note(name, out.Typeflag)
}

// more counts a member. A file of holes is as long as it says: no byte of it has to come in.
func (g *gate) more(h *tar.Header, name string) error {
	g.count++
	g.bytes += max(0, min(h.Size, g.limits.Bytes+1))
	if g.names += len(name) + len(h.Linkname); g.names > mostNames {
		return fmt.Errorf("%w: its names have more than %d bytes in all", ErrLimit, mostNames)
	}
	if g.bytes > g.limits.Bytes {
		return g.limits.raw(g.bytes, g.bytes)
	}
	return g.limits.entries(g.count)
}

// note keeps each name one thing, and what is above it a directory.
func (g *gate) note(name string, kind byte) error {
	for i := range len(name) {
		if name[i] != '/' {
			continue
		}
		if above := name[:i]; g.kinds[above] == 0 {
			g.kinds[above] = tar.TypeDir
			if g.count++; g.count > g.limits.Entries {
				return g.limits.entries(g.count)
			}
		} else if g.kinds[above] != tar.TypeDir {
			return fmt.Errorf("%w: %.100q is below a file or link", ErrUnsafe, name)
		}
	}
	if known := g.kinds[name]; known != 0 && (known != tar.TypeDir || kind != tar.TypeDir) {
		return fmt.Errorf("%w: it holds %.100q twice", ErrUnsafe, name)
	}
	g.kinds[name] = kind
	return nil
}

// plainTime is what fits a plain header.
func plainTime(t time.Time) time.Time {
	if s := t.Unix(); s < 0 || s > 1<<33-1 {
		return time.Unix(0, 0)
	}
	return t.Truncate(time.Second)
}
