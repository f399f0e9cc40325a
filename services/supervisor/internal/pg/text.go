package pg

import "strings"

// text makes s storable: PostgreSQL refuses NUL and what is not UTF-8, and one bad byte from a task's output must not
// keep its whole batch from being stored.
func text(s string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", "\uFFFD"), "\uFFFD")
}
