package jobspec

import (
	"bytes"
	"fmt"

	"github.com/formicary/formicary/libs/jobspec/source"
)

// Document is one definition of a file that holds several, with lines "---" between them.
type Document struct {
	// Text of the document, without the marker before it.
	Text []byte
	// Line of the file, from 1, on which Text begins.
	Line int
}

// maxDocuments bounds the definitions of one file.
const maxDocuments = 1_000

// Documents divides a file into its definitions. A file with one of them is its text unchanged; documents that hold
// nothing but comments are left out. A marker inside of an action of a template is none. The result is empty for a file
// without any text, and err is Problems when there are too many.
func Documents(file string, text []byte) ([]Document, error) {
	s := splitter{text: text, first: 1}
	for from, line := 0, 1; from < len(text); line++ {
		to := len(text)
		if i := bytes.IndexByte(text[from:], '\n'); i >= 0 {
			to = from + i + 1
		}
		s.line(from, to, line)
		from = to
	}
	s.cut(len(text))
	if len(s.out) > maxDocuments {
		return nil, source.Problems{{
			File: file, Line: s.out[maxDocuments].Line, Column: 1, Code: source.CodeSize,
			Message: "the file has too many documents", Expected: fmt.Sprintf("at most %d", maxDocuments),
		}}
	}
	return s.out, nil
}

// Parse is the function Parse for the document: the lines of problems are those of the file.
func (d Document) Parse(file string) (def *Definition, warnings source.Problems, err error) {
	return parseFrom(file, d.Text, d.Line)
}

// splitter gathers the documents of a text.
type splitter struct {
	text []byte
	out  []Document
	// from is where the document that is being read begins, and on which line; some says that it holds more than
	// comments and directives.
	from, first int
	some        bool
	// until ends the action of a template that is open, if any.
	until []byte
}

var (
	byteOrderMark = []byte("\uFEFF")
	actionOpen    = []byte("{{")
	actionClose   = []byte("}}")
	commentClose  = []byte("*/")
)

func (s *splitter) line(from, to, number int) {
	if s.until == nil {
		content := bytes.TrimRight(s.text[from:to], "\r\n")
		if number == 1 {
			content = bytes.TrimPrefix(content, byteOrderMark)
		}
		switch rest, isMarker := marker(content, "---"); {
		case isMarker && (s.some || len(s.out) > 0):
			s.cut(from)
			s.from, s.first = to, number+1
			if rest != nil { // the document begins on the line of its marker
				s.from, s.first, s.some = from, number, true
			}
			return
		case isMarker:
			s.some = rest != nil
			return
		}
		if rest, isMarker := marker(content, "..."); isMarker && rest == nil && s.some {
			s.cut(from)
			s.from, s.first = to, number+1
			return
		}
		trimmed := bytes.TrimLeft(content, " \t")
		s.some = s.some || len(trimmed) > 0 && trimmed[0] != '#' && content[0] != '%'
	}
	s.actions(s.text[from:to])
}

// cut ends the document that is being read.
func (s *splitter) cut(to int) {
	if s.some {
		s.out = append(s.out, Document{Text: s.text[s.from:to:to], Line: s.first})
	}
	s.some = false
}

// marker recognizes a line that begins or ends a document. rest is what stands on it besides a comment.
func marker(line []byte, sign string) (rest []byte, is bool) {
	rest, is = bytes.CutPrefix(line, []byte(sign))
	if !is || len(rest) > 0 && rest[0] != ' ' && rest[0] != '\t' {
		return nil, false
	}
	if rest = bytes.TrimSpace(rest); len(rest) == 0 || rest[0] == '#' {
		return nil, true
	}
	return rest, true
}

// actions follows the actions of templates over a line: one that is not closed goes on in the next.
func (s *splitter) actions(line []byte) {
	for {
		if s.until == nil {
			i := bytes.Index(line, actionOpen)
			if i < 0 {
				return
			}
			line, s.until = line[i+len(actionOpen):], actionClose
			if bytes.HasPrefix(bytes.TrimPrefix(line, []byte("- ")), []byte("/*")) {
				s.until = commentClose
			}
		}
		i := bytes.Index(line, s.until)
		if i < 0 {
			return
		}
		line = line[i+len(s.until):]
		if bytes.Equal(s.until, commentClose) {
			s.until = actionClose
			continue
		}
		s.until = nil
	}
}
