package archivetest

import (
	"fmt"
	"io"
)

// Data is an archive that is made while it is read, so that it costs no memory however long it is.
type Data []piece

// piece is made n times; each is size bytes long.
type piece struct {
	n    int64
	size int64
	make func(i int64) []byte
	same bool
}

func once(b []byte) piece { return repeated(b, 1) }

func repeated(b []byte, n int64) piece {
	return piece{n, int64(len(b)), func(int64) []byte { return b }, true}
}

func each(n int64, make func(i int64) []byte) piece {
	return piece{n, int64(len(make(0))), make, false}
}

// Size of all of it.
func (d Data) Size() (size int64) {
	for _, p := range d {
		size += p.n * p.size
	}
	return size
}

// ReadAt makes it io.ReaderAt.
func (d Data) ReadAt(b []byte, off int64) (n int, err error) {
	for _, p := range d {
		if all := p.n * p.size; off >= all {
			off -= all
			continue
		}
		for i := off / p.size; i < p.n && n < len(b); i++ {
			n += copy(b[n:], p.make(i)[off%p.size:])
			off = 0
		}
		if n == len(b) {
			return n, nil
		}
		off = 0
	}
	return n, io.EOF
}

// Reader reads it from the front.
func (d Data) Reader() io.Reader { return bufferedReader{io.NewSectionReader(d, 0, d.Size())} }

// bufferedReader hides that its reader can do more.
type bufferedReader struct{ r io.Reader }

func (b bufferedReader) Read(p []byte) (int, error) { return b.r.Read(p) }

// mostCompressed is how many pieces that differ are compressed: the limits that tests set are below it.
const mostCompressed = 60_000

// compressed is made of pieces that are compressed one by one, which readers take for one stream.
func (d Data) compressed(compress func(b []byte) ([]byte, error)) (out Data, err error) {
	for _, p := range d {
		chunk, n := max(1, mib/p.size), int64(1)
		if p.same {
			chunk, n = min(chunk, p.n), p.n/min(chunk, p.n)
		}
		for at := int64(0); at < min(p.n, mostCompressed); at += chunk {
			var raw []byte
			for i := at; i < min(at+chunk, p.n); i++ {
				raw = append(raw, p.make(i)...)
			}
			b, err := compress(raw)
			if err != nil {
				return nil, fmt.Errorf("compress: %w", err)
			}
			if out = append(out, repeated(b, n)); p.same {
				break
			}
		}
	}
	return out, nil
}
