package api

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/formicary/formicary/libs/errs"
	"github.com/formicary/formicary/libs/logfile"
	executionv1 "github.com/formicary/formicary/proto/gen/formicary/execution/v1"
	"github.com/formicary/formicary/services/supervisor/internal/events"
	"github.com/formicary/formicary/services/supervisor/internal/execution"
)

// The part of a log that a watcher wants, where the log is kept as records: its last lines, some lines, what was printed
// since a time or to one stream. Of a log that is text only the last lines can be found.

// errFormat is of a log that a later version has stored.
var errFormat = errs.Unavailable("LOG_FORMAT_UNKNOWN", "the log is stored in a format of a later version: ask again when all of supervisor is of that version")

// maxTextTail bounds what is read of a text to find its last lines.
const maxTextTail = 16 << 20

// logObject is a log in the store.
type logObject struct {
	Objects
	key string
}

// Range makes a source of it.
func (o logObject) Range(ctx context.Context, offset, length int64) (io.ReadCloser, error) {
	return o.Objects.Range(ctx, o.key, offset, length)
}

// streams by their names.
var streams = map[string]logfile.Stream{"": logfile.Merged, "stdout": logfile.Stdout, "stderr": logfile.Stderr, "note": logfile.Note} //nolint:gochecknoglobals // a constant

// errEnough ends a log before its end.
var errEnough = errors.New("the wanted lines are sent")

// start moves next to where the wanted part of an attempt begins that is the first to be sent.
func (w *watch) start(ctx context.Context, log execution.Log) error {
	n := w.req.GetTail()
	if w.begun {
		return nil
	}
	w.begun = true
	var at int64
	var err error
	switch {
	case n == 0:
	case log.Key == "":
		at, err = w.lastLive(ctx, log, n)
	case log.Format == execution.LogRecords:
		var r *logfile.Reader
		if r, err = logfile.Open(ctx, logObject{w.Blobs, log.Key}, log.Stored); err == nil {
			at, err = r.Tail(ctx, n)
		}
	case log.Format == execution.LogText:
		at, err = w.lastOfText(ctx, log, n)
	}
	w.next = max(w.next, at)
	return err
}

// lastLive finds the last lines of what the bus has.
func (w *watch) lastLive(ctx context.Context, log execution.Log, n int64) (int64, error) {
	var starts []int64 // of lines, the last n in a ring
	seen, open, end := int64(0), false, int64(0)
	line := func(at int64) {
		if int64(len(starts)) < n {
			starts = append(starts, at)
		} else {
			starts[seen%n] = at
		}
		seen++
	}
	err := w.each(ctx, log, func(c events.Chunk) error {
		if c.Offset+int64(len(c.Data)) <= end { // again, after a reconnect
			return nil
		}
		end = c.Offset + int64(len(c.Data))
		for p, at := c.Data, c.Offset; len(p) > 0; {
			if !open {
				line(at)
			}
			rest := p[bytes.IndexByte(p, '\n')+1:]
			if open = len(rest) == len(p); open {
				break
			}
			if c.Records {
				r, _, err := logfile.Cut(p)
				if err != nil {
					return nil //nolint:nilerr // the chunk is no log: it is passed over
				}
				open = !r.Ends
			}
			at, p = at+int64(len(p)-len(rest)), rest
		}
		return nil
	})
	switch {
	case err != nil || seen == 0:
		return 0, err
	case seen < n:
		return starts[0], nil
	}
	return starts[seen%n], nil
}

// lastOfText finds the last lines of a text: from its end on, so much as may be read.
func (w *watch) lastOfText(ctx context.Context, log execution.Log, n int64) (int64, error) {
	for size := int64(pieceSize); ; size *= 4 {
		size = min(size, log.Bytes, maxTextTail)
		body, err := w.Blobs.Range(ctx, log.Key, log.Bytes-size, size)
		if err != nil {
			return 0, err
		}
		text, err := io.ReadAll(io.LimitReader(body, size))
		_ = body.Close() // it was only read
		if err != nil {
			return 0, err
		}
		at := len(bytes.TrimSuffix(text, []byte("\n")))
		for left := n; at >= 0 && left > 0; left-- {
			at = bytes.LastIndexByte(text[:at], '\n')
		}
		if at >= 0 || size == log.Bytes || size == maxTextTail {
			return log.Bytes - size + int64(at+1), nil
		}
	}
}

// piece sends what is wanted of a piece.
func (w *watch) piece(p logfile.Piece, gap bool) error {
	end := p.End()
	p, err := p.From(w.next)
	if err == nil && w.req.GetSince() != nil {
		p, err = p.Since(w.req.GetSince().AsTime())
	}
	if n := w.req.GetFromLine(); err == nil && n > 1 {
		p, err = p.FromLine(n)
	}
	enough := false
	if n := w.req.GetToLine(); err == nil && n > 0 {
		p, err = p.ToLine(n)
		enough = p.End() < end
	}
	if err != nil {
		return err
	}
	for len(p.Records) > 0 {
		var part logfile.Piece
		if part, p, err = p.First(pieceSize); err != nil {
			return err
		}
		m := &executionv1.WatchTaskLogResponse{Offset: part.Offset, Line: part.Line, Gap: gap, Records: w.req.GetRecords()}
		if m.Data, err = w.shown(part.Records); err != nil {
			return err
		}
		if err := w.send(m, part.End()); err != nil {
			return err
		}
		gap = false
	}
	if w.next = end; enough {
		return errEnough
	}
	return nil
}

// shown is what the caller gets of records. The stream may keep it.
func (w *watch) shown(records []byte) ([]byte, error) {
	only := streams[w.req.GetStream()]
	if !w.req.GetRecords() {
		return logfile.AppendText(nil, records, only)
	}
	if only == logfile.Merged {
		return bytes.Clone(records), nil
	}
	var out []byte
	for len(records) > 0 {
		r, rest, err := logfile.Cut(records)
		if err != nil {
			return nil, err
		}
		if r.Stream == only {
			out = append(out, records[:len(records)-len(rest)]...)
		}
		records = rest
	}
	return out, nil
}

// restOfRecords sends what is missing from the frames of the final object. What was left out there is no gap.
func (w *watch) restOfRecords(ctx context.Context, log execution.Log) error {
	r, err := logfile.Open(ctx, logObject{w.Blobs, log.Key}, log.Stored)
	if err != nil {
		return err
	}
	at := w.next
	if t := w.req.GetSince(); t != nil {
		since, err := r.Since(ctx, t.AsTime())
		if err != nil {
			return err
		}
		at = max(at, since)
	}
	if n := w.req.GetFromLine(); n > 1 {
		line, err := r.Line(ctx, n)
		if err != nil {
			return err
		}
		at = max(at, line)
	}
	return r.Records(ctx, at, func(p logfile.Piece) (bool, error) { return false, w.piece(p, false) })
}
