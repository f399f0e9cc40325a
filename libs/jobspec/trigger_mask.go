package jobspec

import (
	"bytes"
	"strings"
)

// The templates of triggers are over events: they are not rendered with the job but kept as written. Before a text is
// compiled their braces are replaced by characters that no text holds, one for one, so that places stay what they are.
const triggersKey = "triggers:"

// maskTriggers hides the templates below a key triggers at the beginning of a line. A template that begins a line
// itself is one of the job: it makes triggers.
func maskTriggers(text []byte) []byte {
	if !bytes.Contains(text, []byte(triggersKey)) || !bytes.Contains(text, []byte("{{")) {
		return text
	}
	out := make([]byte, 0, len(text))
	inside := false
	for line := range bytes.Lines(text) {
		if !strings.ContainsRune(" \t-#\r\n", rune(line[0])) {
			inside = bytes.HasPrefix(line, []byte(triggersKey))
		}
		if inside {
			line = bytes.ReplaceAll(line, []byte("{{"), []byte(string(maskOpen)+string(maskOpen)))
			line = bytes.ReplaceAll(line, []byte("}}"), []byte(string(maskClose)+string(maskClose)))
		}
		out = append(out, line...)
	}
	return out
}

// unmask shows the braces again.
func unmask(text string) string {
	if !strings.ContainsRune(text, maskOpen) && !strings.ContainsRune(text, maskClose) {
		return text
	}
	return strings.NewReplacer(string(maskOpen), "{", string(maskClose), "}").Replace(text)
}

// unmasked copies a node with the braces of its texts. Nodes that aliases share are copied each time: what they expand
// to is bounded.
func unmasked(n *node) *node {
	out := *n
	out.text = unmask(n.text)
	out.items = make([]*node, len(n.items))
	for i, item := range n.items {
		out.items[i] = unmasked(item)
	}
	out.pairs = make([]pair, len(n.pairs))
	for i, p := range n.pairs {
		out.pairs[i] = pair{key: unmask(p.key), line: p.line, column: p.column, value: unmasked(p.value)}
	}
	return &out
}
