package logfile

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
)

// encoder is shared: it is safe for concurrent use and costs much to make.
var encoder = sync.OnceValue(func() *zstd.Encoder { //nolint:gochecknoglobals // made once, never changed
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(frameSize), zstd.WithEncoderConcurrency(2), zstd.WithEncoderCRC(true))
	if err != nil {
		panic(err) // the options are constants
	}
	return e
})

// Writer makes a stored log. What was printed must come in the order of its times.
type Writer struct {
	to   io.Writer
	x    index
	raw  []byte // records of the frame to come
	at   frame  // where it begins
	last int64  // time of the last record
	made []byte
	err  error
}

// NewWriter returns a writer of an empty log.
func NewWriter(to io.Writer) *Writer { return &Writer{to: to} }

// Write adds text, at most MaxText, that was printed at a time. The records are those that Append makes of it.
func (w *Writer) Write(s Stream, t time.Time, text []byte) error {
	for len(text) > 0 && w.err == nil {
		if len(w.raw) == 0 {
			w.last = max(w.last, micros(t))
			w.at = frame{place: w.at.place + w.at.size, offset: w.x.end, line: w.x.lines, first: w.last, inside: w.x.open}
		}
		part := text[:step(text)]
		text = text[len(part):]
		size, ended := Size(part)
		w.raw = Append(w.raw, s, t, part)
		w.x.end, w.x.lines, w.x.open = w.x.end+size, w.x.lines+ended, part[len(part)-1] != '\n'
		if len(w.raw) >= 2*frameSize || len(w.raw) >= frameSize && !w.x.open {
			w.flush()
		}
	}
	return w.err
}

// step is how much of a text is added at once: whole lines, so few that their records pass no limit, or a piece of one.
func step(text []byte) int {
	const most = frameSize / (prefixSize + 1)
	if len(text) <= most {
		return len(text)
	}
	if i := bytes.LastIndexByte(text[:most], '\n'); i >= 0 {
		return i + 1
	}
	if i := bytes.IndexByte(text, '\n'); i >= 0 {
		return i + 1
	}
	return len(text)
}

// Skip leaves a part of the log out: what comes next stands at an offset, after as many lines as have ended before it.
func (w *Writer) Skip(offset, line int64) error {
	if offset < w.x.end || line < w.x.lines {
		return fmt.Errorf("skip to offset %d, line %d of a log: it is at %d, %d", offset, line, w.x.end, w.x.lines)
	}
	w.flush()
	w.x.end, w.x.lines = offset, line
	return w.err
}

func (w *Writer) flush() {
	if len(w.raw) == 0 || w.err != nil {
		return
	}
	w.made = encoder().EncodeAll(w.raw, w.made[:0])
	w.at.length, w.at.size = int64(len(w.raw)), int64(len(w.made))
	w.x.frames = append(w.x.frames, w.at)
	w.raw = w.raw[:0]
	_, w.err = w.to.Write(w.made)
}

// Close writes what is left and the index.
func (w *Writer) Close() error {
	w.flush()
	if w.err == nil {
		_, w.err = w.to.Write(w.x.append(nil))
	}
	if w.err != nil {
		return fmt.Errorf("write log: %w", w.err)
	}
	return nil
}
