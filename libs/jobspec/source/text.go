package source

import (
	"bytes"
	"fmt"
	"sort"
	"unicode/utf8"
)

// Bounds of a definition's text and of what it renders to.
const (
	MaxText  = 1 << 20
	MaxDepth = 64
	maxNodes = 200_000
)

// The token that stands for a printed value while the text is read as YAML: a number between two characters of
// Unicode's private area, which no definition may contain. To YAML they are letters without any meaning.
const (
	TokenOpen   = '\uE0F0'
	TokenClose  = '\uE0F1'
	TokenPrefix = "\uE0F0"
)

// Characters that stand for braces while those around are read as templates. No definition may contain them either.
const (
	MaskOpen  = '\uE0F2'
	MaskClose = '\uE0F3'
)

// CheckText refuses what is too large or not text. It returns the text without a byte order mark. first is the line of
// the file on which it begins.
func CheckText(text []byte, first int, c *Collector) ([]byte, bool) {
	if len(text) > MaxText {
		c.Add(Problem{
			Code: CodeSize, Message: fmt.Sprintf("the definition has %d bytes", len(text)),
			Expected: fmt.Sprintf("at most %d", MaxText),
		})
		return nil, false
	}
	text = bytes.TrimPrefix(text, []byte("\uFEFF"))
	for i := 0; i < len(text); {
		b := text[i]
		if b >= 0x20 && b < 0x7F || b == '\n' || b == '\t' || b == '\r' {
			i++
			continue
		}
		r, size := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && size <= 1 || r < 0x20 || r == 0x7F || r >= TokenOpen && r <= MaskClose {
			line, column := NewLines(text).At(i)
			c.Add(Problem{
				Line: line + first - 1, Column: column, Code: CodeEncoding, Message: "a byte here is no printable text",
				Expected: "UTF-8 without control characters",
			})
			return nil, false
		}
		i += size
	}
	return text, true
}

// Lines finds the line and column of an offset, and the other way round.
type Lines struct {
	text   []byte
	starts []int
	// Before are the lines of the file before the text: at counts them, offset does not.
	Before int
	// runes counts the characters before each piece of pieceBytes; nil when each character is one byte. Without it a
	// definition in one long line would be walked through for each position.
	runes []int
}

const pieceBytes = 256

// NewLines counts a line after each line feed: the lines that editors show.
func NewLines(text []byte) *Lines {
	l := &Lines{text: text, starts: append(make([]int, 0, 1+bytes.Count(text, []byte("\n"))), 0)}
	for at := 0; ; {
		i := bytes.IndexByte(text[at:], '\n')
		if i < 0 {
			break
		}
		at += i + 1
		l.starts = append(l.starts, at)
	}
	l.count()
	return l
}

func (l *Lines) count() {
	if utf8.RuneCount(l.text) == len(l.text) {
		return
	}
	total := 0
	for i, b := range l.text {
		if i%pieceBytes == 0 {
			l.runes = append(l.runes, total)
		}
		if utf8.RuneStart(b) {
			total++
		}
	}
}

// NewYAMLLines counts lines as the YAML reader does: it also breaks at a lone CR, NEL, LS and PS.
func NewYAMLLines(text []byte) *Lines {
	if bytes.IndexByte(text, '\r') < 0 && !bytes.Contains(text, []byte("\u0085")) && !bytes.Contains(text, []byte("\u2028")) &&
		!bytes.Contains(text, []byte("\u2029")) {
		return NewLines(text)
	}
	l := &Lines{text: text, starts: append(make([]int, 0, 1+bytes.Count(text, []byte("\n"))), 0)}
	for i := range len(text) {
		switch b := text[i]; {
		case b == '\n':
			l.starts = append(l.starts, i+1)
		case b == '\r' && (i+1 == len(text) || text[i+1] != '\n'):
			l.starts = append(l.starts, i+1)
		case b == 0xC2 && bytes.HasPrefix(text[i:], []byte("\u0085")):
			l.starts = append(l.starts, i+2)
		case b == 0xE2 && (bytes.HasPrefix(text[i:], []byte("\u2028")) || bytes.HasPrefix(text[i:], []byte("\u2029"))):
			l.starts = append(l.starts, i+3)
		}
	}
	l.count()
	return l
}

// At returns the line and column, from 1, of an offset in bytes.
func (l *Lines) At(offset int) (line, column int) {
	offset = max(0, min(offset, len(l.text)))
	line = sort.SearchInts(l.starts, offset+1)
	return line + l.Before, 1 + l.charsBefore(offset) - l.charsBefore(l.starts[line-1])
}

// charsBefore counts characters.
func (l *Lines) charsBefore(offset int) int {
	if len(l.runes) == 0 {
		return offset
	}
	piece := min(offset/pieceBytes, len(l.runes)-1)
	n := l.runes[piece]
	for _, b := range l.text[piece*pieceBytes : offset] {
		if utf8.RuneStart(b) {
			n++
		}
	}
	return n
}

// Offset is the inverse of at, of lines of the text; positions outside the text give the nearest one inside.
func (l *Lines) Offset(line, column int) int {
	if line < 1 {
		return 0
	}
	if line > len(l.starts) {
		return len(l.text)
	}
	start := l.starts[line-1]
	if len(l.runes) == 0 {
		return min(start+max(column-1, 0), len(l.text))
	}
	target := l.charsBefore(start) + max(column-1, 0)
	piece := max(0, sort.SearchInts(l.runes, target+1)-1)
	at, n := piece*pieceBytes, l.runes[piece]
	for ; at < len(l.text); at++ {
		if utf8.RuneStart(l.text[at]) {
			if n == target {
				break
			}
			n++
		}
	}
	return max(at, start)
}

// tooManyNodes is a quick look, before the text is parsed, at how many YAML nodes it can hold: parsing costs about a
// microsecond for each, so a text that is nothing but nodes is refused unparsed. Comments cost as much and count too.
func tooManyNodes(text []byte) bool {
	nodes := 0
	for i, b := range text {
		var next byte = '\n'
		if i+1 < len(text) {
			next = text[i+1]
		}
		blank := next == ' ' || next == '\n' || next == '\t' || next == '\r'
		switch b {
		case ',', '[', '{', '#':
			nodes++
		case '-':
			if blank {
				nodes++
			}
		case '?':
			if blank {
				nodes += 2
			}
		case ':':
			if blank || i > 0 && (text[i-1] == '"' || text[i-1] == '\'') {
				nodes += 2
			}
		}
	}
	return nodes > maxNodes
}
