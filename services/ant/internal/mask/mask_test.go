package mask

import (
	"encoding/base64"
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestString(t *testing.T) {
	for name, c := range map[string]struct {
		values   []string
		in, want string
	}{
		"none":        {nil, "abc", "abc"},
		"one":         {[]string{"hunter2"}, "pw=hunter2;", "pw=***;"},
		"twice":       {[]string{"ab"}, "xabyabz", "x***y***z"},
		"touching":    {[]string{"ab"}, "xababz", "x***z"},
		"overlapping": {[]string{"abcd", "cdef"}, "-abcdef-", "-***-"},
		"inside":      {[]string{"abcdef", "cd"}, "abcde cd abcdef", "ab***e *** ***"},
		"prefix only": {[]string{"abcdef"}, "abcde", "abcde"},
		"suffix":      {[]string{"aab"}, "aaaab", "aa***"},
		"empty value": {[]string{""}, "x", "x"},
		"json":        {[]string{`pa"ss\word`}, `{"p":"pa\"ss\\word"}`, `{"p":"***"}`},
		"url":         {[]string{"p&s s/w="}, "?q=p%26s+s%2Fw%3D", "?q=***"},
		"hex":         {[]string{"secret"}, hex.EncodeToString([]byte("secret")), "***"},
		"lines":       {[]string{"first-line\nsecond-line"}, "second-line", "***"},
	} {
		if got := New(c.values).String(c.in); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
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
	}
}

// naive hides by looking at every place.
func naive(values []string, text string) string {
	hidden := make([]bool, len(text))
	for _, v := range values {
		for i := 0; v != "" && i+len(v) <= len(text); i++ {
			if text[i:i+len(v)] == v {
				for j := i; j < i+len(v); j++ {
					hidden[j] = true
				}
			}
		}
	}
	var out strings.Builder
	for i := range len(text) {
		switch {
		case !hidden[i]:
			out.WriteByte(text[i])
		case i == 0 || !hidden[i-1]:
			out.WriteString(Replacement)
		}
	}
	return out.String()
}

func FuzzStream(f *testing.F) {
	f.Add("ab", "aba", "xababay", uint64(1))
	f.Add("secret", "cretse", "secretsecret se cret", uint64(7))
	f.Add("aaa", "aa", "aaaaabaaa", uint64(3))
	f.Fuzz(func(t *testing.T, a, b, text string, seed uint64) {
		if len(a) >= minEncoded || len(b) >= minEncoded {
			a, b = a[:min(len(a), minEncoded-1)], b[:min(len(b), minEncoded-1)]
		}
		values := []string{a, b}
		rnd := rand.New(rand.NewPCG(seed, 0))
		s := New(values).Stream()
		var out []byte
		for rest := text; rest != ""; {
			n := 1 + rnd.IntN(min(len(rest), 5))
			out = s.Append(out, []byte(rest[:n]))
			rest = rest[n:]
		}
		out = s.Flush(out)
		if want := naive(values, text); string(out) != want {
			t.Fatalf("values %q, text %q: %q, want %q", values, text, out, want)
		}
	})
}

func BenchmarkStream(b *testing.B) {
	s := New([]string{"hunter2-hunter2", "correct horse"}).Stream()
	text := []byte(strings.Repeat("the quick brown fox jumps over the lazy dog\n", 1000))
	buf := make([]byte, 0, 2*len(text))
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		buf = s.Append(buf[:0], text)
	}
}
