package archive

import (
	"archive/tar"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// Writer makes an archive. Close must be called, whatever happened before.
type Writer struct {
	frames *frames
	tar    *tar.Writer
	gate   *gate
	index  index
	files  int
	raw    int64
	err    error // the first
	closed bool
}

// Summary is what an archive is known by.
type Summary struct {
	Bytes  int64 // of the archive
	Raw    int64 // of the files in it
	Files  int   // without directories
	SHA256 string
}

// NewWriter writes an archive to w.
func NewWriter(w io.Writer, l Limits) (*Writer, error) {
	l = l.filled()
	f, err := newFrames(w, l)
	if err != nil {
		return nil, err
	}
	return &Writer{frames: f, tar: tar.NewWriter(f), gate: newGate(l)}, nil
}

// Add adds one member; r is read for h.Size bytes.
func (w *Writer) Add(h *tar.Header, r io.Reader) error {
	if w.err == nil {
		w.err = w.add(h, r)
	}
	return w.err
}

func (w *Writer) add(h *tar.Header, r io.Reader) error {
	plain, err := w.gate.pass(h)
	if err != nil || plain == nil {
		return err
	}
	if err := w.tar.Flush(); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	if err := w.frames.begin(); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	if err := w.tar.WriteHeader(plain); err != nil {
		return fmt.Errorf("write %.100q to the archive: %w", h.Name, err)
	}
	e := Entry{Type: File, Mode: uint32(plain.Mode), ModTime: plain.ModTime, Size: plain.Size, Target: plain.Linkname, pos: w.frames.pos} // #nosec G115 -- permission bits
	e.Name, _ = local(plain.Name)
	switch plain.Typeflag {
	case tar.TypeDir:
		e.Type = Directory
	case tar.TypeSymlink:
		e.Type = Link
	}
	if plain.Size > 0 {
		if _, err := io.CopyN(w.tar, r, plain.Size); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("write %.100q to the archive: %w", h.Name, err)
		}
	}
	if w.index.add(e); e.Type != Directory {
		w.files++
	}
	w.raw += plain.Size
	return nil
}

// Tar adds what a tar stream holds.
func (w *Writer) Tar(r io.Reader) error {
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return w.fail(damaged(fmt.Errorf("it is no tar: %w", err)))
		}
		if err := w.Add(h, foreign{in}); err != nil {
			return err
		}
	}
}

// foreign reads what strangers have made: a fault of it is one of theirs.
type foreign struct{ r io.Reader }

func (f foreign) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = damaged(err)
	}
	return n, err
}

func (w *Writer) fail(err error) error {
	if w.err == nil {
		w.err = err
	}
	return w.err
}

// Close writes the index. After an error the archive is none.
func (w *Writer) Close() (Summary, error) {
	if w.closed {
		return Summary{}, w.fail(errors.New("the archive is closed"))
	}
	w.closed = true
	if w.err == nil {
		if err := w.tar.Close(); err != nil {
			w.err = fmt.Errorf("write archive: %w", err)
		}
	}
	if err := w.frames.end(); err != nil { // the cause of what came after it
		w.err = fmt.Errorf("write archive: %w", err)
	}
	defer func() { _ = w.frames.encoder.Close() }()
	if w.err != nil {
		return Summary{}, w.err
	}
	sealed, err := w.index.seal(w.frames.list, w.frames.pos, w.frames.out, w.frames.encoder)
	if err != nil {
		return Summary{}, w.fail(err)
	}
	if err := w.frames.write(sealed); err != nil {
		return Summary{}, w.fail(fmt.Errorf("write archive: %w", err))
	}
	return Summary{Bytes: w.frames.out, Raw: w.raw, Files: w.files, SHA256: hex.EncodeToString(w.frames.sum.Sum(nil))}, nil
}
