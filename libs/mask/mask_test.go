package mask

import (
	"encoding/base64"
	"encoding/hex"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestString(t *testing.T) {
	const crlf = "first-line\r\nsecond-line\r\n"
	for name, c := range map[string]struct {
		values   []string
		in, want string
	}{
		"none":             {nil, "abc", "abc"},
		"one":              {[]string{"hunter2"}, "pw=hunter2;", "pw=***;"},
		"short":            {[]string{"abcd"}, "xabcdyabcdz YWJjZA==", "x***y***z YWJjZA=="},
		"too short":        {[]string{"abc"}, "abc", "abc"},
		"touching":         {[]string{"abcd"}, "xabcdabcdz", "x***z"},
		"overlapping":      {[]string{"abcdef", "defghi"}, "-abcdefghi-", "-***-"},
		"inside":           {[]string{"abcdefgh", "cdef"}, "abcdefg cdef abcdefgh", "ab***g *** ***"},
		"prefix only":      {[]string{"abcdef"}, "abcde", "abcde"},
		"suffix":           {[]string{"aaaab"}, "aaaaaab", "aa***"},
		"empty value":      {[]string{""}, "x", "x"},
		"json":             {[]string{`pa"ss\word`}, `{"p":"pa\"ss\\word"}`, `{"p":"***"}`},
		"json in html":     {[]string{`pass<word>`}, `{"p":"pass\u003cword\u003e"}`, `{"p":"***"}`},
		"json in ascii":    {[]string{"pässwörd😀"}, `"p\u00e4ssw\u00f6rd\ud83d\ude00"`, `"***"`},
		"json, slash":      {[]string{"pass/word"}, `"pass\/word"`, `"***"`},
		"url":              {[]string{"p&s s/w="}, "?q=p%26s+s%2Fw%3D", "?q=***"},
		"url in lower":     {[]string{"p&s s/w="}, "?q=p%26s%20s%2fw%3d", "?q=***"},
		"path":             {[]string{"p&s s/w="}, "/p&s%20s%2Fw=/", "/***/"},
		"javascript":       {[]string{"it's (so)!"}, "it's%20(so)!", "***"},
		"html":             {[]string{`a<b>&"c'`}, `<p>a&lt;b&gt;&amp;&#34;c&#39;</p>`, `<p>***</p>`},
		"xml":              {[]string{`a<b>&"c'`}, `a&lt;b&gt;&amp;&quot;c&apos;`, `***`},
		"xml text":         {[]string{`a<b>&"c'`}, `a&lt;b&gt;&amp;"c'`, `***`},
		"shell":            {[]string{`it's it`}, `+ curl -u 'it'\''s it'`, `+ curl -u '***'`},
		"hex":              {[]string{"secret"}, hex.EncodeToString([]byte("secret")), "***"},
		"upper hex":        {[]string{"secret?"}, "0x7365637265743F", "0x***"},
		"one line":         {[]string{"first-line\nsecond-line"}, "x second-line", "x ***"},
		"lines":            {[]string{"first-line\nsecond-line"}, "x first-line\nsecond-line\ny", "x ***\ny"},
		"lines in DOS":     {[]string{"first-line\nsecond-line"}, "x first-line\r\nsecond-line\r\ny", "x ***\r\ny"},
		"DOS in lines":     {[]string{crlf}, "first-line\nsecond-line\n", "***\n"},
		"short lines":      {[]string{"ab\ncd\nef"}, "ab\ncd\nef", "ab\n***"}, // its line has ended before it could be known
		"lines in json":    {[]string{"one-line\nanother"}, `"one-line\nanother"`, `"***"`},
		"DOS in json":      {[]string{"ab\ncd\nef"}, `"ab\r\ncd\r\nef"`, `"***"`},
		"wrapped":          {[]string{"correct horse"}, "correc\nt hor\r\nse!", "***!"},
		"wrapped early":    {[]string{"correct horse"}, "cor\nrect horse!", "cor\n***!"},
		"wrapped late":     {[]string{"correct horse"}, "correct \nhorse!", "***!"},
		"wrapped letters":  {[]string{"secret"}, "s\ne\nc\nr\ne\nt\n", "s\ne\nc\n***\n"},
		"apart by a break": {[]string{"secret"}, "secret\nsecret", "***\n***"},
		"not wrapped":      {[]string{"secret"}, "sec\nond\r\n\nline\n", "sec\nond\r\n\nline\n"},
	} {
		m := New(c.values)
		if got := m.String(c.in); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		st := m.Stream()
		var out []byte
		for i := range c.in {
			out = st.Append(out, []byte(c.in[i:i+1]))
		}
		if got := string(st.Flush(out)); got != c.want {
			t.Errorf("%s, byte by byte: %q, want %q", name, got, c.want)
		}
	}
}

func TestBase64AtEveryOffset(t *testing.T) {
	secret := "correct horse battery"
	m := New([]string{secret})
	for _, before := range []string{"", "x", "xy", "xyz", "user:"} {
		text := base64.StdEncoding.EncodeToString([]byte(before + secret + "tail"))
		if got := m.String(text); !strings.Contains(got, Replacement) || len(got) > len(text)/2 {
			t.Errorf("after %q: %s", before, got)
		}
		var wrapped strings.Builder
		for i := range len(text) {
			wrapped.WriteByte(text[i])
			if i%8 == 7 {
				wrapped.WriteString("\r\n")
			}
		}
		if got := m.String(wrapped.String()); !strings.Contains(got, Replacement) || len(got) > len(text)/2+6 {
			t.Errorf("wrapped after %q: %q", before, got)
		}
	}
}

func TestHeldBack(t *testing.T) {
	s := New([]string{"hunter2-and-more"}).Stream()
	for _, c := range []struct{ in, out string }{
		{"50% ", "50% "},      // an open line of which nothing begins a value
		{"hun", ""},           // may be one
		{"gry\n", "hungry\n"}, // is none
		{"an h\n", "an h\n"},  // fewer than four bytes do not hold back a line that has ended
		{"hunter\n", ""},      // four do
		{"2\n", ""},           // yet
		{"nothing", "hunter\n2\nnothing"},
		{" hunter2-and-more", " ***"}, // at once, although more may touch it
		{"\n", "\n"},
		{"hunter", ""},
	} {
		if got := string(s.Append(nil, []byte(c.in))); got != c.out {
			t.Errorf("%q: %q, want %q", c.in, got, c.out)
		}
	}
	if got := string(s.Flush(nil)); got != "hunter" {
		t.Errorf("at the end: %q", got)
	}
	if got := string(s.Append(nil, []byte("2-and-more"))); got != "2-and-more" {
		t.Errorf("after the end: %q", got)
	}
}

// TestManyValues also has prefixes that collide in the table of bits.
func TestManyValues(t *testing.T) {
	values := Sample(200)
	m := New(values)
	for i, v := range values {
		if got := m.String("<" + v + ">"); got != "<***>" {
			t.Fatalf("value %d of %d: %q", i, len(values), got)
		}
	}
	var none *Masker
	if got := none.String("x") + string(none.Stream().Flush(none.Stream().Append(nil, []byte("y")))); got != "xy" || none.Holds("x") {
		t.Errorf("nothing to hide: %q", got)
	}
	read, err := io.ReadAll(m.Reader(iotest.OneByteReader(strings.NewReader("<" + values[3] + "> and " + values[9][:7]))))
	if err != nil || string(read) != "<***> and "+values[9][:7] {
		t.Errorf("read %q, %v", read, err)
	}
	if r := strings.NewReader("x"); none.Reader(r) != io.Reader(r) {
		t.Error("nothing to hide, and another reader")
	}
	if !m.Holds("a "+values[7]) || m.Holds("nothing") {
		t.Error("Holds is wrong")
	}
}

func BenchmarkStream(b *testing.B) {
	for name, n := range map[string]int{"1": 1, "100": 100, "1000": 1000} {
		b.Run(name, func(b *testing.B) {
			s := New(Sample(n)).Stream()
			text := []byte(strings.Repeat("2026-11-30T02:27:08Z INFO compiled package github.com/acme/widget/internal/queue in 184ms\n", 360))
			buf := make([]byte, 0, 2*len(text))
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				buf = s.Append(buf[:0], text)
			}
		})
	}
}

func BenchmarkNew(b *testing.B) {
	values := Sample(100)
	b.ReportAllocs()
	for b.Loop() {
		New(values)
	}
}
