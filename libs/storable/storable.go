// Package storable says which texts every store and every message takes: UTF-8 without the character NUL. PostgreSQL,
// protobuf and the environment of a process refuse others, and one bad byte must not take what stands beside it along.
package storable

import (
	"strings"
	"unicode/utf8"
)

// Is reports whether a text can be stored as it is.
func Is(s string) bool { return strings.IndexByte(s, 0) < 0 && utf8.ValidString(s) }

// Text returns what can be stored of a text: U+FFFD stands for the rest.
func Text(s string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", "\uFFFD"), "\uFFFD")
}
