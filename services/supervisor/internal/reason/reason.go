// Package reason shortens messages to what a person has to read of them.
package reason

import "strings"

// longest bounds a line, in bytes.
const longest = 300

// Ends are the first line of a message, which says why, and the last one when it has several: most often that of the log.
func Ends(message string) (first, last string) {
	lines := strings.Split(strings.TrimSpace(message), "\n")
	first = cut(lines[0])
	if len(lines) > 1 {
		last = cut(lines[len(lines)-1])
	}
	return first, last
}

func cut(line string) string {
	if line = strings.TrimSpace(line); len(line) > longest {
		return strings.ToValidUTF8(line[:longest], "") + "…"
	}
	return line
}
