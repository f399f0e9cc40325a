package logfile

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Source is where a stored log is.
type Source interface {
	// Range returns length bytes from offset on.
	Range(ctx context.Context, offset, length int64) (io.ReadCloser, error)
}

// decoder is shared: DecodeAll is safe for concurrent use. It makes no more of a frame than one may hold.
var decoder = sync.OnceValue(func() *zstd.Decoder { //nolint:gochecknoglobals // made once, never changed
	d, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(maxFrame), zstd.WithDecoderConcurrency(0), zstd.WithDecoderLowmem(true))
	if err != nil {
		panic(err) // the options are constants
	}
	return d
})

// tailSize is how much is read at first: the index of a log of some 100 MiB and its last frame.
const tailSize = 64 << 10

// Reader reads a stored log. It is safe for concurrent use.
type Reader struct {
	src  Source
	x    index
	from int64 // place of tail
	tail []byte
}

// Open reads the index of a stored log of size bytes.
func Open(ctx context.Context, src Source, size int64) (*Reader, error) {
	r := &Reader{src: src, from: max(0, size-tailSize)}
	var err error
	if r.tail, err = r.read(ctx, r.from, size-r.from); err != nil {
		return nil, err
	}
	n, err := indexSize(r.tail, size)
	if err != nil {
		return nil, err
	}
	if n > int64(len(r.tail)) {
		r.from = size - n
		if r.tail, err = r.read(ctx, r.from, n); err != nil {
			return nil, err
		}
	}
	if r.x, err = parse(r.tail[int64(len(r.tail))-n:], size); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Reader) read(ctx context.Context, from, n int64) ([]byte, error) {
	body, err := r.src.Range(ctx, from, n)
	if err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	defer func() { _ = body.Close() }() // it was only read
	p := make([]byte, n)
	if _, err := io.ReadFull(body, p); err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	return p, nil
}

// End is the offset that follows the last record.
func (r *Reader) End() int64 { return r.x.end }

// Lines counts them, the last one also when it has no line feed.
func (r *Reader) Lines() int64 {
	if r.x.open {
		return r.x.lines + 1
	}
	return r.x.lines
}

// stream reads the bytes of frames i to j, without j.
func (r *Reader) stream(ctx context.Context, i, j int) (io.ReadCloser, error) {
	from, to := r.x.frames[i].place, r.x.frames[j-1].place+r.x.frames[j-1].size
	if from >= r.from {
		return io.NopCloser(bytes.NewReader(r.tail[from-r.from : to-r.from])), nil
	}
	body, err := r.src.Range(ctx, from, to-from)
	if err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	return body, nil
}

// decode returns the records of a frame.
func (f frame) decode(p, dst []byte) ([]byte, error) {
	dst, err := decoder().DecodeAll(p, slices.Grow(dst[:0], int(f.length)))
	if err != nil {
		return nil, fmt.Errorf("%w: frame at %d: %w", ErrFile, f.place, err)
	}
	if int64(len(dst)) != f.length {
		return nil, fmt.Errorf("%w: frame at %d holds %d bytes, want %d", ErrFile, f.place, len(dst), f.length)
	}
	return dst, nil
}

// each calls do with the records of frames i to j, without j, until it says that it has enough. The piece is used again
// after that.
func (r *Reader) each(ctx context.Context, i, j int, do func(Piece) (enough bool, err error)) error {
	if i >= j {
		return nil
	}
	body, err := r.stream(ctx, i, j)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }() // it was only read
	var packed, raw []byte
	for _, f := range r.x.frames[i:j] {
		packed = slices.Grow(packed[:0], int(f.size))[:f.size]
		if _, err := io.ReadFull(body, packed); err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		if raw, err = f.decode(packed, raw); err != nil {
			return err
		}
		if enough, err := do(Piece{Offset: f.offset, Line: f.line, Records: raw}); err != nil || enough {
			return err
		}
	}
	return nil
}

// Records calls do with the log from an offset on, piece by piece, beginning with the record that holds it, until do
// says that it has enough. A piece that does not begin where the one before ended tells of a part that was left out. It
// must not be kept.
func (r *Reader) Records(ctx context.Context, offset int64, do func(Piece) (enough bool, err error)) error {
	i, _ := slices.BinarySearchFunc(r.x.frames, offset+1, func(f frame, at int64) int { return cmp.Compare(f.end(), at) })
	return r.each(ctx, i, len(r.x.frames), func(p Piece) (bool, error) {
		p, err := p.From(offset)
		if err != nil {
			return false, err
		}
		return do(p)
	})
}

// Line returns the offset at which a line begins; the first has number 1.
func (r *Reader) Line(ctx context.Context, n int64) (int64, error) {
	if n > r.Lines() {
		return r.x.end, nil
	}
	// The line begins where the one before it ends: in the last frame before which that has not ended yet.
	i, _ := slices.BinarySearchFunc(r.x.frames, n-1, func(f frame, n int64) int { return cmp.Compare(f.line, n) })
	return r.find(ctx, max(i-1, 0), func(p Piece) (Piece, error) { return p.FromLine(n) })
}

// Tail returns the offset at which the last n lines begin.
func (r *Reader) Tail(ctx context.Context, n int64) (int64, error) {
	if n <= 0 {
		return r.x.end, nil
	}
	return r.Line(ctx, max(r.Lines()-n+1, 1))
}

// Since returns the offset of the first record that was printed at a time or later.
func (r *Reader) Since(ctx context.Context, t time.Time) (int64, error) {
	i, _ := slices.BinarySearchFunc(r.x.frames, micros(t), func(f frame, at int64) int { return cmp.Compare(f.first, at) })
	return r.find(ctx, max(i-1, 0), func(p Piece) (Piece, error) { return p.Since(t) })
}

// find returns the offset of what is left of a frame.
func (r *Reader) find(ctx context.Context, i int, left func(Piece) (Piece, error)) (at int64, err error) {
	at = r.x.end
	if i >= len(r.x.frames) {
		return at, nil
	}
	err = r.each(ctx, i, i+1, func(p Piece) (bool, error) {
		p, err := left(p)
		at = p.Offset
		return true, err
	})
	return at, err
}
