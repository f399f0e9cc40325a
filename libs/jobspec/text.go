package jobspec

import (
	"bytes"
	"fmt"
	"sort"
	"unicode/utf8"
)

// Bounds of a definition's text and of what it renders to.
const (
	maxText  = 1 << 20
	maxDepth = 64
	maxNodes = 200_000
)

// The token that stands for a printed value while the text is read as YAML: a number between two characters of
// Unicode's private area, which no definition may contain. To YAML they are letters without any meaning.
const (
	tokenOpen  = '\uE0F0'
	tokenClose = '\uE0F1'
	tokenBytes = "\uE0F0"
)

// checkText refuses what is too large or not text. It returns the text without a byte order mark.
func checkText(text []byte, c *collector) ([]byte, bool) {
	if len(text) > maxText {
		c.add(Problem{
			Code: CodeSize, Message: fmt.Sprintf("the definition has %d bytes", len(text)),
			Expected: fmt.Sprintf("at most %d", maxText),
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
		if r == utf8.RuneError && size <= 1 || r < 0x20 || r == 0x7F || r == tokenOpen || r == tokenClose {
			line, column := newLines(text).at(i)
			c.add(Problem{
				Line: line, Column: column, Code: CodeEncoding, Message: "a byte here is no printable text",
				Expected: "UTF-8 without control characters",
			})
			return nil, false
		}
		i += size
	}
	return text, true
}

// lines finds the line and column of an offset.
type lines struct {
	text   []byte
	starts []int
}

// newLines counts a line after each line feed: the lines that editors show.
func newLines(text []byte) *lines {
	l := &lines{text: text, starts: append(make([]int, 0, 1+bytes.Count(text, []byte("\n"))), 0)}
	for i, b := range text {
		if b == '\n' {
			l.starts = append(l.starts, i+1)
		}
	}
	return l
}

// newYAMLLines counts lines as the YAML reader does: it also breaks at a lone CR, NEL, LS and PS.
func newYAMLLines(text []byte) *lines {
	l := &lines{text: text, starts: append(make([]int, 0, 1+bytes.Count(text, []byte("\n"))), 0)}
	for i := 0; i < len(text); i++ {
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
	return l
}

// at returns the line and column, from 1, of an offset in bytes.
func (l *lines) at(offset int) (line, column int) {
	offset = max(0, min(offset, len(l.text)))
	line = sort.SearchInts(l.starts, offset+1)
	return line, 1 + utf8.RuneCount(l.text[l.starts[line-1]:offset])
}

// offset is the inverse of at; positions outside the text give the nearest one inside.
func (l *lines) offset(line, column int) int {
	if line < 1 {
		return 0
	}
	if line > len(l.starts) {
		return len(l.text)
	}
	at := l.starts[line-1]
	for ; column > 1 && at < len(l.text); column-- {
		_, size := utf8.DecodeRune(l.text[at:])
		at += size
	}
	return at
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
