package mask

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"html"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
)

// encoders are how programs write what they have, by the standard library. What stands around a value is encoded with it.
var encoders = []func(string) string{
	func(s string) string { return s },
	func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") },
	func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) },
	func(s string) string { return hex.EncodeToString([]byte(s)) },
	func(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) },
	url.QueryEscape,
	url.PathEscape,
	func(s string) string { return (&url.URL{Path: "/" + s}).EscapedPath() },
	func(s string) string { b, _ := json.Marshal(s); return string(b) },
	func(s string) string {
		var b strings.Builder
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		_ = e.Encode(s)
		return b.String()
	},
	html.EscapeString,
	func(s string) string { var b strings.Builder; _ = xml.EscapeText(&b, []byte(s)); return b.String() },
}

// traces of a value are the texts of which one stands in everything that an encoder makes of it, wherever the value stands
// in what is encoded.
func traces(v string, encode func(string) string) []string {
	var out []string
	for _, n := range []int{0, 1, 2} {
		// What it makes in two surroundings, which differ in their last two bits and in their first two, is of the value
		// where it is the same.
		a := encode(strings.Repeat("a", n) + v + "000")
		b := encode(strings.Repeat("n", n) + v + "ppp")
		out = append(out, common(a, b))
	}
	return out
}

// common is the longest run in which two texts are the same at the same places.
func common(a, b string) string {
	longest, from := "", 0
	for i := 0; i <= len(a); i++ {
		if i == len(a) || a[i] != b[i] {
			if i-from > len(longest) {
				longest = a[from:i]
			}
			from = i + 1
		}
	}
	return longest
}

// fit makes a secret of foreign bytes: text of six bytes or more, not so much of one kind that it is in everything.
func fit(s string) string {
	s = strings.ToValidUTF8(s, "?")
	s = strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f || r == '\ufffd' {
			return '#'
		}
		return r
	}, s)
	if len(s) < minForm || len(unbroken(s)) < minForm {
		s += "sEcr3t"
	}
	return s[:min(len(s), 200)]
}

func FuzzMask(f *testing.F) {
	f.Add("correct horse", "tr0ub4dor&3", "the quick brown fox", uint64(1))
	f.Add("first line\nsecond line\n", "ghp_16C7e42F292c6912E7710c838347Ae178B4a", "error: ", uint64(7))
	f.Add("aaaaaaa", "aaaaaab", "aaaa\naaa", uint64(3))
	f.Add("p&s s/w=<\"'>", "pässwörd", "{}\r\n\r\n", uint64(11))
	f.Add("a\nb\nc\nd\ne\nf\ng", "x\r\nyyyyyy\r\nz", "a\nb\n", uint64(5))
	f.Fuzz(func(t *testing.T, a, b, noise string, seed uint64) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		values := []string{fit(a), fit(b)}
		text := story(rnd, values, noise)
		m := New(values)
		got := cut(rnd, m, text)
		if want := naive(values, text); got != want {
			t.Fatalf("values %q, text %q: %q, want %q", values, text, got, want)
		}
		noLeak(t, values, text, got)
	})
}

// story is a text in which values stand in all kinds of forms, whole and broken off, some of it wrapped.
func story(rnd *rand.Rand, values []string, noise string) string {
	var text strings.Builder
	for range 1 + rnd.IntN(8) {
		v := values[rnd.IntN(len(values))]
		i, j := 0, len(v)
		if rnd.IntN(4) == 0 {
			i, j = rnd.IntN(len(v)+1), rnd.IntN(len(v)+1)
		}
		part := v[min(i, j):max(i, j)]
		if rnd.IntN(2) == 0 {
			part = piece(rnd, noise) + part + piece(rnd, noise)
		}
		part = encoders[rnd.IntN(len(encoders))](part)
		if rnd.IntN(3) == 0 {
			part = wrap(part, 1+rnd.IntN(80), []string{"\n", "\r\n", "\r"}[rnd.IntN(3)])
		}
		text.WriteString(part)
		if rnd.IntN(2) == 0 {
			text.WriteString(piece(rnd, noise))
		}
	}
	return text.String()
}

func piece(rnd *rand.Rand, s string) string {
	i, j := rnd.IntN(len(s)+1), rnd.IntN(len(s)+1)
	return s[min(i, j):max(i, j)]
}

func wrap(s string, width int, end string) string {
	var b strings.Builder
	for i := range len(s) {
		if i > 0 && i%width == 0 {
			b.WriteString(end)
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// cut masks a text that comes in pieces.
func cut(rnd *rand.Rand, m *Masker, text string) string {
	s := m.Stream()
	var out []byte
	most := 1 + rnd.IntN(40)
	for text != "" {
		n := rnd.IntN(min(len(text), most) + 1)
		out = s.Append(out, []byte(text[:n]))
		text = text[n:]
	}
	return string(s.Flush(out))
}

// noLeak looks for what encoders make of the values in what is still to be seen.
func noLeak(t *testing.T, values []string, text, got string) {
	t.Helper()
	for _, v := range values {
		for _, line := range append(strings.FieldsFunc(v, func(r rune) bool { return r == '\n' || r == '\r' }), v) {
			if len(line) < minForm {
				continue
			}
			for _, encode := range encoders {
				for _, trace := range traces(line, encode) {
					trace = unbroken(trace)
					if len(trace) < minForm {
						continue
					}
					for seen := range strings.SplitSeq(unbroken(got), Replacement) {
						if strings.Contains(seen, trace) {
							t.Fatalf("%q of %q is to be seen in %q, of %q", trace, v, got, text)
						}
					}
				}
			}
		}
	}
}

// naive hides by looking for every form at every place.
func naive(values []string, text string) string {
	var clean []byte
	var ends []lineEnd
	for i := range len(text) {
		if text[i] == '\n' || text[i] == '\r' {
			ends = append(ends, lineEnd{len(clean), text[i]})
		} else {
			clean = append(clean, text[i])
		}
	}
	hidden := make([]bool, len(clean))   // the byte
	joined := make([]bool, len(clean)+1) // what is between it and the one before
	for _, v := range values {
		for _, form := range Forms(v) {
			for i := range len(clean) {
				if !strings.HasPrefix(string(clean[i:min(len(clean), i+len(form))]), form) {
					continue
				}
				from := i
				for _, e := range ends {
					if e.at > from && e.at < i+minText {
						from = e.at
					}
				}
				for j := from; j < i+len(form); j++ {
					hidden[j], joined[j] = true, joined[j] || j > from
				}
			}
		}
	}
	var out strings.Builder
	open := false // hiding
	for i := range len(clean) + 1 {
		for len(ends) > 0 && ends[0].at == i {
			if !joined[i] {
				out.WriteByte(ends[0].c)
				open = false
			}
			ends = ends[1:]
		}
		if i == len(clean) {
			break
		}
		switch {
		case !hidden[i]:
			out.WriteByte(clean[i])
		case !open:
			out.WriteString(Replacement)
		}
		open = hidden[i]
	}
	return out.String()
}

func TestTraces(t *testing.T) {
	for i, encode := range encoders {
		for _, trace := range traces("correct horse", encode) {
			if len(trace) < 10 {
				t.Errorf("encoder %d leaves only %q", i, trace)
			}
		}
	}
	if got := traces("correct horse", encoders[2])[0]; got != "Y29ycmVjdCBob3JzZ" {
		t.Errorf("base64: %q", got)
	}
}
