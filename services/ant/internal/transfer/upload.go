// Package transfer moves archives between an attempt and the object store: up in parts, a few at once and each tried again by
// itself, down as a stream that goes on where a connection was cut. The memory that it takes does not depend on the size.
package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/formicary/formicary/libs/archive"
	"github.com/formicary/formicary/libs/errs"
)

// Store gives out addresses; it answers for one attempt.
type Store interface {
	// Begin begins an upload.
	Begin(ctx context.Context, name string) (upload string, partBytes int64, err error)
	// SignPart returns the address of a part.
	SignPart(ctx context.Context, upload string, number int) (string, error)
	// Complete makes the object of the parts from number 1 on.
	Complete(ctx context.Context, upload string, etags []string, s archive.Summary) error
	// SignRead returns the address of an artifact.
	SignRead(ctx context.Context, id string) (string, error)
}

// Mover moves archives.
type Mover struct {
	HTTP  *http.Client
	Store Store
	// Limits bound what is unpacked.
	Limits archive.Limits
	// Tee, if set, takes a copy of what is uploaded. Its writes do not fail.
	Tee io.Writer
	// Patience is how long a part, or a stretch of a stream without a byte, is tried again.
	Patience time.Duration
}

const (
	firstPause = 100 * time.Millisecond
	maxPause   = 5 * time.Second
	atOnce     = 2
	partTime   = time.Minute // of one try, besides what the size adds
	slowest    = 256 << 10   // bytes per second that a try may count on
)

// Upload stores an archive of what fill adds. After an error there is none.
func (m *Mover) Upload(ctx context.Context, name string, fill func(w *archive.Writer) error) (upload string, s archive.Summary, err error) {
	var size int64
	err = m.again(ctx, "begin the upload", func(ctx context.Context) (err error) {
		upload, size, err = m.Store.Begin(ctx, name)
		return err
	})
	if err != nil {
		return "", s, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p := &parts{m: m, ctx: ctx, fail: cancel, upload: upload, free: make(chan []byte, atOnce+1)}
	for range atOnce + 1 {
		p.free <- make([]byte, 0, size)
	}
	p.buf = <-p.free
	var to io.Writer = p
	if m.Tee != nil {
		to = io.MultiWriter(m.Tee, p)
	}
	w, err := archive.NewWriter(to, archive.Limits{})
	if err != nil {
		return "", s, err
	}
	err = fill(w)
	s, closed := w.Close()
	if err = errors.Join(err, closed); err == nil {
		err = p.flush()
	}
	p.wait.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return "", s, cause
	}
	if err != nil {
		return "", s, err
	}
	return upload, s, m.again(ctx, "complete the upload", func(ctx context.Context) error { return m.Store.Complete(ctx, upload, p.etags, s) })
}

// parts cut a stream.
type parts struct {
	m      *Mover
	ctx    context.Context //nolint:containedctx // of one upload
	fail   context.CancelCauseFunc
	upload string
	free   chan []byte
	buf    []byte
	wait   sync.WaitGroup

	mu    sync.Mutex
	etags []string
}

func (p *parts) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		k := min(len(b), cap(p.buf)-len(p.buf))
		p.buf, b, n = append(p.buf, b[:k]...), b[k:], n+k
		if len(p.buf) == cap(p.buf) {
			if err := p.flush(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// flush sends what is there as a part.
func (p *parts) flush() error {
	if len(p.buf) == 0 {
		return nil
	}
	p.mu.Lock()
	p.etags = append(p.etags, "")
	number := len(p.etags)
	p.mu.Unlock()
	data := p.buf
	p.wait.Go(func() {
		tag, err := p.m.put(p.ctx, p.upload, number, data)
		if err != nil {
			p.fail(err)
		}
		p.mu.Lock()
		p.etags[number-1] = tag
		p.mu.Unlock()
		p.free <- data[:0]
	})
	select {
	case p.buf = <-p.free:
		return nil
	case <-p.ctx.Done():
		p.buf = nil
		return context.Cause(p.ctx)
	}
}

// put sends one part until it is stored.
func (m *Mover) put(ctx context.Context, upload string, number int, data []byte) (tag string, err error) {
	err = m.again(ctx, fmt.Sprintf("store part %d", number), func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, partTime+time.Duration(len(data)/slowest)*time.Second)
		defer cancel()
		address, err := m.Store.SignPart(ctx, upload, number)
		if err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPut, address, bytes.NewReader(data))
		if err != nil {
			return errors.New("the address of a part is none") // without the address, which is a secret
		}
		res, err := m.HTTP.Do(req)
		if err != nil {
			return Plain(err)
		}
		defer drain(res)
		if res.StatusCode/100 != 2 {
			return fmt.Errorf("status %s", res.Status)
		}
		if tag = res.Header.Get("ETag"); tag == "" {
			return errors.New("the answer has no ETag")
		}
		return nil
	})
	return tag, err
}

// drain leaves a connection that can be used again.
func drain(res *http.Response) {
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 4<<10))
	_ = res.Body.Close()
}

// Plain is an error of the HTTP client without the address that it was asked for: whoever has that can read or write the object.
func Plain(err error) error {
	if asked, ok := errors.AsType[*url.Error](err); ok {
		return asked.Err
	}
	return err
}

// final says that trying again is of no use.
func final(err error) bool {
	switch errs.CodeOf(err) {
	case errs.CodeNotFound, errs.CodeInvalid, errs.CodePrecondition, errs.CodeDenied:
		return true
	default:
		return false
	}
}

// again does something until it succeeds, with growing pauses, for the time of the patience.
func (m *Mover) again(ctx context.Context, what string, do func(ctx context.Context) error) error {
	giveUp := time.Now().Add(m.Patience)
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		err := do(ctx)
		if err == nil {
			return nil
		}
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		if final(err) || time.Now().Add(pause).After(giveUp) {
			return fmt.Errorf("%s: %w", what, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}
