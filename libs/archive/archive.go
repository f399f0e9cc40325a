package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sort"

	"github.com/klauspost/compress/zstd"
)

// Source reads n bytes of an archive from off on. Each reading is one request where the archive is far away.
type Source func(ctx context.Context, off, n int64) (io.ReadCloser, error)

// At is the source of an archive that is here.
func At(r io.ReaderAt) Source {
	return func(_ context.Context, off, n int64) (io.ReadCloser, error) {
		return io.NopCloser(io.NewSectionReader(r, off, n)), nil
	}
}

// Archive is one that is read by its index.
type Archive struct {
	source  Source
	frames  []frame
	starts  []frame // where each frame starts in both streams
	entries []byte
	tarLen  int64
	count   int
}

// Open reads the index of an archive of a size, with one request when it is short.
func Open(ctx context.Context, source Source, size int64, l Limits) (*Archive, error) {
	l = l.filled()
	if size < footerLen+skipHeadLen {
		return nil, fmt.Errorf("%w: it has no index at its end", ErrDamaged)
	}
	tail, err := read(ctx, source, size-min(size, typicalIndex), min(size, typicalIndex))
	if err != nil {
		return nil, err
	}
	f, err := readFooter(tail[len(tail)-footerLen:], size)
	if err != nil {
		return nil, err
	}
	if err := l.raw(f.tarLen, size); err != nil {
		return nil, err
	}
	packed := tail[:len(tail)-footerLen]
	if int64(len(packed)) >= f.packed {
		packed = packed[int64(len(packed))-f.packed:]
	} else if packed, err = read(ctx, source, size-footerLen-f.packed, f.packed); err != nil {
		return nil, err
	}
	raw, err := f.unpack(packed)
	if err != nil {
		return nil, err
	}
	a := &Archive{source: source, tarLen: f.tarLen}
	return a, a.load(raw, f, l)
}

// load checks all of an index.
func (a *Archive) load(raw []byte, f footer, l Limits) (err error) {
	c := &cursor{b: raw}
	if a.frames, err = c.readFrames(f); err != nil {
		return err
	}
	a.starts = make([]frame, len(a.frames)+1)
	for i, x := range a.frames {
		a.starts[i+1] = frame{a.starts[i].packed + x.packed, a.starts[i].raw + x.raw}
	}
	n := c.uint()
	if n > int64(len(c.b))/leastEntry {
		return fmt.Errorf("%w: its index names more files than it has", ErrDamaged)
	}
	if err := l.entries(int(n)); err != nil {
		return err
	}
	a.entries, a.count = c.b, int(n)
	var end int64
	for range n {
		e := c.entry(end)
		if c.bad {
			return fmt.Errorf("%w: its index cannot be read", ErrDamaged)
		}
		if err := e.check(end, f.tarLen); err != nil {
			return err
		}
		end = e.pos + e.Size
	}
	if len(c.b) != 0 {
		return fmt.Errorf("%w: its index goes on after its end", ErrDamaged)
	}
	return nil
}

func read(ctx context.Context, source Source, off, n int64) ([]byte, error) {
	r, err := source(ctx, off, n)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	var b bytes.Buffer // grows with what comes, not with what was promised
	if got, err := io.CopyN(&b, r, n); err != nil {
		return nil, fmt.Errorf("read %d bytes at %d (got %d): %w", n, off, got, err)
	}
	return b.Bytes(), nil
}

// Len is the number of entries.
func (a *Archive) Len() int { return a.count }

// Entries yields all of it in the order of the archive.
func (a *Archive) Entries() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		c := &cursor{b: a.entries}
		var end int64
		for range a.count {
			e := c.entry(end)
			if end = e.pos + e.Size; !yield(e) {
				return
			}
		}
	}
}

// ErrNotFound says that an archive has no file of a name.
var ErrNotFound = errors.New("no such file in the archive")

// Find returns an entry by its name.
func (a *Archive) Find(name string) (Entry, error) {
	clean, err := local(name)
	if err == nil {
		for e := range a.Entries() {
			if e.Name == clean {
				return e, nil
			}
		}
	}
	return Entry{}, fmt.Errorf("%w: %.200q", ErrNotFound, name)
}

// OpenFile reads n bytes of a file from off on, all that follows when n is negative. Nothing else of the archive is read but
// the rest of the first and last frame.
func (a *Archive) OpenFile(ctx context.Context, e Entry, off, n int64) (io.ReadCloser, error) {
	if off < 0 || off > e.Size {
		return nil, fmt.Errorf("%.100q has %d bytes, none at %d", e.Name, e.Size, off)
	}
	if left := e.Size - off; n < 0 || n > left {
		n = left
	}
	if n == 0 {
		return io.NopCloser(bytes.NewReader(nil)), nil
	}
	from := e.pos + off
	first := sort.Search(len(a.frames), func(i int) bool { return a.starts[i+1].raw > from })
	last := sort.Search(len(a.frames), func(i int) bool { return a.starts[i+1].raw >= from+n })
	start := a.starts[first]
	packed, err := a.source(ctx, start.packed, a.starts[last+1].packed-start.packed)
	if err != nil {
		return nil, err
	}
	decoder, err := zstd.NewReader(packed, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8*frameSize), zstd.WithDecoderLowmem(true))
	if err != nil {
		_ = packed.Close()
		return nil, fmt.Errorf("make decoder: %w", err)
	}
	f := &part{decoder: decoder, packed: packed, left: n}
	if _, err := io.CopyN(io.Discard, decoder, from-start.raw); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%w: read %.100q: %w", ErrDamaged, e.Name, err)
	}
	return f, nil
}

// part is a piece of a file.
type part struct {
	decoder *zstd.Decoder
	packed  io.Closer
	left    int64
}

func (p *part) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	n, err := p.decoder.Read(b[:min(int64(len(b)), p.left)])
	if p.left -= int64(n); p.left > 0 && errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: it ends early", ErrDamaged)
	} else if p.left == 0 {
		err = nil
	}
	return n, err
}

func (p *part) Close() error {
	p.decoder.Close()
	return p.packed.Close()
}
