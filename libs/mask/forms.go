package mask

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"html"
	"strings"
	"unicode/utf16"
)

// Values shorter than minText are not hidden: they would hide half of any text. Shorter than minForm they are hidden as
// they stand only.
const (
	minText = 4
	minForm = 6
)

// Forms lists how a value may stand in a text, each once: as it is, and in base64, hex, URLs, JSON, XML and a shell's
// words. Of a value of several lines it is the whole, with either kind of line end, and every line. Line ends are left
// out: a Masker finds a form wherever it is wrapped.
func Forms(value string) []string {
	var out []string
	seen := map[string]bool{}
	add := func(form string, least int) {
		if form = unbroken(form); len(form) >= least && !seen[form] {
			seen[form] = true
			out = append(out, form)
		}
	}
	for _, v := range parts(value) {
		add(v, minText)
		if len(unbroken(v)) < minForm {
			continue
		}
		for _, encode := range [](func(string) []string){base64Forms, hexForms, urlForms, jsonForms, markupForms} {
			for _, form := range encode(v) {
				add(form, minForm)
			}
		}
		add(strings.ReplaceAll(v, `'`, `'\''`), minForm)
	}
	return out
}

// lineEnds do not count: a terminal, base64 or a program that wraps its output puts them anywhere.
var lineEnds = strings.NewReplacer("\n", "", "\r", "") //nolint:gochecknoglobals // a constant

func unbroken(s string) string { return lineEnds.Replace(s) }

// parts are the value, and when it has several lines also the value with either kind of line end and its lines.
func parts(value string) []string {
	if !strings.ContainsAny(value, "\r\n") {
		return []string{value}
	}
	lf := strings.ReplaceAll(value, "\r\n", "\n")
	out := []string{value, lf, strings.ReplaceAll(lf, "\n", "\r\n")}
	for _, line := range strings.FieldsFunc(value, func(r rune) bool { return r == '\r' || r == '\n' }) {
		if len(line) >= minForm {
			out = append(out, line)
		}
	}
	return out
}

// base64Forms are the characters that every base64 text holds into which the value was encoded at the start or after
// one or two other bytes.
func base64Forms(v string) []string {
	var out []string
	for shift := range 3 {
		raw := append(make([]byte, shift), v...)
		from := (shift*8 + 5) / 6 // characters before it also hold bits of what stands before
		to := len(raw) * 8 / 6    // characters from here on also hold bits of what follows
		for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			out = append(out, enc.EncodeToString(raw)[from:to])
		}
	}
	return out
}

func hexForms(v string) []string {
	low := hex.EncodeToString([]byte(v))
	return []string{low, strings.ToUpper(low)}
}

// urlForms differ in what they leave as it is: RFC 3986, a segment of a path, a path, what JavaScript does with a part of a URL and
// with the whole, and what Python and Java do.
func urlForms(v string) []string {
	var out []string
	for _, keep := range []string{"-_.~", "-_.~$&+=:@", "-_.~$&+=:@,;/", "-_.~!'()*", "-_.~!'()*$&+=:@,;/?#", "-_.~/", "-_.*"} {
		for _, digits := range []string{"0123456789ABCDEF", "0123456789abcdef"} {
			form := percent(v, keep, digits)
			out = append(out, form)
			if !strings.Contains(keep, "+") {
				out = append(out, strings.ReplaceAll(form, "%20", "+"))
			}
		}
	}
	return out
}

// percent escapes all bytes but letters, digits and those to keep.
func percent(v, keep, digits string) string {
	var b strings.Builder
	for i := range len(v) {
		switch c := v[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte(keep, c) >= 0:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		}
	}
	return b.String()
}

// jsonForms are the inside of a JSON string as encoders write it: plain, safe in HTML, with escaped slashes, in ASCII.
func jsonForms(v string) []string {
	plain := quoted(v, "", false)
	return []string{
		plain, quoted(v, "<>&", false), quoted(v, "<>&'=+", false), strings.ReplaceAll(plain, "/", `\/`),
		quoted(v, "", true), quoted(v, "<>&", true), strings.ReplaceAll(quoted(v, "", true), "/", `\/`),
	}
}

// quoted is v in a JSON string whose special characters, and if wanted all beyond ASCII, are numbers.
func quoted(v, special string, ascii bool) string {
	var b strings.Builder
	for _, r := range v {
		switch short := strings.IndexRune("\"\\\b\f\n\r\t", r); {
		case short >= 0:
			b.WriteByte('\\')
			b.WriteByte(`"\bfnrt`[short])
		case r < ' ', r == 0x7f && ascii, strings.ContainsRune(special, r), r == '\u2028', r == '\u2029', r > 0x7f && ascii:
			for _, unit := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&b, `\u%04x`, unit)
			}
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// markupForms are the value in the text of XML and HTML, which names the two quotes in several ways or leaves them.
func markupForms(v string) []string {
	all := html.EscapeString(v) // &#34; and &#39;
	var out []string
	for _, double := range []string{"&#34;", "&quot;", `"`, "&#x22;"} {
		for _, single := range []string{"&#39;", "&apos;", "'", "&#x27;"} {
			form := strings.NewReplacer("&#34;", double, "&#39;", single).Replace(all)
			out = append(out, form, lineNumbers.Replace(form))
		}
	}
	return out
}

// lineNumbers are how an XML encoder writes white space that must not be lost.
var lineNumbers = strings.NewReplacer("\n", "&#xA;", "\r", "&#xD;", "\t", "&#x9;") //nolint:gochecknoglobals // a constant
