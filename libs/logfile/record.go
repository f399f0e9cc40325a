// Package logfile is the log of a task as it is sent and stored.
//
// What a task prints is a stream of records, one a line:
//
//	2026-11-29T16:31:00.123456Z O text
//
// the time (UTC), the stream (O stdout, E stderr, N a note of the ant itself) and the text as it was printed. The letter
// is a small one where the text does not end its line: a piece that was shown before the rest of the line was printed, or
// the end of an output without a line feed. The texts in their order, with a line feed after each but those, are exactly
// what was printed. Line numbers are those of this text, offsets are those of the records.
//
// A stored log is the records in zstd frames that can be read one by one, followed by an index of them: see Writer and
// Reader. Where a part was left out, offsets and line numbers go on as if it were there. The index stands in a skippable
// frame, so `zstd -d` prints the records.
package logfile

import (
	"bytes"
	"errors"
	"time"
)

// Stream says who printed something.
type Stream byte

// The streams. Merged stands for all of them where one can be chosen.
const (
	Merged Stream = 0
	Stdout Stream = 'O'
	Stderr Stream = 'E'
	Note   Stream = 'N'
)

const (
	layout     = "2006-01-02T15:04:05.000000Z"
	timeSize   = len(layout)
	prefixSize = timeSize + len(" O ")
	small      = 'a' - 'A'

	// MaxText is the longest text that may become records at once, in bytes.
	MaxText = 64 << 10
)

// ErrRecord says that bytes are no records.
var ErrRecord = errors.New("not a record of a log")

// Append adds the records of text, at most MaxText, that was printed at a time. It ends its lines where it has line feeds.
func Append(dst []byte, s Stream, t time.Time, text []byte) []byte {
	if len(text) == 0 {
		return dst
	}
	var prefix [prefixSize]byte
	t.UTC().AppendFormat(prefix[:0], layout)
	prefix[timeSize], prefix[timeSize+1], prefix[timeSize+2] = ' ', byte(s), ' '
	for len(text) > 0 {
		end := bytes.IndexByte(text, '\n') + 1
		if end == 0 {
			prefix[timeSize+1] |= small
			dst = append(append(dst, prefix[:]...), text...)
			return append(dst, '\n')
		}
		dst = append(append(dst, prefix[:]...), text[:end]...)
		text = text[end:]
	}
	return dst
}

// Size is how many bytes Append adds for text, and how many lines end in it.
func Size(text []byte) (size, lines int64) {
	lines = int64(bytes.Count(text, []byte{'\n'}))
	size = int64(len(text)) + lines*int64(prefixSize)
	if len(text) > 0 && text[len(text)-1] != '\n' {
		size += int64(prefixSize) + 1
	}
	return size, lines
}

// Record is one of them.
type Record struct {
	Stream Stream
	// Ends says that a line feed was printed after Text.
	Ends bool
	Text []byte
	time []byte
}

// Time at which it was printed; zero when the record does not tell.
func (r Record) Time() time.Time {
	t, err := time.Parse(layout, string(r.time))
	if err != nil {
		return time.Time{}
	}
	return t
}

// Cut returns the first record of p and what follows it. The record points into p.
func Cut(p []byte) (r Record, rest []byte, err error) {
	if len(p) <= prefixSize || p[timeSize-1] != 'Z' || p[timeSize] != ' ' || p[timeSize+2] != ' ' {
		return r, nil, ErrRecord
	}
	letter := p[timeSize+1]
	r.Stream, r.Ends = Stream(letter&^small), letter&small == 0
	if r.Stream != Stdout && r.Stream != Stderr && r.Stream != Note {
		return r, nil, ErrRecord
	}
	end := bytes.IndexByte(p[prefixSize:], '\n')
	if end < 0 || end > MaxText {
		return r, nil, ErrRecord
	}
	r.time, r.Text = p[:timeSize], p[prefixSize:prefixSize+end]
	return r, p[prefixSize+end+1:], nil
}

// AppendText adds what one stream, or all, printed in records.
func AppendText(dst, records []byte, only Stream) ([]byte, error) {
	for len(records) > 0 {
		r, rest, err := Cut(records)
		if err != nil {
			return dst, err
		}
		records = rest
		if only == Merged || r.Stream == only {
			dst = append(dst, r.Text...)
			if r.Ends {
				dst = append(dst, '\n')
			}
		}
	}
	return dst, nil
}

// Piece is some records that follow each other, with their place in the log.
type Piece struct {
	Offset int64
	// Line is how many lines have ended before it.
	Line    int64
	Records []byte
}

// End is the offset that follows it.
func (p Piece) End() int64 { return p.Offset + int64(len(p.Records)) }

// drop takes records from the beginning as long as each is unwanted.
func (p Piece) drop(unwanted func(r Record, p Piece) bool) (Piece, error) {
	for len(p.Records) > 0 {
		r, rest, err := Cut(p.Records)
		if err != nil {
			return p, err
		}
		if !unwanted(r, p) {
			break
		}
		p.step(r, rest)
	}
	return p, nil
}

func (p *Piece) step(r Record, rest []byte) {
	p.Offset += int64(len(p.Records) - len(rest))
	p.Records = rest
	if r.Ends {
		p.Line++
	}
}

// From drops the records that end at an offset or before it.
func (p Piece) From(offset int64) (Piece, error) {
	if offset <= p.Offset {
		return p, nil
	}
	if offset >= p.End() {
		p.Line += lines(p.Records)
		p.Offset, p.Records = p.End(), nil
		return p, nil
	}
	return p.drop(func(r Record, p Piece) bool { return p.Offset+int64(prefixSize+len(r.Text)+1) <= offset })
}

// Since drops the records that were printed before a time.
func (p Piece) Since(t time.Time) (Piece, error) {
	first := t.UTC().AppendFormat(nil, layout)
	return p.drop(func(r Record, _ Piece) bool { return bytes.Compare(r.time, first) < 0 })
}

// FromLine drops the lines before a number; the first line has number 1.
func (p Piece) FromLine(n int64) (Piece, error) {
	return p.drop(func(_ Record, p Piece) bool { return p.Line < n-1 })
}

// ToLine keeps the lines up to a number.
func (p Piece) ToLine(n int64) (Piece, error) {
	rest, err := p.FromLine(n + 1)
	p.Records = p.Records[:len(p.Records)-len(rest.Records)]
	return p, err
}

// First divides it after the records that fit a size, at least one.
func (p Piece) First(size int) (first, rest Piece, err error) {
	rest, err = p, nil
	if len(p.Records) > size {
		rest, err = p.drop(func(r Record, at Piece) bool {
			used := len(p.Records) - len(at.Records)
			return used == 0 || used+prefixSize+len(r.Text)+1 <= size
		})
	} else {
		rest.Records = nil
		rest.Offset = p.End()
	}
	first = p
	first.Records = p.Records[:len(p.Records)-len(rest.Records)]
	return first, rest, err
}

// lines counts those that end in records, at no cost of a check.
func lines(records []byte) (n int64) {
	for len(records) > 0 {
		r, rest, err := Cut(records)
		if err != nil {
			return n
		}
		if records = rest; r.Ends {
			n++
		}
	}
	return n
}
