package transfer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"time"

	"github.com/formicary/formicary/libs/archive"
	"github.com/formicary/formicary/libs/errs"
)

// Input is an archive to be read.
type Input struct {
	ID     string
	Bytes  int64
	SHA256 string
}

// Download hands the tar stream of an archive to put. It fails when the bytes are not those of the digest, which is known at
// their end only.
func (m *Mover) Download(ctx context.Context, in Input, put func(tar io.Reader) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d := &download{m: m, ctx: ctx, in: in, end: in.Bytes, sum: sha256.New()}
	defer d.close()
	raw, err := archive.Decompress(d, m.Limits)
	if err != nil {
		return err
	}
	defer func() { _ = raw.Close() }()
	clean, w := io.Pipe()
	cleaned := make(chan error, 1)
	go func() {
		err := archive.Clean(w, raw, m.Limits)
		if err == nil {
			_, err = io.Copy(io.Discard, raw) // what follows the tar stream
		}
		_ = w.CloseWithError(err)
		cleaned <- err
	}()
	err = put(clean)
	if err == nil {
		_, err = io.Copy(io.Discard, clean) // waits for the end of it
	}
	if err != nil {
		cancel()
	}
	_ = clean.CloseWithError(errors.New("not wanted any more"))
	if failed := <-cleaned; err == nil {
		err = failed
	}
	if err != nil {
		return err
	}
	if got := hex.EncodeToString(d.sum.Sum(nil)); d.at != in.Bytes || got != in.SHA256 {
		return fmt.Errorf("%w: its SHA-256 is %s, not %s", archive.ErrDamaged, got, in.SHA256)
	}
	return nil
}

// download reads an object, or a piece of it, and goes on where a connection was cut.
type download struct {
	m    *Mover
	ctx  context.Context //nolint:containedctx // of one download
	in   Input
	at   int64
	end  int64
	sum  hash.Hash
	body io.ReadCloser
}

func (d *download) Read(p []byte) (n int, err error) {
	if d.at == d.end {
		return 0, io.EOF
	}
	err = d.m.again(d.ctx, "read an artifact", func(ctx context.Context) error {
		if d.body == nil {
			if err := d.open(ctx); err != nil {
				return err
			}
		}
		n, err = d.body.Read(p[:min(int64(len(p)), d.end-d.at)])
		if n > 0 {
			return nil
		}
		d.close()
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return Plain(err)
	})
	_, _ = d.sum.Write(p[:n])
	d.at += int64(n)
	return n, err
}

func (d *download) close() {
	if d.body != nil {
		_ = d.body.Close()
		d.body = nil
	}
}

// open asks for what is missing.
func (d *download) open(ctx context.Context) error {
	asking, cancel := context.WithTimeout(ctx, partTime)
	address, err := d.m.Store.SignRead(asking, d.in.ID)
	cancel()
	if err != nil {
		return err
	}
	ctx, cancel = context.WithCancel(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		cancel()
		return errors.New("the address of an artifact is none") // without the address, which is a secret
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", d.at, d.end-1))
	res, err := d.m.HTTP.Do(req)
	if err != nil {
		cancel()
		return Plain(err)
	}
	if res.StatusCode != http.StatusPartialContent {
		drain(res)
		cancel()
		if res.StatusCode == http.StatusNotFound {
			return errs.NotFound("OBJECT_NOT_FOUND", "its bytes are not in the object store (any more)")
		}
		return fmt.Errorf("status %s", res.Status)
	}
	d.body = &watched{body: res.Body, cancel: cancel, timer: time.AfterFunc(partTime, cancel)}
	return nil
}

// watched is a body that ends when nothing comes for too long.
type watched struct {
	body   io.ReadCloser
	cancel func()
	timer  *time.Timer
}

func (w *watched) Read(p []byte) (int, error) {
	w.timer.Reset(partTime)
	return w.body.Read(p)
}

func (w *watched) Close() error {
	w.timer.Stop()
	w.cancel()
	return w.body.Close()
}
