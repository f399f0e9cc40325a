package source

import (
	"fmt"
	"strings"
	"testing"
)

func TestLines(t *testing.T) {
	text := []byte("aé\n\nüü\r\nx" + strings.Repeat("é", 500) + "y\n")
	l := NewLines(text)
	line, column := 1, 1
	for i, r := range string(text) {
		if a, b := l.At(i); a != line || b != column {
			t.Fatalf("offset %d: %d:%d, want %d:%d", i, a, b, line, column)
		}
		if got := l.Offset(line, column); got != i {
			t.Fatalf("%d:%d is at %d, want %d", line, column, got, i)
		}
		if column++; r == '\n' {
			line, column = line+1, 1
		}
	}
	for _, breaks := range []string{"\r", "\u0085", "\u2028", "\u2029", "\r\n"} {
		y := NewYAMLLines([]byte("a" + breaks + "b" + breaks + "c"))
		if len(y.starts) != 3 || y.Offset(3, 1) != 2+2*len(breaks) {
			t.Errorf("%q: %v", breaks, y.starts)
		}
	}
}

func TestNearest(t *testing.T) {
	for name, want := range map[string]string{"scripd": "script", "tag": "tags", "timeot": "timeout", "xyzzy": "", strings.Repeat("x", 200): ""} {
		if got := nearest(name, []string{"script", "tags", "timeout", "task_type", "method"}); got != want {
			t.Errorf("%.20s: %q, want %q", name, got, want)
		}
	}
}

func TestProblemsAreBounded(t *testing.T) {
	c := &Collector{File: "f"}
	for i := range 1000 {
		c.Add(Problem{Line: 1000 - i, Message: fmt.Sprint(i)})
		c.Add(Problem{Line: 1000 - i, Message: fmt.Sprint(i)})
	}
	_, err := c.Split()
	if ps, ok := err.(Problems); !ok || len(ps) != maxProblems || ps[0].Line > ps[1].Line { //nolint:errorlint // split returns it so
		t.Errorf("%v", err)
	}
}
