package archive

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"runtime"

	"github.com/klauspost/compress/zstd"
)

const (
	frameSize = 1 << 20
	// cutFrom is how full a frame is before the beginning of a file ends it.
	cutFrom = frameSize / 2
	// mostEncoders bounds the memory: each holds a frame twice.
	mostEncoders = 8
)

// frame is a piece of the stream, described by both lengths.
type frame struct{ packed, raw int64 }

// piece is a frame's content, compressed.
type piece struct {
	packed []byte
	raw    int64
}

// frames cut a stream and compress it in parallel. What it writes is hashed.
type frames struct {
	w       io.Writer
	sum     hash.Hash
	encoder *zstd.Encoder
	buf     []byte
	pos     int64 // in the raw stream
	out     int64 // bytes written
	list    []frame
	limits  Limits
	pending chan chan piece // in order
	free    chan []byte
	done    chan error
	failed  chan struct{}
}

func newFrames(w io.Writer, l Limits) (*frames, error) {
	n := min(runtime.GOMAXPROCS(0), mostEncoders)
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(n), zstd.WithWindowSize(frameSize))
	if err != nil {
		return nil, fmt.Errorf("make encoder: %w", err)
	}
	f := &frames{
		w: w, sum: sha256.New(), encoder: encoder, buf: make([]byte, 0, frameSize), limits: l,
		pending: make(chan chan piece, n), free: make(chan []byte, 2*n+2), done: make(chan error, 1), failed: make(chan struct{}),
	}
	go func() { f.done <- f.drain() }()
	return f, nil
}

func (f *frames) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		k := min(len(p), frameSize-len(f.buf))
		f.buf = append(f.buf, p[:k]...)
		f.pos, n, p = f.pos+int64(k), n+k, p[k:]
		if len(f.buf) == frameSize {
			if err := f.cut(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// begin ends a frame that is full enough, so that what comes begins one.
func (f *frames) begin() error {
	if len(f.buf) < cutFrom {
		return nil
	}
	return f.cut()
}

func (f *frames) cut() error {
	if len(f.buf) == 0 {
		return nil
	}
	raw, result := f.buf, make(chan piece, 1)
	select {
	case f.pending <- result:
	case <-f.failed:
		return io.ErrClosedPipe // drain knows why
	}
	go func() {
		result <- piece{f.encoder.EncodeAll(raw, f.take()), int64(len(raw))}
		f.give(raw)
	}()
	f.buf = f.take()
	return nil
}

func (f *frames) take() []byte {
	select {
	case b := <-f.free:
		return b[:0]
	default:
		return make([]byte, 0, frameSize)
	}
}

func (f *frames) give(b []byte) {
	select {
	case f.free <- b:
	default:
	}
}

// drain writes the frames in their order.
func (f *frames) drain() (err error) {
	var raw int64
	for result := range f.pending {
		p := <-result
		if err != nil {
			continue // those under way have to end
		}
		raw += p.raw
		f.list = append(f.list, frame{int64(len(p.packed)), p.raw})
		if err = f.write(p.packed); err == nil {
			err = f.limits.raw(raw, f.out)
		}
		if err != nil {
			close(f.failed)
		}
		f.give(p.packed)
	}
	return err
}

func (f *frames) write(p []byte) error {
	_, _ = f.sum.Write(p)
	n, err := f.w.Write(p)
	f.out += int64(n)
	return err
}

// end waits until all is written. Nothing but write may be called after it.
func (f *frames) end() error {
	_ = f.cut() // drain says why it could not
	close(f.pending)
	return <-f.done
}
