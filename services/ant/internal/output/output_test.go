package output

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want map[string]string
		err  string
	}{
		"empty":       {"", nil, ""},
		"lines":       {"a=1\nb=x=y\n\nc=\n", map[string]string{"a": "1", "b": "x=y", "c": ""}, ""},
		"last counts": {"a=1\na=2", map[string]string{"a": "2"}, ""},
		"heredoc":     {"a<<END\nx\n\ny\nEND\nb=1\n", map[string]string{"a": "x\n\ny", "b": "1"}, ""},
		"empty doc":   {"a<<END\nEND", map[string]string{"a": ""}, ""},
		"crlf":        {"a=1\r\nb<<E\r\nx\r\nE\r\n", map[string]string{"a": "1", "b": "x\r"}, ""},
		"shift":       {"a=1<<2", map[string]string{"a": "1<<2"}, ""},
		"no end":      {"ok=1\na<<END\nx", nil, "line 2: a has no end"},
		"no sign":     {"hello", nil, "line 1: want KEY=VALUE"},
		"bad name":    {"a<<E\nx\nE\na b=1", nil, `line 4: output name "a b"`},
	} {
		var s Set
		err := s.Parse(c.text)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: error %v, want %q", name, err, c.err)
			}
			continue
		}
		if err != nil || !maps.Equal(s.Values(), c.want) {
			t.Errorf("%s: %q, %v; want %q", name, s.Values(), err, c.want)
		}
	}
}

// TestLongTextsAreNotShown has names that are too long to be shown whole: of a secret in them the beginning would be.
func TestLongTextsAreNotShown(t *testing.T) {
	secret := strings.Repeat("x", 60) + "hunter2"
	var h Set
	if err := h.Parse("a<<" + secret); err == nil || strings.Contains(err.Error(), "xxx") {
		t.Errorf("a long mark: %v", err)
	}
	var s Set
	if err := s.Put(secret+secret, ""); err == nil || strings.Contains(err.Error(), "xxx") {
		t.Errorf("a long name: %v", err)
	}
}

func TestLimit(t *testing.T) {
	var s Set
	if err := s.Parse("a=" + strings.Repeat("x", Limit-1)); err != nil {
		t.Fatal(err)
	}
	if err := s.Put("b", ""); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("one byte more: %v", err)
	}
	if err := s.Put("a", "small"); err != nil {
		t.Fatal(err)
	}
}

func TestScanner(t *testing.T) {
	text := "hello\n::set-output name=a::1\n x ::set-output name=no::1\n::set-output name=b::x::y\r\n::set-other\n::set-output name=d:: kept \n::set-output name=c::last"
	want := map[string]string{"a": "1", "b": "x::y", "c": "last", "d": " kept "}
	for size := 1; size <= len(text); size++ {
		var s Set
		sc := NewScanner(&s)
		for rest := text; rest != ""; {
			n := min(size, len(rest))
			_, _ = sc.Write([]byte(rest[:n]))
			rest = rest[n:]
		}
		if err := sc.Close(); err != nil || !maps.Equal(s.Values(), want) {
			t.Fatalf("pieces of %d: %q, %v", size, s.Values(), err)
		}
	}
}

func TestScannerTellsTheLine(t *testing.T) {
	for text, want := range map[string]string{
		"a\n::set-output bad\n":                              "line 2 of the log: want ::set-output name=KEY::VALUE",
		"::set-output name=a::1\n\n::set-output name=a b::1": `line 3 of the log: output name "a b"`,
		"::set-output name=::1":                              `line 1 of the log: output name ""`,
		"::set-output a::1\n::set-output name=b:1":           "line 1 of the log",
	} {
		var s Set
		sc := NewScanner(&s)
		_, _ = sc.Write([]byte(text))
		if err := sc.Close(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestScannerBoundsTheLine(t *testing.T) {
	var s Set
	sc := NewScanner(&s)
	_, _ = sc.Write([]byte("::set-output name=a::"))
	for range 100 {
		_, _ = sc.Write([]byte(strings.Repeat("x", 10_000)))
	}
	if cap(sc.line) > 2*maxLine {
		t.Errorf("keeps %d bytes", cap(sc.line))
	}
	if err := sc.Close(); !errors.Is(err, ErrTooLarge) {
		t.Errorf("error %v", err)
	}
}

// FuzzOutputs reads a text as an output file and as what a task prints, the latter cut anywhere.
func FuzzOutputs(f *testing.F) {
	for _, text := range []string{
		"a=1\nb<<E\nx\nE\n", "a<<E\n\n\r\nE\r\n=x", "a=1<<2\n<<\n", "::set-output name=a::1\n::set-output name=b::2::3\r\n",
		"::set-output ::\n::set-outputs name=a::1", "\x00=\xff\n::set-output name=\xff::\x00",
	} {
		f.Add(text, 3)
	}
	f.Fuzz(func(t *testing.T, text string, cut int) {
		var file, whole, pieces Set
		if err := file.Parse(text); err == nil {
			checkSet(t, &file)
			var again Set // it says the same twice
			if err := again.Parse(text); err != nil || !maps.Equal(again.Values(), file.Values()) {
				t.Fatalf("%q, %v", again.Values(), err)
			}
		}
		at := 0
		if cut > 0 {
			at = cut % (len(text) + 1)
		}
		one, two := NewScanner(&whole), NewScanner(&pieces)
		_, _ = one.Write([]byte(text))
		_, _ = two.Write([]byte(text[:at]))
		_, _ = two.Write([]byte(text[at:]))
		first, second := one.Close(), two.Close()
		checkSet(t, &whole)
		if !maps.Equal(whole.Values(), pieces.Values()) || fmt.Sprint(first) != fmt.Sprint(second) {
			t.Fatalf("cut at %d: %q, %v; whole: %q, %v", at, pieces.Values(), second, whole.Values(), first)
		}
	})
}

func checkSet(t *testing.T, s *Set) {
	t.Helper()
	total := 0
	for k, v := range s.Values() {
		total += len(k) + len(v)
		if !validName(k) {
			t.Fatalf("name %q", k)
		}
	}
	if total > Limit || total != s.size {
		t.Fatalf("%d bytes, counted %d", total, s.size)
	}
}
