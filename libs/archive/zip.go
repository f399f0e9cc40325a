package archive

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
)

const (
	// mostZipped bounds the entries of a zip file, whose directory is in memory while it is read.
	mostZipped = 250_000
	// mostZipDirectory bounds the bytes of that directory.
	mostZipDirectory = 64 << 20
)

// Zip adds what a zip file of a size holds. Its directory must tell the truth, and no bytes of it may be those of two files.
func (w *Writer) Zip(ctx context.Context, r io.ReaderAt, size int64) error {
	if w.err == nil {
		w.err = w.zip(ctx, r, size)
	}
	return w.err
}

func (w *Writer) zip(ctx context.Context, r io.ReaderAt, size int64) error {
	files, err := directory(r, size, w.gate.limits)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := w.zipped(f); err != nil {
			return err
		}
	}
	return nil
}

// directory reads the one of a zip file.
func directory(r io.ReaderAt, size int64, l Limits) ([]*zip.File, error) {
	in := &directoryReader{r: r, most: min(l.Entries, mostZipped)}
	z, err := zip.NewReader(in, size)
	switch {
	case errors.Is(err, ErrLimit):
		return nil, err
	case z == nil:
		return nil, fmt.Errorf("%w: it is no zip file: %w", ErrDamaged, err)
	}
	in.open = true
	return z.File, apart(z.File, size)
}

// directoryReader counts what zip reads as it opens a file: that believes no number of entries and reads as many as there are.
type directoryReader struct {
	r     io.ReaderAt
	most  int
	open  bool
	bytes int
	count int
	next  int64  // where the last reading ended
	last  []byte // its last bytes
}

var zipEntry = []byte("PK\x01\x02") //nolint:gochecknoglobals // a constant

func (d *directoryReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := d.r.ReadAt(p, off)
	if d.open {
		return n, err
	}
	if off != d.next {
		d.last = nil
	}
	border := slices.Concat(d.last, p[:min(n, len(zipEntry)-1)])
	d.count += bytes.Count(p[:n], zipEntry) + bytes.Count(border, zipEntry)
	d.bytes += n
	d.next, d.last = off+int64(n), bytes.Clone(p[max(0, n-len(zipEntry)+1):n])
	switch {
	case d.count > d.most+mostTwice:
		return 0, fmt.Errorf("%w: a zip file may have %d files; send a tar", ErrLimit, d.most)
	case d.bytes > mostZipDirectory:
		return 0, fmt.Errorf("%w: the directory of a zip file may have %d bytes; send a tar", ErrLimit, mostZipDirectory)
	}
	return n, err
}

// mostTwice is how many entries are read twice: those near the end, where the directory is looked for.
const mostTwice = 1500

// apart says that no two files are made of the same bytes, which is how a short file becomes an endless one.
func apart(files []*zip.File, size int64) error {
	type part struct{ from, to int64 }
	parts := make([]part, len(files))
	for i, f := range files {
		from, err := f.DataOffset()
		if err != nil || f.CompressedSize64 > uint64(size) || from+int64(f.CompressedSize64) > size { // #nosec G115 -- bounded
			return fmt.Errorf("%w: %.100q is not where the directory says", ErrDamaged, f.Name)
		}
		parts[i] = part{from, from + int64(f.CompressedSize64)} // #nosec G115 -- at most size
	}
	slices.SortFunc(parts, func(a, b part) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to)) })
	for i := 1; i < len(parts); i++ {
		if parts[i].from < parts[i-1].to+zipHeader {
			return fmt.Errorf("%w: two of its files are made of the same bytes", ErrUnsafe)
		}
	}
	return nil
}

// zipHeader is the least that is before the bytes of a file.
const zipHeader = 30

func (w *Writer) zipped(f *zip.File) error {
	if f.UncompressedSize64 > uint64(w.gate.limits.Bytes) { // #nosec G115 -- positive
		return w.gate.limits.raw(w.gate.limits.Bytes+1, 1)
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: f.Name, Mode: int64(f.Mode().Perm()), ModTime: f.Modified, Size: int64(f.UncompressedSize64)} // #nosec G115 -- at most Bytes
	body, err := f.Open()
	if err != nil {
		return fmt.Errorf("%w: read %.100q: %w", ErrDamaged, f.Name, err)
	}
	defer func() { _ = body.Close() }()
	switch mode := f.Mode(); {
	case mode.IsDir():
		h.Typeflag, h.Size = tar.TypeDir, 0
	case mode&fs.ModeSymlink != 0:
		target, err := io.ReadAll(io.LimitReader(body, maxName+1))
		if err != nil {
			return fmt.Errorf("%w: read %.100q: %w", ErrDamaged, f.Name, err)
		}
		h.Typeflag, h.Size, h.Linkname = tar.TypeSymlink, 0, string(target)
	case !mode.IsRegular():
		return fmt.Errorf("%w: %.100q is no file, directory or symbolic link", ErrUnsafe, f.Name)
	}
	if err := w.Add(h, foreign{body}); err != nil || h.Typeflag != tar.TypeReg {
		return err
	}
	if n, err := body.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) { // the end tells whether it was what it should be
		return fmt.Errorf("%w: %.100q is not what the directory says", ErrDamaged, f.Name)
	}
	return nil
}
