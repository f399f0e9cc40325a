// Package output reads the values that a script hands to later tasks: lines `::set-output name=KEY::VALUE` in what it
// prints, and the file that $FORMICARY_OUTPUT names with lines `KEY=VALUE` or `KEY<<MARK`, lines, `MARK`.
package output

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Limit of names and values together, in bytes.
const Limit = 64 << 10

// ErrTooLarge says that the outputs pass the limit.
var ErrTooLarge = fmt.Errorf("the outputs of the task are larger than %d KiB in all", Limit>>10)

// Set collects outputs.
type Set struct {
	values map[string]string
	size   int
}

// Put sets an output; the last value of a name counts.
func (s *Set) Put(name, value string) error {
	if !validName(name) {
		return fmt.Errorf("output name %s: want letters, digits, '_', '-' or '.', at most 128", shown(name))
	}
	if old, ok := s.values[name]; ok {
		s.size -= len(name) + len(old)
		delete(s.values, name)
	}
	if s.size+len(name)+len(value) > Limit {
		return ErrTooLarge
	}
	if s.values == nil {
		s.values = map[string]string{}
	}
	s.values[name] = value
	s.size += len(name) + len(value)
	return nil
}

// Values are the outputs by name; nil when there are none.
func (s *Set) Values() map[string]string { return s.values }

const maxName = 128

func validName(name string) bool {
	if name == "" || len(name) > maxName {
		return false
	}
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '-', c == '.':
		default:
			return false
		}
	}
	return true
}

// shown is a text in a message. Of a long one it is no part, because a secret that is cut is not masked.
func shown(s string) string {
	const most = 64
	if len(s) > most {
		return fmt.Sprintf("of %d bytes", len(s))
	}
	return strconv.Quote(s)
}

// Parse reads the text of an output file.
func (s *Set) Parse(text string) error {
	for n := 1; text != ""; n++ {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		line = strings.TrimSuffix(line, "\r")
		if strings.TrimSpace(line) == "" {
			continue
		}
		var err error
		name, mark, ok := heredoc(line)
		if ok {
			var value string
			var lines int
			if value, text, lines, ok = cutHeredoc(text, mark); !ok {
				return fmt.Errorf("output file, line %d: %s has no end: a line %s is missing", n, name, shown(mark))
			}
			n += lines
			err = s.Put(name, value)
		} else {
			name, value, found := strings.Cut(line, "=")
			if !found {
				return fmt.Errorf("output file, line %d: want KEY=VALUE or KEY<<MARK", n)
			}
			err = s.Put(strings.TrimSpace(name), value)
		}
		if errors.Is(err, ErrTooLarge) {
			return err
		}
		if err != nil {
			return fmt.Errorf("output file, line %d: %w", n, err)
		}
	}
	return nil
}

// heredoc splits KEY<<MARK; a line that has '=' first is KEY=VALUE.
func heredoc(line string) (name, mark string, ok bool) {
	name, mark, ok = strings.Cut(line, "<<")
	if !ok || strings.Contains(name, "=") {
		return "", "", false
	}
	name, mark = strings.TrimSpace(name), strings.TrimSpace(mark)
	return name, mark, name != "" && mark != ""
}

func cutHeredoc(text, mark string) (value, rest string, lines int, ok bool) {
	rest = text
	for rest != "" {
		start := len(text) - len(rest)
		var line string
		line, rest, _ = strings.Cut(rest, "\n")
		lines++
		if strings.TrimSuffix(line, "\r") == mark {
			return strings.TrimSuffix(text[:start], "\n"), rest, lines, true
		}
	}
	return "", "", lines, false
}

const (
	command = "::set-output "
	// maxLine bounds what is kept of a line: command, name and the largest value.
	maxLine = len(command) + 16 + maxName + Limit
)

// Scanner finds ::set-output lines in a stream. It keeps only what may be such a line, so the length of other lines
// does not matter.
type Scanner struct {
	set    *Set
	line   []byte
	skip   bool // the rest of this line is of no interest
	number int  // of lines that have ended
	err    error
}

// NewScanner puts what it finds into set.
func NewScanner(set *Set) *Scanner { return &Scanner{set: set} }

// Write looks at p; it never fails.
func (s *Scanner) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		piece := p
		if end >= 0 {
			piece = p[:end]
		}
		s.piece(piece)
		if end < 0 {
			break
		}
		s.finish()
		p = p[end+1:]
	}
	return n, nil
}

func (s *Scanner) piece(p []byte) {
	if s.skip || len(p) == 0 {
		return
	}
	if len(s.line) < len(command) {
		need := min(len(command)-len(s.line), len(p))
		if string(p[:need]) != command[len(s.line):len(s.line)+need] {
			s.skip, s.line = true, s.line[:0]
			return
		}
	}
	if len(s.line)+len(p) > maxLine {
		s.fail(ErrTooLarge)
		s.skip, s.line = true, s.line[:0]
		return
	}
	s.line = append(s.line, p...)
}

// finish takes the line that has ended.
func (s *Scanner) finish() {
	s.number++
	if !s.skip && len(s.line) >= len(command) {
		s.fail(s.setOutput(strings.TrimSuffix(string(s.line[len(command):]), "\r")))
	}
	s.skip, s.line = false, s.line[:0]
}

// setOutput sets the output of a command; the value is kept as it stands.
func (s *Scanner) setOutput(arg string) error {
	name, value, ok := strings.Cut(strings.TrimLeft(arg, " \t"), "::")
	name, named := strings.CutPrefix(name, "name=")
	if !ok || !named {
		return errors.New("want ::set-output name=KEY::VALUE")
	}
	return s.set.Put(strings.TrimSpace(name), value)
}

// fail keeps the first fault, with the line of it.
func (s *Scanner) fail(err error) {
	switch {
	case err == nil || s.err != nil:
	case errors.Is(err, ErrTooLarge):
		s.err = err
	default:
		s.err = fmt.Errorf("line %d of the log: %w", s.number, err)
	}
}

// Close takes a last line without newline and returns the first fault.
func (s *Scanner) Close() error {
	if len(s.line) > 0 {
		s.finish()
	}
	return s.err
}
