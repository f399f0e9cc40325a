package template

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"text/template"
	"unicode"
	"unicode/utf8"

	"github.com/Masterminds/semver/v3"

	"github.com/formicary/formicary/libs/exact"
	"github.com/formicary/formicary/libs/jobspec/source"
	"github.com/formicary/formicary/libs/jobspec/value"
)

// textFunction finds a function that works on text. The text comes first, what is looked for, taken off or put between
// after it: see textFirst.
func textFunction(name string) (Function, bool) {
	one := func(f func(s string) (any, error)) (Function, bool) {
		return Function{1, 1, false, false, func(_ *invocation, args []any) (any, error) { return f(value.Text(args[0])) }}, true
	}
	two := func(f func(s, a string) any) (Function, bool) {
		return Function{2, 2, false, false, func(_ *invocation, args []any) (any, error) {
			return f(value.Text(args[0]), value.Text(args[1])), nil
		}}, true
	}
	many := func(f func(args []any) (any, error)) (Function, bool) {
		return Function{0, -1, false, false, func(_ *invocation, args []any) (any, error) { return f(args) }}, true
	}
	switch name {
	case "lower":
		return one(func(s string) (any, error) { return strings.ToLower(s), nil })
	case "upper":
		return one(func(s string) (any, error) { return strings.ToUpper(s), nil })
	case "title":
		return one(title)
	case "shellquote":
		return one(func(s string) (any, error) { return shellquote(s), nil })
	case "sha256":
		return one(func(s string) (any, error) { sum := sha256.Sum256([]byte(s)); return hex.EncodeToString(sum[:]), nil })
	case "Unescape":
		return one(func(s string) (any, error) { return html.UnescapeString(s), nil })
	case "fromJson":
		return one(FromJSON)
	case "atoi":
		return one(atoi)
	case "atof":
		return one(atof)
	case "trimPrefix":
		return two(func(s, a string) any { return strings.TrimPrefix(s, a) })
	case "trimSuffix":
		return two(func(s, a string) any { return strings.TrimSuffix(s, a) })
	case "hasPrefix":
		return two(func(s, a string) any { return strings.HasPrefix(s, a) })
	case "hasSuffix":
		return two(func(s, a string) any { return strings.HasSuffix(s, a) })
	case "MarkdownLink":
		return one(func(s string) (any, error) { return markdownLink(s), nil })
	case "print":
		return many(func(args []any) (any, error) { return fmt.Sprint(printable(args)...), nil })
	case "println":
		return many(func(args []any) (any, error) { return fmt.Sprintln(printable(args)...), nil })
	case "html":
		return many(func(args []any) (any, error) { return template.HTMLEscaper(printable(args)...), nil })
	case "js":
		return many(func(args []any) (any, error) { return template.JSEscaper(printable(args)...), nil })
	case "urlquery":
		return many(func(args []any) (any, error) { return url.QueryEscape(fmt.Sprint(printable(args)...)), nil })
	case "toJson":
		return Function{1, 1, false, false, func(_ *invocation, args []any) (any, error) { return value.JSON(args[0]), nil }}, true
	case "contains":
		return Function{2, 2, false, false, contains}, true
	case "replace":
		return Function{3, 3, false, false, replace}, true
	case "split":
		return Function{2, 2, false, false, split}, true
	case "join":
		return Function{2, 2, false, false, join}, true
	case "printf":
		return Function{1, -1, false, false, printf}, true
	case "Percent100":
		return Function{2, 2, false, false, percent100}, true
	case "FormatTime", "formatTime":
		return Function{1, 2, false, false, formatTimeCall}, true
	case "semverCompare":
		return Function{2, 2, false, false, semverCompare}, true
	}
	return Function{}, false
}

// printable gives lists and mappings their JSON text and leaves the rest to fmt.
func printable(args []any) []any {
	out := make([]any, len(args))
	for i, a := range args {
		switch a.(type) {
		case []any, map[string]any, float64, nil:
			out[i] = value.Text(a)
		default:
			out[i] = a
		}
	}
	return out
}

// title writes the first letter of each word in upper case.
func title(s string) (any, error) {
	start := true
	return strings.Map(func(r rune) rune {
		first := start
		start = unicode.IsSpace(r)
		if first {
			return unicode.ToTitle(r)
		}
		return r
	}, s), nil
}

// shellquote makes one word of a POSIX shell of any text.
func shellquote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// ErrNumberRange says that a JSON text holds a number that no variable can have.
var ErrNumberRange = errors.New("the value holds a number that is too large or too small")

// ErrNoJSON says that a text is no JSON.
var ErrNoJSON = errors.New("the value is no JSON")

// errNoText is what a function fails with that would make a text which nothing can store of texts which can be stored.
var errNoText = errors.New("it gives the character NUL, or bytes that are no text")

// FromJSON reads a JSON text as a value.
func FromJSON(s string) (any, error) {
	v, err := exact.Decode([]byte(s))
	switch {
	case err != nil:
		return nil, ErrNoJSON
	case !exact.InRange(v):
		return nil, ErrNumberRange
	case !value.Storable(v) && value.Storable(s):
		return nil, errNoText
	}
	v, ok := value.DeepCanon(v, 1)
	if !ok {
		return nil, errors.New("the value is nested too deeply")
	}
	return v, nil
}

func atoi(s string) (any, error) {
	i, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil {
		return nil, errors.New("the value is no integer")
	}
	return i, nil
}

func atof(s string) (any, error) {
	f, ok := asFloat(strings.TrimSpace(s))
	if !ok {
		return nil, errors.New("the value is no number")
	}
	return f, nil
}

// contains looks for a part of a text or for an item of a list.
func contains(_ *invocation, args []any) (any, error) {
	if list, ok := args[0].([]any); ok {
		for _, item := range list {
			if value.Same(item, args[1]) {
				return true, nil
			}
		}
		return false, nil
	}
	return strings.Contains(value.Text(args[0]), value.Text(args[1])), nil
}

func replace(_ *invocation, args []any) (any, error) {
	s, from, to := value.Text(args[0]), value.Text(args[1]), value.Text(args[2])
	count := strings.Count(s, from)
	if len(s)+count*(len(to)-len(from)) > MaxOutput {
		return nil, errors.New("the text grows too long")
	}
	return strings.ReplaceAll(s, from, to), nil
}

func split(_ *invocation, args []any) (any, error) {
	s, sep := value.Text(args[0]), value.Text(args[1])
	if s == "" {
		return []any{}, nil
	}
	return value.List(strings.Split(s, sep)), nil
}

func join(_ *invocation, args []any) (any, error) {
	sep := value.Text(args[1])
	list, ok := args[0].([]any)
	if !ok {
		return nil, errors.New("the first value is no list")
	}
	var b bytes.Buffer
	for i, item := range list {
		if i > 0 {
			b.WriteString(sep)
		}
		b.WriteString(value.Text(item))
		if b.Len() > MaxOutput {
			return nil, errors.New("the text grows too long")
		}
	}
	return b.String(), nil
}

var linkText = regexp.MustCompile(`^\[([^\[\]]*)\]\(([^()\s]*)\)$`)

// markdownLink makes HTML of a link of Markdown, or of an address; of other text, and of links that lead elsewhere than
// to the web, text for HTML.
func markdownLink(s string) string {
	text, target := s, s
	if m := linkText.FindStringSubmatch(s); m != nil {
		text, target = m[1], m[2]
	}
	if !value.ValidURL(target) {
		return html.EscapeString(s)
	}
	return `<a href="` + html.EscapeString(target) + `">` + html.EscapeString(text) + `</a>`
}

// printf bounds what a few characters of a format can make.
func printf(in *invocation, args []any) (any, error) {
	format, ok := args[0].(string)
	if !ok {
		return nil, errors.New("the format is no text")
	}
	if !boundedFormat(format) {
		return nil, &Fault{
			pos: in.pos, Code: source.CodeTemplateLimit,
			message: fmt.Sprintf("printf takes widths and precisions up to %d, written as digits", maxWidth),
		}
	}
	if strings.Count(format, "%")*maxWidth > 4*MaxOutput {
		return nil, errors.New("the format is too long")
	}
	values := make([]any, len(args)-1)
	size := len(format)
	verbs := verbsOf(format)
	for i, a := range args[1:] {
		verb := byte('v')
		if i < len(verbs) {
			verb = verbs[i]
		}
		values[i] = forVerb(a, verb)
		size += value.Size(a, MaxOutput)
	}
	// Indexes such as %[1]s repeat an argument as often as the format has verbs.
	if size*(1+strings.Count(format, "[")) > MaxOutput {
		return nil, errors.New("the text grows too long")
	}
	out := fmt.Sprintf(format, values...)
	if !value.Storable(out) && value.Storable(args) {
		return nil, errNoText
	}
	return out, nil
}

// verbsOf lists the verbs of a format that takes its arguments in their order.
func verbsOf(format string) []byte {
	var verbs []byte
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			continue
		}
		for i++; i < len(format) && strings.IndexByte("0123456789+-# .", format[i]) >= 0; i++ {
			continue
		}
		switch {
		case i == len(format) || format[i] == '[':
			return nil
		case format[i] != '%':
			verbs = append(verbs, format[i])
		}
	}
	return verbs
}

// forVerb gives a number the Go type that the verb wants: parameters come as text or through JSON.
func forVerb(v any, verb byte) any {
	switch verb {
	case 'd', 'x', 'X', 'o', 'b', 'c':
		if _, isText := v.(string); isText && verb != 'd' {
			return v
		}
		if i, ok := AsInt(v); ok {
			return i
		}
		if n, isLarge := v.(json.Number); isLarge && verb != 'c' {
			if i, whole := wholeOf(n); whole {
				return i
			}
		}
	case 'f', 'F', 'e', 'E', 'g', 'G':
		if f, ok := asFloat(v); ok {
			return f
		}
	}
	switch v.(type) {
	case []any, map[string]any, nil:
		return value.Text(v)
	case float64:
		if verb == 'v' || verb == 's' {
			return value.Text(v)
		}
	}
	return v
}

// boundedFormat looks at the numbers after each %.
func boundedFormat(format string) bool {
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			continue
		}
		number := 0
	verb:
		for i++; i < len(format); i++ {
			switch c := format[i]; {
			case c >= '0' && c <= '9':
				if number = number*10 + int(c-'0'); number > maxWidth {
					return false
				}
			case c == '*':
				return false
			case strings.IndexByte("+-# .[]", c) >= 0:
				number = 0
			default:
				break verb
			}
		}
	}
	return true
}

func formatTimeCall(_ *invocation, args []any) (any, error) {
	layout := "2006-01-02T15:04:05Z07:00"
	if len(args) == 2 {
		layout = value.Text(args[1])
	}
	if len(layout) > maxWidth || !utf8.ValidString(layout) {
		return nil, errors.New("the layout is too long")
	}
	return formatTime(args[0], layout)
}

// semverCompare reports whether a version fulfils a constraint such as "^1.2" or ">=1.2, <2 || 3.x".
func semverCompare(_ *invocation, args []any) (any, error) {
	version, ok := ParseVersion(value.Text(args[1]))
	if !ok {
		return nil, errors.New("the value is no semantic version")
	}
	constraint := value.Text(args[0])
	if len(constraint) > maxVersion {
		return nil, errors.New("the constraint is too long")
	}
	wanted, err := semver.NewConstraint(constraint)
	if err != nil {
		return nil, errors.New("the constraint is no comparison with a semantic version")
	}
	return wanted.Check(version), nil
}

// maxVersion bounds the text of versions and of constraints.
const maxVersion = 200

// ParseVersion reads a version; its minor and patch numbers may be left out.
func ParseVersion(s string) (*semver.Version, bool) {
	if len(s) > maxVersion {
		return nil, false
	}
	v, err := semver.NewVersion(s)
	return v, err == nil
}
