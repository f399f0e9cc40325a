// Package tasklog keeps what one attempt prints. Everything is masked before it is kept or shown. The beginning stays
// in memory; a log that grows goes on in a file, up to a limit. Somebody who watches gets the live tail as chunks, and
// loses some when the task prints faster than the tail may: the offsets show the gap, the kept log has none.
package tasklog

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/formicary/formicary/services/ant/internal/mask"
)

const (
	// HeadSize is how much of the log is kept in memory; a log that is not longer needs no file.
	HeadSize = 64 << 10
	tailSize = 4 << 10

	chunkSize  = 32 << 10
	chunkDelay = 100 * time.Millisecond
	liveRate   = 1 << 20 // bytes per second, and the burst
)

// Chunk is a piece of the live tail.
type Chunk struct {
	Offset int64
	Data   []byte
	End    bool
}

// Options of a log.
type Options struct {
	// Path of the file that a long log goes to.
	Path string
	// Limit of bytes that are kept; what comes after is read and dropped.
	Limit int64
	// Masks hides values; nil hides none.
	Masks *mask.Masker
	// Live gets the tail; it must not block.
	Live func(Chunk)
}

// Log is the log of one attempt.
type Log struct {
	opts Options

	mu      sync.Mutex
	out     stream
	errs    stream
	scratch []byte
	head    []byte
	notes   [][2]int // from and to in head
	tail    []byte   // the last bytes, at most twice tailSize
	file    *os.File
	size    int64
	cut     bool // the limit was reached
	sum     hash.Hash
	err     error // the file failed

	pending   []byte // of the live tail
	pendingAt int64
	timer     *time.Timer
	allowed   float64
	refilled  time.Time
	closed    bool
}

// New returns an empty log; it makes nothing until something is printed.
func New(o Options) *Log {
	l := &Log{opts: o}
	l.out.log, l.errs.log = l, l
	if o.Masks != nil {
		l.out.masks, l.errs.masks = o.Masks.Stream(), o.Masks.Stream()
	}
	return l
}

// Stdout is where the task prints to; Stderr is the other stream. Values are hidden in each by itself.
func (l *Log) Stdout() io.Writer { return &l.out }

// Stderr is the other stream.
func (l *Log) Stderr() io.Writer { return &l.errs }

// stream is one of the two that a task prints.
type stream struct {
	log   *Log
	masks *mask.Stream // nil hides nothing
}

// Write keeps p. It never fails: a task must not end because its log cannot be kept.
func (s *stream) Write(p []byte) (int, error) {
	l := s.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return len(p), nil
	}
	if s.masks == nil {
		l.keep(p)
		return len(p), nil
	}
	l.scratch = s.masks.Append(l.scratch[:0], p)
	l.keep(l.scratch)
	return len(p), nil
}

// Note keeps a line of the ant's own, which is no output of the task: Head is without it.
func (l *Log) Note(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	if l.opts.Masks != nil {
		line = l.opts.Masks.String(line)
	}
	from := len(l.head)
	l.keep([]byte(line + "\n"))
	if to := len(l.head); to > from {
		l.notes = append(l.notes, [2]int{from, to})
	}
}

func (l *Log) keep(p []byte) {
	if len(p) == 0 {
		return
	}
	l.remember(p)
	if l.cut {
		return
	}
	if room := l.opts.Limit - l.size; int64(len(p)) > room {
		p = append(p[:room:room], fmt.Sprintf("\n[log ends here: the limit of %d bytes is reached]\n", l.opts.Limit)...)
		l.cut = true
	}
	if l.sum == nil {
		l.sum = sha256.New()
		l.refilled, l.allowed = time.Now(), liveRate
	}
	l.store(p)
	l.live(p)
	l.size += int64(len(p))
}

// remember keeps the last bytes for the message of a failure.
func (l *Log) remember(p []byte) {
	if len(p) >= tailSize {
		l.tail = append(l.tail[:0], p[len(p)-tailSize:]...)
		return
	}
	if len(l.tail)+len(p) > 2*tailSize {
		l.tail = l.tail[:copy(l.tail, l.tail[len(l.tail)-tailSize:])]
	}
	l.tail = append(l.tail, p...)
}

func (l *Log) store(p []byte) {
	_, _ = l.sum.Write(p)
	if room := HeadSize - len(l.head); room > 0 {
		l.head = append(l.head, p[:min(room, len(p))]...)
	}
	if l.size+int64(len(p)) <= HeadSize || l.err != nil {
		return
	}
	if l.file == nil {
		if l.file, l.err = os.OpenFile(l.opts.Path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600); l.err != nil {
			return
		}
		if _, l.err = l.file.Write(l.head[:min(int64(len(l.head)), l.size)]); l.err != nil {
			return
		}
	}
	_, l.err = l.file.Write(p)
}

// live adds p to what is to be shown.
func (l *Log) live(p []byte) {
	at := l.size
	for len(p) > 0 {
		if len(l.pending) == 0 {
			l.pendingAt = at
			if l.pending == nil {
				l.pending = make([]byte, 0, min(chunkSize, max(512, len(p))))
			}
		}
		n := min(chunkSize-len(l.pending), len(p))
		l.pending = append(l.pending, p[:n]...)
		p, at = p[n:], at+int64(n)
		if len(l.pending) == chunkSize {
			l.show(false)
		}
	}
	if len(l.pending) > 0 && l.timer == nil {
		l.timer = time.AfterFunc(chunkDelay, l.tick)
	}
}

func (l *Log) tick() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timer = nil
	if !l.closed && len(l.pending) > 0 {
		l.show(false)
	}
}

// show hands the pending bytes on, or drops them when the task prints too fast.
func (l *Log) show(end bool) {
	now := time.Now()
	l.allowed = min(liveRate, l.allowed+now.Sub(l.refilled).Seconds()*liveRate)
	l.refilled = now
	if l.allowed < float64(len(l.pending)) {
		l.pending = l.pending[:0]
		if end {
			l.opts.Live(Chunk{Offset: l.size, End: true})
		}
		return
	}
	l.allowed -= float64(len(l.pending))
	if len(l.pending) == 0 {
		l.pendingAt = l.size
	}
	l.opts.Live(Chunk{Offset: l.pendingAt, Data: l.pending, End: end})
	l.pending = nil // belongs to the receiver now
}

// Finish keeps what the masker held back and ends the live tail; later writes are ignored.
func (l *Log) Finish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	for _, s := range []*stream{&l.out, &l.errs} {
		if s.masks != nil {
			l.keep(s.masks.Flush(nil))
		}
	}
	l.closed = true
	if l.timer != nil {
		l.timer.Stop()
	}
	if l.size > 0 {
		l.show(true)
	}
}

// Size of the log in bytes.
func (l *Log) Size() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.size
}

// Head returns what the task printed of the first HeadSize bytes, as text.
func (l *Log) Head() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var said strings.Builder
	from := 0
	for _, note := range l.notes {
		_, _ = said.Write(l.head[from:note[0]])
		from = note[1]
	}
	_, _ = said.Write(l.head[from:])
	return strings.ToValidUTF8(said.String(), "\uFFFD")
}

// Tail returns the last whole lines within limit bytes as text.
func (l *Log) Tail(limit int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := bytes.TrimRight(l.tail, " \t\r\n")
	if len(t) > limit {
		t = t[len(t)-limit:]
		if i := bytes.IndexByte(t, '\n'); i >= 0 && i < len(t)-1 {
			t = t[i+1:]
		}
	}
	return strings.ToValidUTF8(string(t), "\uFFFD")
}

// Sum is the SHA-256 of the log in hex.
func (l *Log) Sum() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sum == nil {
		return ""
	}
	return hex.EncodeToString(l.sum.Sum(nil))
}

// Reader reads the whole log from the start, after Finish. It fails when the log could not be kept.
func (l *Log) Reader() (io.Reader, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.err != nil:
		return nil, fmt.Errorf("keep log: %w", l.err)
	case l.file != nil:
		return io.NewSectionReader(l.file, 0, l.size), nil
	}
	return bytes.NewReader(l.head), nil
}

// Remove deletes the file.
func (l *Log) Remove() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		_ = l.file.Close()
		_ = os.Remove(l.opts.Path)
		l.file = nil
	}
}
