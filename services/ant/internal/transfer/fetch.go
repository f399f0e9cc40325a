package transfer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/formicary/formicary/libs/archive"
)

const (
	pieceSize  = 16 << 20
	piecesOnce = 4
	copyBuffer = 256 << 10
)

// Fetch writes the object of an archive to a file, some pieces of it at once, each of which goes on where its connection was
// cut. What has come is not checked: see Check.
func (m *Mover) Fetch(ctx context.Context, in Input, to io.WriterAt) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var wait sync.WaitGroup
	for range min(piecesOnce, (in.Bytes+pieceSize-1)/pieceSize) {
		wait.Go(func() {
			buf := make([]byte, copyBuffer)
			for off := next.Add(pieceSize) - pieceSize; off < in.Bytes; off = next.Add(pieceSize) - pieceSize {
				if err := m.fetch(ctx, in, off, min(off+pieceSize, in.Bytes), to, buf); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	wait.Wait()
	return context.Cause(ctx)
}

func (m *Mover) fetch(ctx context.Context, in Input, from, end int64, to io.WriterAt, buf []byte) error {
	d := &download{m: m, ctx: ctx, in: in, at: from, end: end, sum: sha256.New()}
	defer d.close()
	_, err := io.CopyBuffer(struct{ io.Writer }{io.NewOffsetWriter(to, from)}, d, buf)
	return err
}

// Check reads the object of an archive to its end. It fails when the bytes are not those of the digest, and when not all of it
// would be let through.
func Check(r io.Reader, in Input, l archive.Limits) error {
	sum := sha256.New()
	raw, err := archive.Decompress(io.TeeReader(r, sum), l)
	if err != nil {
		return err
	}
	defer func() { _ = raw.Close() }()
	if err := archive.Clean(io.Discard, raw, l); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, raw); err != nil { // what follows the tar stream
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != in.SHA256 {
		return fmt.Errorf("%w: its SHA-256 is %s, not %s", archive.ErrDamaged, got, in.SHA256)
	}
	return nil
}
