package archive

import (
	"archive/tar"
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Decompress reads the tar stream of an archive from the front. It fails beyond the limits.
func Decompress(r io.Reader, l Limits) (io.ReadCloser, error) {
	packed := &counter{r: r}
	decoder, err := zstd.NewReader(packed, zstd.WithDecoderMaxWindow(8*frameSize))
	if err != nil {
		return nil, fmt.Errorf("make decoder: %w", err)
	}
	return &decompressed{bounded{r: decoder, packed: packed, limits: l.filled()}, decoder}, nil
}

type decompressed struct {
	bounded
	decoder *zstd.Decoder
}

func (d *decompressed) Close() error {
	d.decoder.Close()
	return nil
}

// each calls f for what a tar stream holds, when it may be let through.
func each(r io.Reader, l Limits, f func(h *tar.Header, body io.Reader) error) error {
	in, g := tar.NewReader(r), newGate(l)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return damaged(err)
		}
		if sparse(h) {
			return fmt.Errorf("%w: %.100q is a sparse file, which no archive holds", ErrUnsafe, h.Name)
		}
		plain, err := g.pass(h)
		if err != nil {
			return err
		}
		if plain == nil {
			continue
		}
		if err := f(plain, in); err != nil {
			return err
		}
	}
}

// sparse says whether a file is longer than what is there of it. No writer of archives makes one: it would be as long as it
// likes, whatever was counted on the way.
func sparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for record := range h.PAXRecords {
		if strings.HasPrefix(record, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// damaged is what a fault of a tar stream means.
func damaged(err error) error {
	if errors.Is(err, ErrLimit) || errors.Is(err, ErrUnsafe) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// Clean copies a tar stream; it fails at what is not let through, and leaves owners and attributes out.
func Clean(w io.Writer, r io.Reader, l Limits) error {
	out := tar.NewWriter(w)
	err := each(r, l, func(h *tar.Header, body io.Reader) error {
		if err := out.WriteHeader(h); err != nil {
			return fmt.Errorf("write %.100q: %w", h.Name, err)
		}
		if _, err := io.Copy(out, body); err != nil {
			return fmt.Errorf("write %.100q: %w", h.Name, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return out.Close()
}

// Zip makes a zip file of a tar stream.
func Zip(w io.Writer, r io.Reader, l Limits) error {
	out := zip.NewWriter(w)
	err := each(r, l, func(h *tar.Header, body io.Reader) error {
		z := &zip.FileHeader{Name: h.Name, Method: zip.Deflate, Modified: h.ModTime}
		mode := h.FileInfo().Mode()
		if z.SetMode(mode); mode.IsDir() {
			z.Method = zip.Store
		}
		member, err := out.CreateHeader(z)
		if err != nil {
			return fmt.Errorf("write %.100q: %w", h.Name, err)
		}
		if mode&fs.ModeSymlink != 0 {
			_, err = io.WriteString(member, h.Linkname)
		} else if !mode.IsDir() {
			_, err = io.Copy(member, body)
		}
		if err != nil {
			return fmt.Errorf("write %.100q: %w", h.Name, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return out.Close()
}
