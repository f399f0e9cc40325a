// Package tasklog keeps what one attempt prints. Everything is masked before it is kept or shown, each stream by itself,
// and becomes records (libs/logfile) in the order in which it came. A short log stays in memory; one that grows goes on in
// a file, up to a limit: the beginning and the end are kept, and what is between them is left out. Somebody who watches
// gets the live tail as chunks, and loses some when the task prints faster than the tail may: the offsets show the gap.
//
// For a supervisor that reads no records the log is the text itself, and ends where its limit is.
package tasklog

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/formicary/formicary/libs/logfile"
	"github.com/formicary/formicary/libs/mask"
)

const (
	// HeadSize is how much of stdout is kept for Head, when it is wanted.
	HeadSize = 64 << 10
	tailSize = 4 << 10

	// MinLimit is the smallest limit of a log, in bytes.
	MinLimit = 4 << 10

	// pieceSize is the longest text that is taken at once, and the longest part of a line that waits for its end.
	pieceSize = 32 << 10
	// delay is how long what was printed waits for more of it before it is shown.
	delay = 100 * time.Millisecond
)

// Options of a log.
type Options struct {
	// Path of the file that a long log goes to.
	Path string
	// Limit of bytes that are kept, in the format of the log: a record has some 30 bytes more than its line.
	Limit int64
	// Masks hides values; nil hides none.
	Masks *mask.Masker
	// Live gets the tail; it must not block.
	Live func(Chunk)
	// Plain makes a log of text instead of records.
	Plain bool
	// Head keeps the beginning of stdout for Head.
	Head bool
}

// Log is the log of one attempt. Its methods and writers may be called by several goroutines; what they write is kept in
// the order of the calls.
type Log struct {
	opts Options

	mu     sync.Mutex
	stdout stream
	stderr stream
	scratch,
	head,
	tail []byte // the last bytes, at most twice tailSize
	size   int64     // offset of what comes next
	lines  int64     // that have ended
	now    int64     // time of the last block
	then   time.Time // of what comes next; zero when that is the time at which it comes
	store  store
	live   live
	timer  *time.Timer
	closed bool

	skipped bool // a part of the log was not known any more
}

// New returns an empty log; it makes nothing until something is printed.
func New(o Options) *Log {
	o.Limit = max(o.Limit, MinLimit)
	l := &Log{opts: o}
	l.stdout = stream{log: l, id: logfile.Stdout}
	l.stderr = stream{log: l, id: logfile.Stderr}
	if o.Masks != nil {
		l.stdout.masks, l.stderr.masks = o.Masks.Stream(), o.Masks.Stream()
	}
	l.store = store{path: o.Path, most: o.Limit}
	if !o.Plain {
		l.store.most = o.Limit / 2
		l.store.last = o.Limit - l.store.most
	}
	l.live = live{show: o.Live, plain: o.Plain}
	return l
}

// stream is what the task prints to one of its two.
type stream struct {
	log   *Log
	id    logfile.Stream
	masks *mask.Stream
	open  []byte // the beginning of a line, which waits for more for a moment
	since int64  // when it began
}

// Stdout takes what the task prints there. Its writes do not fail: a task must not end because its log cannot be kept.
func (l *Log) Stdout() io.Writer { return &l.stdout }

// Stderr is Stdout for the other stream.
func (l *Log) Stderr() io.Writer { return &l.stderr }

// Write is described at Stdout.
func (s *stream) Write(p []byte) (int, error) {
	l := s.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return len(p), nil
	}
	text := p
	if s.masks != nil {
		l.scratch = s.masks.Append(l.scratch[:0], p)
		text = l.scratch
	}
	l.print(s, text)
	return len(p), nil
}

// Note keeps a line of the ant's own, which is no output of the task.
func (l *Log) Note(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.endPieces()
	l.keep(logfile.Note, l.clock(), []byte(l.opts.Masks.String(line)+"\n"))
}

// At says that what comes next was printed at t; the zero time ends that. Until then no line is broken because it has waited:
// whoever tells everything again to a new log, with the same times, gets the same records at the same offsets.
func (l *Log) At(t time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.then = t
}

// Again says that what comes next was told to a log before, which may have shown it: only the last of it is shown, when that
// ends.
func (l *Log) Again(yes bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.live.repeat(yes)
}

// Place ends what is open and returns where what comes next will be.
func (l *Log) Place() (offset, line int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endPieces()
	return l.size, l.lines
}

// Skip goes on at a place of the log that this one repeats. What is between is left out.
func (l *Log) Skip(offset, line int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endPieces()
	if l.opts.Plain || offset < l.size || line < l.lines {
		l.keep(logfile.Note, l.clock(), []byte("[formicary: a part of the log is left out here]\n"))
		return
	}
	l.live.send(offset, line, false)
	l.store.skip(offset)
	l.skipped = true
	l.size, l.lines = offset, line
}

// clock never goes back, so that a time has one place in the log.
func (l *Log) clock() int64 {
	now := l.then
	if now.IsZero() {
		now = time.Now()
	}
	l.now = max(l.now, now.UnixMicro())
	return l.now
}

// print takes what was printed. The last line of it waits for its end for a moment, unless something else comes first.
func (l *Log) print(s *stream, text []byte) {
	if len(text) == 0 {
		return
	}
	now := l.clock()
	if other := l.other(s); len(other.open) > 0 {
		other.flush()
	}
	if now-s.since >= delay.Microseconds() {
		s.flush()
	}
	if len(s.open) > 0 {
		end := bytes.IndexByte(text, '\n') + 1
		n := end
		if end == 0 {
			n = len(text)
		}
		if len(s.open)+n <= pieceSize {
			s.open = append(s.open, text[:n]...)
			text = text[n:]
		}
		if end == 0 && len(text) == 0 {
			return
		}
		s.flush()
	}
	whole := bytes.LastIndexByte(text, '\n') + 1
	if len(text)-whole >= pieceSize {
		whole = len(text)
	}
	l.keep(s.id, now, text[:whole])
	if whole < len(text) {
		s.open, s.since = append(s.open, text[whole:]...), now
		l.wake()
	}
}

func (l *Log) other(s *stream) *stream {
	if s == &l.stdout {
		return &l.stderr
	}
	return &l.stdout
}

func (s *stream) flush() {
	s.log.keep(s.id, s.since, s.open)
	s.open = s.open[:0]
}

// endPieces keeps what waits for the end of its line.
func (l *Log) endPieces() {
	l.stdout.flush()
	l.stderr.flush()
}

// keep takes text into the log.
func (l *Log) keep(id logfile.Stream, at int64, text []byte) {
	for len(text) > 0 {
		n, size, lines := l.fit(text)
		b := block{offset: l.size, line: l.lines, time: at, stream: id, text: text[:n]}
		text = text[n:]
		l.remember(b)
		l.store.add(b, size)
		if !l.opts.Plain || l.store.left == 0 { // a text ends at its limit
			l.live.add(b, size)
			l.size, l.lines = l.size+size, l.lines+lines
		}
	}
	if len(l.live.pending) > 0 {
		l.wake()
	}
}

// fit says how much of a text makes a block, at a line feed if there is one, and its size and lines in the format.
func (l *Log) fit(text []byte) (n int, size, lines int64) {
	n = len(text)
	for most := pieceSize; ; most = n / 2 {
		if n > most {
			if n = bytes.LastIndexByte(text[:most], '\n') + 1; n == 0 {
				n = most
			}
		}
		if l.opts.Plain {
			return n, int64(n), 0
		}
		if size, lines = logfile.Size(text[:n]); size <= l.store.last/8 { // so that little of the limit stays unused
			return n, size, lines
		}
	}
}

// remember keeps what messages and results are made of: the words of the task, not those of the ant or of services.
func (l *Log) remember(b block) {
	if b.stream == logfile.Note {
		return
	}
	if l.opts.Head && b.stream == logfile.Stdout {
		l.head = append(l.head, b.text[:min(HeadSize-len(l.head), len(b.text))]...)
	}
	p := b.text[max(0, len(b.text)-tailSize):]
	if len(l.tail)+len(p) > 2*tailSize {
		l.tail = l.tail[:copy(l.tail, l.tail[len(l.tail)-tailSize:])]
	}
	l.tail = append(l.tail, p...)
}

func (l *Log) wake() {
	if l.timer == nil {
		l.timer = time.AfterFunc(delay, l.tick)
	}
}

func (l *Log) tick() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timer = nil
	if l.closed {
		return
	}
	if !l.then.IsZero() { // what comes may be older than what waits has waited
		l.timer = time.AfterFunc(delay/20, l.tick)
		return
	}
	rest := l.endWaited(time.Now().UnixMicro())
	l.live.send(l.size, l.lines, false)
	if l.timer != nil { // nothing waits any more
		l.timer.Stop()
		l.timer = nil
	}
	if rest > 0 {
		l.timer = time.AfterFunc(rest, l.tick)
	}
}

// endWaited keeps what has waited long enough for the end of its line, and returns how long something has to wait yet.
func (l *Log) endWaited(now int64) (rest time.Duration) {
	for _, s := range []*stream{&l.stdout, &l.stderr} {
		if len(s.open) == 0 {
			continue
		}
		switch waited := time.Duration(now-s.since) * time.Microsecond; {
		case waited >= delay || waited < 0: // the clock was set
			s.flush()
		default:
			rest = delay - waited
		}
	}
	return rest
}

// Finish keeps what the maskers held back and ends the live tail; later writes are ignored.
func (l *Log) Finish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	for _, s := range []*stream{&l.stdout, &l.stderr} {
		if s.masks != nil {
			l.print(s, s.masks.Flush(nil))
		}
	}
	l.endPieces()
	l.closed = true
	if l.timer != nil {
		l.timer.Stop()
	}
	if l.size > 0 {
		l.live.send(l.size, l.lines, true)
	}
}

// Size of the log: the offset that follows what was printed.
func (l *Log) Size() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.size
}

// Head returns the first HeadSize bytes that the task printed to stdout, as text, when they are wanted.
func (l *Log) Head() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.ToValidUTF8(string(l.head), "\uFFFD")
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

// Remove deletes the files.
func (l *Log) Remove() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.store.remove()
}
