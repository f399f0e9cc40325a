package logfile

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"regexp"
	"regexp/syntax"
	"runtime"
	"slices"
	"sync"
	"time"
	"unicode/utf8"
)

const (
	// maxPattern bounds a pattern, in bytes.
	maxPattern = 1 << 10
	// maxLine is how much of a line is looked at as a whole; of a longer one a pattern is found in the pieces of this size.
	maxLine = 1 << 20
	// maxShown is how much of a line a match shows.
	maxShown = 1 << 10
)

// Query finds lines of a log.
type Query struct {
	find func(line []byte) (at int)
}

// Literal finds the lines that hold a text.
func Literal(text string) (*Query, error) {
	if text == "" || len(text) > maxPattern {
		return nil, fmt.Errorf("a text of %d bytes: want 1 to %d", len(text), maxPattern)
	}
	want := []byte(text)
	return &Query{find: func(line []byte) int { return bytes.Index(line, want) }}, nil
}

// Pattern finds the lines that a regular expression (RE2) matches.
func Pattern(expr string) (*Query, error) {
	if expr == "" || len(expr) > maxPattern {
		return nil, fmt.Errorf("a pattern of %d bytes: want 1 to %d", len(expr), maxPattern)
	}
	re, err := regexp.Compile(expr)
	if err != nil {
		return nil, err
	}
	var needed []byte
	if tree, err := syntax.Parse(expr, syntax.Perl); err == nil {
		needed = []byte(literal(tree.Simplify()))
	}
	return &Query{find: func(line []byte) int {
		if !bytes.Contains(line, needed) { // most lines; the expression would take ten times as long
			return -1
		}
		if m := re.FindIndex(line); m != nil {
			return m[0]
		}
		return -1
	}}, nil
}

// literal returns the longest text that all matches of an expression hold; it may miss one.
func literal(re *syntax.Regexp) (longest string) {
	switch re.Op {
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase == 0 {
			return string(re.Rune)
		}
	case syntax.OpCapture, syntax.OpPlus:
		return literal(re.Sub[0])
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			if s := literal(sub); len(s) > len(longest) {
				longest = s
			}
		}
	default: // they may match without any text
	}
	return longest
}

// Match is a line that was found.
type Match struct {
	// Line is its number; the first has number 1.
	Line int64
	// Offset of its first record.
	Offset int64
	Stream Stream // that began it
	Time   time.Time
	// Text of the line without its line feed, in UTF-8. Of a long line it is a part around what was found.
	Text string
	// Cut says that Text is a part.
	Cut bool
}

// Scan looks for lines in records that come piece by piece.
type Scan struct {
	q     *Query
	line  []byte // what is known of a line of several records
	begun *Match // that line
	found bool   // it was
}

// Scan returns a scan that has seen nothing.
func (q *Query) Scan() *Scan { return &Scan{q: q} }

// Piece looks at a piece and calls do with what it finds, until do says that it has enough.
func (s *Scan) Piece(p Piece, do func(Match) (enough bool, err error)) (enough bool, err error) {
	for len(p.Records) > 0 {
		r, rest, err := Cut(p.Records)
		if err != nil {
			return false, err
		}
		if s.begun == nil && r.Ends { // most are
			if at := s.q.find(r.Text); at >= 0 {
				enough, err = do(match(r, p).shown(r.Text, at))
			}
		} else {
			enough, err = s.part(r, p, do)
		}
		if err != nil || enough {
			return enough, err
		}
		p.step(r, rest)
	}
	return false, nil
}

func match(r Record, p Piece) *Match {
	return &Match{Line: p.Line + 1, Offset: p.Offset, Stream: r.Stream, Time: r.Time()}
}

// part takes a record of a line that has several.
func (s *Scan) part(r Record, p Piece, do func(Match) (bool, error)) (enough bool, err error) {
	if s.begun == nil {
		s.begun = match(r, p)
	}
	s.line = append(s.line, r.Text...)
	if !r.Ends && len(s.line) < maxLine {
		return false, nil
	}
	enough, err = s.look(do)
	if s.line = s.line[:copy(s.line, s.line[max(0, len(s.line)-maxPattern):])]; r.Ends {
		s.forget()
	}
	return enough, err
}

func (s *Scan) look(do func(Match) (bool, error)) (enough bool, err error) {
	if at := s.q.find(s.line); at >= 0 && !s.found {
		s.found = true
		return do(s.begun.shown(s.line, at))
	}
	return false, nil
}

func (s *Scan) forget() { s.line, s.begun, s.found = s.line[:0], nil, false }

// Close looks at a last line that has no line feed.
func (s *Scan) Close(do func(Match) (bool, error)) (enough bool, err error) {
	if s.begun == nil {
		return false, nil
	}
	defer s.forget()
	return s.look(do)
}

func (m *Match) shown(line []byte, at int) Match {
	from, to := 0, len(line)
	if to > maxShown {
		from = max(0, min(at-maxShown/4, len(line)-maxShown))
		to = from + maxShown
		m.Cut = true
		for from < at && !utf8.RuneStart(line[from]) {
			from++
		}
		for to > at && to < len(line) && !utf8.RuneStart(line[to]) {
			to--
		}
	}
	m.Text = string(bytes.ToValidUTF8(line[from:to], []byte("\uFFFD")))
	return *m
}

// Search calls do with the lines that a query finds, in their order, until do says that it has enough.
func (r *Reader) Search(ctx context.Context, q *Query, do func(Match) (enough bool, err error)) error {
	if len(r.x.frames) == 0 {
		return nil
	}
	body, err := r.stream(ctx, 0, len(r.x.frames))
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }() // it was only read
	parts := make([]part, 2*runtime.GOMAXPROCS(0))
	last := int64(0)
	for rest := r.x.frames; len(rest) > 0; {
		n := 0
		for ; n < len(parts) && len(rest) > 0; n++ {
			if rest, err = parts[n].take(rest, body); err != nil {
				return err
			}
		}
		var all sync.WaitGroup
		for i := range parts[:n] {
			all.Go(func() { parts[i].scan(q) })
		}
		all.Wait()
		for _, p := range parts[:n] {
			for _, m := range p.found {
				if m.Line == last {
					continue // the line is in two parts
				}
				last = m.Line
				if enough, err := do(m); err != nil || enough {
					return err
				}
			}
			if p.err != nil {
				return p.err
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// maxPart bounds the frames of a part.
const maxPart = 16

// part is some frames that are looked at together: a line that goes on in the next one binds them. The parts of a log
// are looked at in parallel.
type part struct {
	frames      []frame
	packed, raw []byte
	found       []Match
	err         error
}

// take reads the first part of frames and returns those that are left.
func (p *part) take(frames []frame, body io.Reader) (rest []frame, err error) {
	n, size := 1, frames[0].size
	for n < len(frames) && n < maxPart && frames[n].inside {
		size += frames[n].size
		n++
	}
	p.frames = frames[:n]
	p.packed = slices.Grow(p.packed[:0], int(size))[:size]
	if _, err := io.ReadFull(body, p.packed); err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	return frames[n:], nil
}

func (p *part) scan(q *Query) {
	p.found, p.err = nil, nil
	keep := func(m Match) (bool, error) {
		p.found = append(p.found, m)
		return false, nil
	}
	s, packed := q.Scan(), p.packed
	for _, f := range p.frames {
		if p.raw, p.err = f.decode(packed[:f.size], p.raw); p.err != nil {
			return
		}
		packed = packed[f.size:]
		if _, p.err = s.Piece(Piece{Offset: f.offset, Line: f.line, Records: p.raw}, keep); p.err != nil {
			return
		}
	}
	_, p.err = s.Close(keep)
}
