package pg

import "strings"

const (
	nul         = `\u0000`
	replacement = `\ufffd`
)

// withoutNUL does to JSON what text does: PostgreSQL stores a NUL that JSON can say, but every query that looks into the
// value fails, also for the rows beside it.
func withoutNUL(json string) string {
	if !strings.Contains(json, nul) {
		return json
	}
	var b strings.Builder
	for i := 0; i < len(json); i++ {
		switch {
		case json[i] != '\\':
			b.WriteByte(json[i])
		case strings.HasPrefix(json[i:], nul):
			b.WriteString(replacement)
			i += len(nul) - 1
		default: // an escaped backslash among them: what follows it is text
			b.WriteString(json[i : i+2])
			i++
		}
	}
	return b.String()
}
