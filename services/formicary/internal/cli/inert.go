package cli

import (
	"io"
	"os"
	"regexp"
	"strings"
	"unicode/utf8"
)

// colour is the one sequence that may reach the terminal from a task: it changes how text looks and nothing else.
var colour = regexp.MustCompile("^\x1b\\[[0-9;:]*m")

const noColour = "\x1b[0m"

// inert shows control characters instead of sending them: a task, a name or a message could otherwise move the cursor,
// change the title or answer in the user's name. Line feeds and tabs stay; with colours so do those, up to the end.
func inert(s string, colours bool) string {
	if !strings.ContainsFunc(s, steers) {
		return s
	}
	var b strings.Builder
	coloured := false
	for s != "" {
		if colours {
			if c := colour.FindString(s); c != "" {
				b.WriteString(c)
				s, coloured = s[len(c):], true
				continue
			}
		}
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case !steers(r):
			b.WriteString(s[:size])
		case r < 0x20:
			b.WriteString("^" + string('@'+r))
		case r == 0x7F:
			b.WriteString("^?")
		default:
			b.WriteRune(utf8.RuneError)
		}
		s = s[size:]
	}
	if coloured {
		b.WriteString(noColour)
	}
	return b.String()
}

// steers says whether a terminal may act on the character.
func steers(r rune) bool {
	return r < 0x20 && r != '\n' && r != '\t' || r >= 0x7F && r < 0xA0
}

// terminalWriter makes what goes to a terminal inert, piece by piece.
type terminalWriter struct{ w io.Writer }

// Write writes all of p.
func (t terminalWriter) Write(p []byte) (int, error) {
	_, err := io.WriteString(t.w, inert(strings.ReplaceAll(string(p), "\r\n", "\n"), true))
	return len(p), err
}

// raw returns the writer for a log as it is: a file or a pipe gets every byte, a terminal what cannot steer it.
func raw(w io.Writer) io.Writer {
	f, ok := w.(*os.File)
	if !ok {
		return w
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return w
	}
	return terminalWriter{w}
}
